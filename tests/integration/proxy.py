"""A small proxy (RFC 9110, section 9.3.6: CONNECT, and whole URLs for plain HTTP)."""

from __future__ import annotations

import base64
import http.client
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from tests.integration import web


@dataclass
class Proxy:
    """A running proxy; `asked` are "METHOD target" of all requests so far."""

    address: str = ""
    asked: list[str] = field(default_factory=list)


@contextmanager
def running(login: str = "") -> Iterator[Proxy]:
    """A proxy, which wants the login "user:password" when it is given one."""
    made = Proxy()
    wanted = f"Basic {base64.b64encode(login.encode()).decode()}" if login else None

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def _allowed(self) -> bool:
            made.asked.append(f"{self.command} {self.path}")
            if wanted is None or self.headers.get("Proxy-Authorization") == wanted:
                return True
            self.send_response(407)
            self.send_header("Proxy-Authenticate", "Basic")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False

        def do_CONNECT(self) -> None:
            if not self._allowed():
                return
            host, _, port = self.path.rpartition(":")
            with socket.create_connection((host.strip("[]"), int(port)), timeout=30) as other:
                self.send_response(200)
                self.end_headers()
                self.wfile.flush()
                _pass_on(self.connection, other)

        def _forward(self) -> None:
            if not self._allowed():
                return
            parts = urlsplit(self.path)
            size = int(self.headers.get("Content-Length") or 0)
            connection = http.client.HTTPConnection(parts.netloc, timeout=30)
            own = ("proxy-authorization", "proxy-connection", "connection")
            headers = {k: v for k, v in self.headers.items() if k.lower() not in own}
            path = f"{parts.path}?{parts.query}" if parts.query else parts.path
            connection.request(self.command, path, self.rfile.read(size) or None, headers)
            answer = connection.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            length = answer.headers.get("Content-Length") if self.command == "HEAD" else len(body)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)
            connection.close()

        do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = _forward  # noqa: N815

    with web.running(Handler) as address:
        made.address = address
        yield made


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    pairs = {one: other, other: one}
    while True:
        ready, _, _ = select.select(list(pairs), [], [], 30)
        for opened in ready:
            data = opened.recv(1 << 16)
            if not data:
                return
            pairs[opened].sendall(data)
        if not ready:
            return
