"""The user's ssh-agent, as a program in the sandbox may have it: keys are listed and used, not changed.

An agent answers no process of another user (which root's sandbox runs as), so requests go through a
socket of ours. Format: draft-ietf-sshm-ssh-agent, sections 3 and 4; "session-bind@openssh.com" of
OpenSSH's PROTOCOL.agent.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from pathlib import Path

_ALLOWED = (11, 13, 27)  # which keys there are; sign; an extension, of which ssh asks for that one
_FAILURE = struct.pack(">IB", 1, 5)
_LARGEST = 256 << 10  # bytes of a message, as OpenSSH has it


class Relay:
    """A socket in `place` that leads to the agent at `agent`, until it is closed."""

    def __init__(self, agent: str, place: Path) -> None:
        self.path = place / "agent"
        self._agent = agent
        self._socket = socket.socket(socket.AF_UNIX)
        descriptor = os.open(place, os.O_PATH | os.O_DIRECTORY)
        try:  # a path of a socket has no more than 107 bytes
            self._socket.bind(f"/proc/self/fd/{descriptor}/agent")
        finally:
            os.close(descriptor)
        self.path.chmod(0o600)
        self._socket.listen()
        threading.Thread(target=self._serve, name="ssh-agent", daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread up
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), name="ssh-agent", daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, EOFError), socket.socket(socket.AF_UNIX) as agent:
            agent.connect(self._agent)
            while True:
                message = _message(client)
                if message[:1] and message[0] in _ALLOWED:
                    agent.sendall(struct.pack(">I", len(message)) + message)
                    answer = _message(agent)
                    client.sendall(struct.pack(">I", len(answer)) + answer)
                else:
                    client.sendall(_FAILURE)


def _message(source: socket.socket) -> bytes:
    """The next message. Raises EOFError, OSError."""
    size = struct.unpack(">I", _exactly(source, 4))[0]
    if size > _LARGEST:
        raise EOFError
    return _exactly(source, size)


def _exactly(source: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = source.recv(size - len(found))
        if not part:
            raise EOFError
        found += part
    return found
