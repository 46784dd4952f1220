"""A plain HTTP server for a directory, and what was asked of it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Web:
    """A running server; `asked` are the paths of all requests so far."""

    url: str
    asked: list[str] = field(default_factory=list)


def certify(certificate: Path, key: Path, *, address: bool = True) -> None:
    """Write a certificate that has signed itself, for the name 127.0.0.1 and, unless told not to, for
    the address, and its key."""
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-days", "1", "-subj", "/CN=127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    argv += ["-addext", "subjectAltName=IP:127.0.0.1"] if address else []
    subprocess.run(argv, check=True, capture_output=True)


@contextmanager
def running(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server with that handler, in a thread of its own; gives its "127.0.0.1:PORT"."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def serve(directory: Path) -> Iterator[Web]:
    """Serve the files of `directory`."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, *_: Any) -> None:
            asked.append(self.path)

        def log_message(self, *_: Any) -> None:
            pass

    with running(partial(Handler, directory=str(directory))) as address:
        yield Web(f"http://{address}", asked)
