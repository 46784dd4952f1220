"""An engine on another machine, over ssh(1), as a unix socket of this one.

docker-py's own way with ssh overrides the port of ~/.ssh/config. Here every connection to the
socket is one `ssh … docker system dial-stdio` that has it for its standard input and output, as
docker(1) does it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from functools import cache
from urllib.parse import urlsplit


def command(url: str) -> list[str]:
    """The ssh command that speaks with the engine at "ssh://[USER@]HOST[:PORT]"."""
    parts = urlsplit(url)
    argv = ["ssh", "-T", "-o", "ConnectTimeout=10", "-o", "BatchMode=yes"]
    if parts.username:
        argv += ["-l", parts.username]
    if parts.port:
        argv += ["-p", str(parts.port)]
    return [*argv, "--", parts.hostname or "", "docker", "system", "dial-stdio"]


@cache
def socket_of(url: str) -> str:
    """ "unix://PATH" of a socket that leads to the engine, as long as this process lives."""
    directory = tempfile.mkdtemp(prefix="envd-ssh-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    path = os.path.join(directory, "docker.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    argv = command(url)

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            # Ctrl-C is for us: what is under way ends with its connection.
            with connection:
                number = connection.fileno()
                subprocess.Popen(argv, stdin=number, stdout=number, start_new_session=True)

    threading.Thread(target=serve, daemon=True).start()
    return f"unix://{path}"


def exchange(url: str, request: bytes, seconds: float) -> bytes:
    """Send an HTTP/1.0 request to the engine at `url`; all that comes back."""
    process = subprocess.Popen(
        command(url), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None and process.stdout is not None
    alarm = threading.Timer(2 * seconds, process.kill)
    alarm.start()
    try:
        # Its end of input stays open: dial-stdio ends when either side does.
        process.stdin.write(request)
        process.stdin.flush()
        return process.stdout.read()
    finally:
        alarm.cancel()
        process.stdin.close()
        process.stdout.close()
        process.terminate()
        process.wait()
