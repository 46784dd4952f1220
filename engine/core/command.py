"""The one way to run an external command.

Every command gets an argv list (never a shell string), a fixed environment, nothing on stdin but
what is given, and a process group of its own. `run` gives its output, line by line, to a log
callback, and raises BuildError with the last lines when it fails; `ask` returns its output. Commands
inside `cancellable(group)` are killed when the group is: that is how one failing build stops the
others.

No command outlives us: it is told to die with us (prctl(2), PR_SET_PDEATHSIG), even when we are
killed before it has begun.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import select
import shlex
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from engine.core.output import Lines
from engine.errors import BuildError

if TYPE_CHECKING:
    from grammar.environment import Position

LOG_TAIL = 40  # lines of output that an error carries
_TICK = 100  # milliseconds between two looks at a command that says nothing

# Where Debian and Docker look for commands when nothing else is said: on the host, in the sandbox and in
# images that set no PATH.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What commands outside the sandbox see: enough to find Debian's tools, nothing of the user's.
HOST_ENVIRONMENT: Mapping[str, str] = {"PATH": PATH, "LANG": "C.UTF-8", "TZ": "UTC", "HOME": "/nonexistent"}

# Who dies before the command has asked for its signal leaves it with another parent. What comes
# before the empty argument are the control groups that the command is to be in.
_TETHER = """\
[ "$PPID" = "$1" ] || exit 143; shift
while [ -n "$1" ]; do echo 0 > "$1" || exit; shift; done; shift
exec "$@"
"""


class Watch(Protocol):
    """The limits that `run` holds a command to; see `engine.realise.limits.Step`."""

    @property
    def joining(self) -> Sequence[str]:
        """Files that the command writes "0" to before anything else."""

    def prefix(self) -> Sequence[str]:
        """What goes before the command line."""

    def started(self, process: int) -> None:
        """It runs, as `process`."""

    def wrote(self, size: int, lines: int) -> None:
        """It has written `size` bytes more, and ended `lines` lines."""

    def exceeded(self) -> str | None:
        """Why it has to be ended now; None when it has not. Asked often."""

    def failed(self, log: str) -> str | None:
        """After its end, with the last lines: the limit that it ran into, if it did."""


class CancelledError(BuildError):
    """The command was stopped because something else failed or the user interrupted."""


class LimitError(BuildError):
    """The command went beyond a limit and was ended. `reason` says which, and how to raise it;
    `ended` where in it that was ("ended at `make`")."""

    def __init__(
        self, name: str, reason: str, log: str, *, ended: str = "", position: Position | None = None
    ) -> None:
        message = f"{ended}: {reason}" if ended else reason
        super().__init__(message, log, position=position, subject=name)
        self.reason = reason


class Group:
    """Running commands that can be killed together, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called: nothing of the group may start any more."""
        return self._cancelled.is_set()

    def add(self, process: subprocess.Popen[bytes]) -> None:
        """Count `process` in; it is killed at once when the group was cancelled already."""
        with self._lock:
            self._running.add(process)
            if self.cancelled:
                kill(process)

    def discard(self, process: subprocess.Popen[bytes]) -> None:
        """Forget a process that has ended."""
        with self._lock:
            self._running.discard(process)

    def cancel(self) -> None:
        """Kill what runs, and everything that is added from now on."""
        with self._lock:
            self._cancelled.set()
            for process in self._running:
                kill(process)

    def wait(self, seconds: float) -> None:
        """Sleep, but not longer than until the group is cancelled."""
        self._cancelled.wait(seconds)


_everything = Group()  # every command of this process
_group: ContextVar[Group | None] = ContextVar("command_group", default=None)


def stop_everything() -> None:
    """Kill all commands of this process, and those that are still to come: it is to end."""
    _everything.cancel()


@contextlib.contextmanager
def cancellable(group: Group) -> Iterator[None]:
    """Commands that this thread runs inside the block belong to `group`."""
    token = _group.set(group)
    try:
        yield
    finally:
        _group.reset(token)


def raise_if_cancelled(name: str) -> None:
    """Raise CancelledError when this thread's group was cancelled: for work that is no command."""
    group = _group.get()
    if (group is not None and group.cancelled) or _everything.cancelled:
        raise CancelledError("cancelled", subject=name)


def pause(seconds: float, name: str) -> None:
    """Sleep. Raises CancelledError as soon as this thread's group is cancelled."""
    (_group.get() or _everything).wait(seconds)
    raise_if_cancelled(name)


def kill(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """Kill a command and its process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def tethered(argv: Sequence[str], joining: Sequence[str] = ()) -> list[str]:
    """`argv` so that the kernel kills it when the thread that starts it ends. `joining` are the
    files that it writes "0" to first: control groups."""
    setpriv = which("setpriv")
    if setpriv is None and not joining:
        return list(argv)
    tether = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
    return [*tether, "/bin/sh", "-c", _TETHER, "sh", str(os.getpid()), *joining, "", *argv]


def _start(
    argv: Sequence[str],
    environment: Mapping[str, str],
    cwd: Path | None,
    stderr: int,
    umask: int,
    joining: Sequence[str] = (),
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Raises FileNotFoundError when there is no such command, OSError."""
    if shutil.which(argv[0], path=environment.get("PATH")) is None:
        raise FileNotFoundError(2, "No such file or directory", argv[0])
    process = subprocess.Popen(
        tethered(argv, joining),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=dict(environment),
        cwd=cwd,
        umask=umask,
        # Ctrl-C is for us: we kill our commands ourselves, and in order.
        start_new_session=True,
    )
    _everything.add(process)
    return process


def ask(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str] = HOST_ENVIRONMENT,
    cwd: Path | None = None,
    given: bytes | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run `argv` to its end and return what it said, whatever its exit status is. `given` is on its
    standard input.

    Raises FileNotFoundError when there is no such command, CancelledError, OSError.
    """
    raise_if_cancelled(argv[0])
    stdin = subprocess.DEVNULL if given is None else subprocess.PIPE
    process = _start(argv, environment, cwd, subprocess.PIPE, -1, stdin=stdin)
    group = _group.get()
    if group is not None:
        group.add(process)
    try:
        out, errors = process.communicate(given)
    except BaseException:
        kill(process)
        process.wait()
        raise
    finally:
        _everything.discard(process)
        if group is not None:
            group.discard(process)
    raise_if_cancelled(argv[0])
    return subprocess.CompletedProcess(list(argv), process.returncode, out, errors)


def ask_text(
    argv: Sequence[str], *, environment: Mapping[str, str] = HOST_ENVIRONMENT, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """`ask`, for a command that writes text."""
    done = ask(argv, environment=environment, cwd=cwd)
    return subprocess.CompletedProcess(
        done.args,
        done.returncode,
        done.stdout.decode("utf-8", "replace"),
        done.stderr.decode("utf-8", "replace"),
    )


def run(
    argv: Sequence[str],
    *,
    log: Callable[[str], None],
    name: str = "",
    environment: Mapping[str, str] = HOST_ENVIRONMENT,
    cwd: Path | None = None,
    owner: int | None = None,
    watch: Watch | None = None,
) -> None:
    """Run `argv` to its end. `name` is what an error calls it (default: the command itself). `owner`:
    the uid and gid that the command will have, which may then open /dev/stdout. `watch` holds it to
    limits.

    Raises BuildError when it cannot be started or ends other than with 0, LimitError when it goes
    beyond a limit, CancelledError when the group was cancelled.
    """
    group = _group.get()
    raise_if_cancelled(name or argv[0])
    whole = [*watch.prefix(), *argv] if watch is not None else argv
    joining = watch.joining if watch is not None else ()
    try:
        process = _start(whole, environment, cwd, subprocess.STDOUT, 0o022, joining)
    except FileNotFoundError as error:
        what = f"command not found: {error.filename}"
        raise BuildError(what, subject=name or argv[0], advice="install it and try again") from error
    except OSError as error:
        raise BuildError(f"cannot run {argv[0]}: {error.strerror}", subject=name or argv[0]) from error
    tail: deque[str] = deque(maxlen=LOG_TAIL)
    if group is not None:
        group.add(process)
    try:
        assert process.stdout is not None
        if owner is not None:
            os.fchown(process.stdout.fileno(), owner, owner)
        if watch is not None:
            watch.started(process.pid)
        reason = _follow(process, watch, tail, log)
        if reason is not None:
            kill(process)
        code = process.wait()
    finally:
        if process.poll() is None:
            kill(process)
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        _everything.discard(process)
        if group is not None:
            group.discard(process)
    if code != 0 or reason is not None:
        raise_if_cancelled(name or argv[0])
    said = "\n".join(tail)
    if reason is None and watch is not None:
        reason = watch.failed(said if code else "")
    if reason is not None:
        raise LimitError(name or shlex.join(argv[:4]), reason, said)
    if code != 0:
        raise BuildError(_ending(code), said, subject=name or shlex.join(argv[:4]))


def _follow(
    process: subprocess.Popen[bytes], watch: Watch | None, tail: deque[str], log: Callable[[str], None]
) -> str | None:
    """Give what a command writes to `log` until it ends; why it has to be ended before, if so."""
    assert process.stdout is not None
    lines = Lines()
    poll = select.poll()
    poll.register(process.stdout, select.POLLIN)
    while True:
        if poll.poll(None if watch is None else _TICK):
            data = os.read(process.stdout.fileno(), 1 << 16)
            ended = lines.feed(data) if data else lines.last()
            for line in ended:
                tail.append(line)
                log(line)
            if not data:
                break
            if watch is not None:
                watch.wrote(len(data), len(ended))
        if watch is not None and (reason := watch.exceeded()) is not None:
            return reason
    # It may live on without its output.
    while watch is not None:
        try:
            process.wait(_TICK / 1000)
        except subprocess.TimeoutExpired:
            if (reason := watch.exceeded()) is not None:
                return reason
        else:
            break
    return None


def _ending(code: int) -> str:
    if code < 0:
        return f"killed by signal {-code}"
    return f"failed with exit status {code}"


def which(command: str) -> str | None:
    """Where `command` is on the fixed PATH, or None."""
    for directory in HOST_ENVIRONMENT["PATH"].split(":"):
        path = f"{directory}/{command}"
        if os.access(path, os.X_OK):
            return path
    return None


def with_rlimits(limits: Mapping[str, float]) -> list[str]:
    """What to put before a command line so that it runs under `limits`, by prlimit(1)'s names for them
    ("data": 1 << 30); infinity is none. Nothing where there is no prlimit."""
    options = []
    for name, value in limits.items():
        _, most = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))
        # Only root may have more than it has already, and needs no more.
        if not math.isinf(value) and (most == resource.RLIM_INFINITY or value < most):
            options.append(f"--{name}={int(value)}")
    program = which("prlimit")
    return [program, *options, "--"] if program and options else []
