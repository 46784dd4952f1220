"""Running one command in a development environment: as its user, in the project's directory, with
the container's environment; input and output are ours, and so is the exit status.

Protocol: Docker Engine API, ExecStart with a hijacked connection; without a terminal, output comes
in frames of 8 bytes of header (stream, size) and the data.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import termios
import threading
import tty
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from engine.ecosystems.inside import HOME, USER
from engine.errors import DockerError
from engine.runtime.environments import WORKDIR, Found, explained

if TYPE_CHECKING:
    import docker

_CHUNK = 1 << 16
# What the entry point sets for the services (see engine.ecosystems.steps.dev).
_PREFIX = f'export HOME={HOME} USER={USER} LOGNAME={USER} PATH="{HOME}/.local/bin:$PATH"; '


def execute(client: docker.APIClient, found: Found, argv: Sequence[str]) -> int:
    """Run `argv`; its exit status. Raises DockerError when it cannot be started."""
    if found.status != "running":
        raise DockerError(
            f"the environment '{found.name}' is {found.status}; `envd resume --env {found.name}`"
        )
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    with explained(f"cannot run a command in {found.name}"):
        identity = client.exec_create(
            found.id,
            ["sh", "-c", f'{_PREFIX}exec "$@"', "sh", *argv],
            user=USER,
            stdin=True,
            tty=terminal,
            workdir=found.labels.get(WORKDIR, HOME),
            environment={"TERM": os.environ.get("TERM", "dumb")} if terminal else None,
        )["Id"]
        opened: Any = client.exec_start(identity, socket=True, tty=terminal)
    connection: socket.socket = getattr(opened, "_sock", opened)
    connection.settimeout(None)
    # Through the buffer that has read the answer's head, for it may hold output already.
    output: BinaryIO = opened._response.raw._fp.fp
    with contextlib.closing(opened):
        threading.Thread(target=_send, args=(connection,), daemon=True).start()
        if terminal:
            with _raw(client, identity):
                while data := output.read1(_CHUNK):  # type: ignore[attr-defined]
                    os.write(1, data)
        else:
            _separate(output)
        with explained(f"cannot run a command in {found.name}"):
            code = client.exec_inspect(identity)["ExitCode"]
    return int(code or 0)


def shell_of(found: Found) -> str:
    """The environment's shell, to run command lines with."""
    return str(found.runtime.get("shell", "sh"))


def _send(connection: socket.socket) -> None:
    """Our input until its end."""
    with contextlib.suppress(OSError):
        while data := os.read(0, _CHUNK):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)


def _separate(output: BinaryIO) -> None:
    """Frames to where they belong: output and errors apart."""
    targets: dict[int, BinaryIO] = {1: sys.stdout.buffer, 2: sys.stderr.buffer}
    while len(head := output.read(8)) == 8:
        target = targets.get(head[0], sys.stdout.buffer)
        target.write(output.read(int.from_bytes(head[4:], "big")))
        target.flush()


@contextlib.contextmanager
def _raw(client: docker.APIClient, identity: str) -> Iterator[None]:
    """Our terminal passes keys on as they are, and tells its size whenever that changes."""

    def resize(*_: object) -> None:
        size = os.get_terminal_size(1)
        with explained("cannot resize the terminal"):
            client.exec_resize(identity, height=size.lines, width=size.columns)

    before = termios.tcgetattr(0)
    handler = signal.signal(signal.SIGWINCH, resize)
    try:
        tty.setraw(0)
        resize()
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, handler)
