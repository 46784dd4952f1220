"""A web server that misbehaves as it is told: of a directory, or in front of a registry."""

from __future__ import annotations

import http.client
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.integration import servers

HELD = 3600.0  # seconds that a black hole holds a connection, or until the server is closed
_HOP = {"connection", "transfer-encoding", "keep-alive", "host", "content-length"}


@dataclass
class Fault:
    """What happens to the requests whose method and path fit: `kind` (see `Handler`), for the first
    `times` of them."""

    kind: str
    path: str = ""  # part of the path
    method: str = ""
    times: int = 1 << 30
    body: bytes = b""  # of kind "body"
    call: Callable[[], object] = bool  # called first
    seen: int = 0
    above: int = -1  # only of requests with more bytes than this

    def hits(self, method: str, path: str, size: int = 0) -> bool:
        """Whether it hits this request, whose body has `size` bytes; counts it."""
        if self.path not in path or (self.method and self.method != method) or size <= self.above:
            return False
        self.seen += 1
        return self.seen <= self.times


@dataclass
class Bad:
    """A running server. `faults` may be changed at any time."""

    address: str
    faults: list[Fault] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.0: a connection for each request."""

    bad: Bad
    directory: Path | None = None
    behind: str = ""

    def log_message(self, *_: Any) -> None:
        pass

    def handle_one(self) -> None:
        method, path = self.command, self.path
        self.bad.asked.append((method, path))
        size = int(self.headers.get("Content-Length") or 0)
        fault = next((f for f in self.bad.faults if f.hits(method, path, size)), Fault(""))
        fault.call()
        with suppress(ConnectionError, TimeoutError, http.client.HTTPException):
            self._answer(fault.kind, fault.body)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = handle_one  # noqa: N815

    def _answer(self, fault: str, given: bytes) -> None:
        if fault in ("loop", "kept-nothing"):
            self._drain()
            self.send_response(302 if fault == "loop" else 201)
            self.send_header("Location", self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault == "hole":
            self.bad.closed.wait(HELD)
            return
        if fault == "drop":
            self.rfile.read(min(65536, int(self.headers.get("Content-Length", 0))))
            return
        if fault[:3].isdecimal() and len(fault) >= 3:
            self._drain()
            self.send_response(int(fault[:3]))
            if fault.endswith("after"):
                self.send_header("Retry-After", "3")
            if fault.endswith("hour"):
                self.send_header("Retry-After", "3600")
            body = given or b"injected\n"
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        status, headers, body = self._fetch()
        if fault == "wrong" and body:
            body = body[:-1] + bytes([body[-1] ^ 1])
        if fault == "html":
            status, body = 200, b"<html>log in to the hotel's network</html>"
        if fault == "empty":
            body = b""
        if fault == "body":
            status, body = 200, given
        part = self.headers.get("Range")
        if fault == "dies-on-range" and part:
            return
        if fault == "wrong-range" and part:
            status, headers = 206, {**headers, "Content-Range": "bytes 0-1/9"}
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        if fault != "short":
            size = len(body) + (1000 if fault == "too-large" else 0)
            self.send_header("Content-Length", str(size))
        self.end_headers()
        if self.command == "HEAD":
            return
        half = len(body) // 2
        if fault in ("close", "short"):
            self.wfile.write(body[:half])
            return
        if fault == "stall":
            self.wfile.write(body[:half])
            self.wfile.flush()
            self.bad.closed.wait(HELD)
            return
        if fault == "slow":
            for at in range(0, len(body), 100):
                self.wfile.write(body[at : at + 100])
                self.wfile.flush()
                if self.bad.closed.wait(0.2):
                    return
            return
        self.wfile.write(body)

    def _drain(self) -> None:
        left = int(self.headers.get("Content-Length", 0))
        while left > 0 and (data := self.rfile.read(min(left, 1 << 20))):
            left -= len(data)

    def _fetch(self) -> tuple[int, dict[str, str], bytes]:
        if self.behind:
            size = int(self.headers.get("Content-Length", 0))
            connection = http.client.HTTPConnection(self.behind, timeout=60)
            try:
                connection.request(
                    self.command,
                    self.path,
                    self.rfile.read(size) if size else None,
                    {**{k: v for k, v in self.headers.items() if k.lower() != "connection"}},
                )
                answer = connection.getresponse()
                return answer.status, dict(answer.getheaders()), answer.read()
            finally:
                connection.close()
        assert self.directory is not None
        path = self.directory / self.path.partition("?")[0].strip("/")
        if path.is_dir():
            path = path / "index.html"
        if not path.is_file():
            return 404, {}, b"no such file\n"
        data = path.read_bytes()
        kind = "text/html" if path.suffix == ".html" else "application/octet-stream"
        headers = {"Content-Type": kind}
        if given := self.headers.get("Range"):
            start = int(given.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                return 416, headers, b""
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return 206, headers, data[start:]
        return 200, headers, data


@contextmanager
def running(directory: Path | None = None, behind: str = "") -> Iterator[Bad]:
    """Serve a directory, or stand in front of the server at `behind` ("HOST:PORT")."""
    bad = Bad("")
    handler = type("Bound", (Handler,), {"bad": bad, "directory": directory, "behind": behind})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    bad.address = f"127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield bad
    finally:
        bad.closed.set()
        server.shutdown()
        time.sleep(0.05)
        server.server_close()


def _lasting_port() -> int:
    """A free port that no client's connection gets while its server is dead: those are 32768 and
    more (ip(7), ip_local_port_range)."""
    while True:
        port = random.randint(20000, 32000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Registry:
    """A registry that can be killed and started again, with the data that it had."""

    def __init__(self, directory: Path) -> None:
        self.address = f"127.0.0.1:{_lasting_port()}"
        self._settings = directory / "registry.yml"
        self._settings.write_text(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n"
            f"    rootdirectory: {directory}/registry\nhttp:\n  addr: {self.address}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it answers some moments later."""
        serve = servers.program("docker-registry", "docker-registry")
        self._process = subprocess.Popen(
            [serve, "serve", str(self._settings)],  # no --pdeathsig: a thread that ends has started it
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait(self) -> None:
        """Until it answers."""
        host, _, port = self.address.partition(":")
        end = time.monotonic() + servers.PATIENCE
        while time.monotonic() < end:
            connection = http.client.HTTPConnection(host, int(port), timeout=5)
            with suppress(OSError):
                connection.request("GET", "/v2/")
                connection.getresponse()
                return
            time.sleep(0.05)
        raise AssertionError("the registry does not start")

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def back(self, seconds: float) -> None:
        """SIGKILL now, and start it again after `seconds`."""
        self.kill()
        threading.Timer(seconds, self.start).start()
