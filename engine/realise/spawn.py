"""Starting bubblewrap: in which namespaces, with what is to be mounted first, and so that all of it ends
with us."""

from __future__ import annotations

import contextvars
import errno
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.core import command
from engine.errors import BuildError
from engine.realise import idmapped, limits, overlays, seccomp, syscalls, userns
from store import notices

# $1 is our process id, $2 the file of the system call filter ("" for none), which bubblewrap reads at
# its descriptor 9. Who is killed before unshare has asked for its signal is gone by now, or a zombie,
# and so are we then.
_BEGIN = """\
read -r state 2>/dev/null <"/proc/$1/stat" || exit 143
case "$state" in *") Z "*) exit 143;; esac
[ -z "$2" ] || exec 9<"$2" || exit
"""
# Mounted first, then replaced by bubblewrap: nothing of the script's own survives. $3 are the mount
# options ("" for no layers); all paths are relative, for the kernel takes one page (4096 bytes) of them.
_MOUNT_SCRIPT = f"""\
{_BEGIN}[ -z "$3" ] || mount -t overlay overlay -o "$3" merged || exit
shift 3
exec "$@"
"""
# $3 and $4 are our descriptors of the mount and of the user namespace. The shell stays, as the first
# of its pid namespace: the kernel would forget that it is to be killed with us when its uid changed.
_ENTER_SCRIPT = f"""\
{_BEGIN}pid=$1 mounts=$3 users=$4
shift 4
nsenter "--mount=/proc/$pid/fd/$mounts" "--user=/proc/$pid/fd/$users" "$@"
exit $?
"""
_UNFILTERED = "this kernel has no seccomp: build steps may make any system call"


@dataclass(frozen=True)
class Who:
    """Whose command it is: its `name` in errors, who hears its lines, and what watches over it."""

    name: str
    log: Callable[[str], None]
    step: limits.Step


@dataclass(frozen=True)
class _Way:
    """A script and its arguments, and the namespaces that it runs in (unshare(1)). `owner` is the uid
    of its processes where that is not ours. The system call filter is read from a file in `filter_in`
    where what is started may not look at our descriptors."""

    script: str
    arguments: Sequence[str]
    namespaces: Sequence[str] = ()
    cwd: Path | None = None
    owner: int | None = None
    filter_in: Path | None = None


def mapped(
    inner: Sequence[str], scratch: Path, layers: Sequence[Path], sources: Sequence[Path], who: Who
) -> None:
    """Run bubblewrap in a user namespace of root's. `sources` are what is bound. Raises BuildError."""
    owner = idmapped.namespace()
    try:
        mounts = idmapped.mounts(scratch, layers, sources, overlays.OPTIONS)
    except OSError as error:
        raise BuildError(f"cannot mount {error.filename}: {error.strerror}", subject=who.name) from error
    try:
        _start(_Way(_ENTER_SCRIPT, (str(mounts), str(owner.descriptor)), owner=owner.base), inner, who)
    finally:
        os.close(mounts)


def plainly(inner: Sequence[str], scratch: Path, layers: Sequence[Path], who: Who) -> None:
    """Run bubblewrap as who we are. Raises BuildError."""
    options = overlays.options(scratch, layers) if layers else ""
    own = () if userns.may_mount() else ("--user", "--map-root-user")
    namespaces = (*own, "--mount", "--propagation", "private")
    way = _Way(_MOUNT_SCRIPT, (options,), namespaces, cwd=scratch, filter_in=scratch if own else None)
    _start(way, inner, who)


def _start(way: _Way, inner: Sequence[str], who: Who) -> None:
    """Run a script with a session keyring and a system call filter for what it starts."""
    filter_file = _filter_file(way.filter_in)
    filtered = ["--seccomp", "9"] if filter_file else []
    # Processes of a pid namespace end with its first one, whatever moment that is killed in:
    # bubblewrap alone would leave its child when it is killed before it has asked for that.
    argv = [
        "unshare",
        *way.namespaces,
        "--pid",
        "--fork",
        "--kill-child=KILL",
        "sh",
        "-c",
        way.script,
        "sh",
        str(os.getpid()),
        filter_file,
        *way.arguments,
        inner[0],
        *filtered,
        *inner[1:],
    ]
    environment = {**command.HOST_ENVIRONMENT, "LIBMOUNT_FORCE_MOUNT2": "always"}
    group = contextvars.copy_context()

    def start() -> None:
        try:
            syscalls.join_new_session_keyring()
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EPERM):  # no keys, or a filter that forbids
                raise BuildError(f"no session keyring: {error.strerror}", subject=who.name) from error
        group.run(
            command.run,
            argv,
            log=who.log,
            name=who.name,
            cwd=way.cwd,
            environment=environment,
            owner=way.owner,
            watch=who.step,
        )

    idmapped.in_thread(start)


def _filter_file(directory: Path | None) -> str:
    """The path of the system call filter, "" where the kernel has none."""
    if (descriptor := seccomp.program()) is None:
        notices.once("sandbox", _UNFILTERED)
        return ""
    path = f"/proc/{os.getpid()}/fd/{descriptor}"
    if directory is None:
        return path
    copy = directory.absolute() / "filter"
    shutil.copyfile(path, copy)
    return str(copy)
