"""Asking a Docker engine short questions. It is on the path of a build that has nothing to do,
so it speaks HTTP/1.0 over the socket itself: importing http.client would double what that costs.

Protocol: Docker Engine API. An engine is reached as docker(1) reaches it: a unix socket, TCP with
or without TLS, or `docker system dial-stdio` over ssh(1).
"""

from __future__ import annotations

import json
import socket

from engine.docker import endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TIMEOUT = 10.0
PATIENCE = 300.0  # seconds for an engine that is busy with other loads
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/@")


def host() -> str:
    """The engine's address. Raises UsageError for a context that is not there."""
    return endpoint.current().host


def get(path: str, patience: float = 0.0) -> Any | None:
    """The JSON answer of a GET, or None: no engine, or it says no.

    An engine that takes longer than some seconds is waited for `patience` seconds more, and that is
    said; for less patience it counts as none.
    """
    request = f"GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode()
    try:
        try:
            answer = _exchange(endpoint.current(), request, _TIMEOUT)
        except TimeoutError:
            if not patience:
                return None
            from store.notices import say  # noqa: PLC0415 (an idle build)

            say("Docker", f"waiting for the engine at {host()}, which is slow to answer")
            answer = _exchange(endpoint.current(), request, patience)
        head, _, body = answer.partition(b"\r\n\r\n")
        return json.loads(body) if head.split(None, 2)[1] == b"200" else None
    except (OSError, ValueError, IndexError):
        return None


def _exchange(to: endpoint.Endpoint, request: bytes, seconds: float) -> bytes:
    """Send a request; everything that comes back until the engine closes (HTTP/1.0)."""
    scheme, _, address = to.host.partition("://")
    if scheme == "ssh":
        from engine.docker import tunnel  # noqa: PLC0415 (an idle build)

        return tunnel.exchange(to.host, request, seconds)
    if scheme == "unix":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        name, port = host_and_port(address, 2376 if to.tls else 2375)
        connection = socket.create_connection((name, port), timeout=_TIMEOUT)
        if to.tls:
            connection = _tls(to).wrap_socket(connection, server_hostname=name)
    with connection:
        connection.settimeout(seconds)
        if scheme == "unix":
            connection.connect(address)
        connection.sendall(request)
        parts = []
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def host_and_port(address: str, default: int) -> tuple[str, int]:
    """The parts of "HOST[:PORT]", HOST perhaps an [IPv6]. Raises ValueError."""
    address = address.partition("/")[0]
    name, colon, port = address.rpartition(":")
    if not colon or "]" in port:
        name, port = address, str(default)
    return name.strip("[]"), int(port)


def _tls(to: endpoint.Endpoint) -> Any:
    import ssl  # noqa: PLC0415 (an idle build)

    context = ssl.create_default_context(cafile=to.ca or None)
    if to.cert:
        context.load_cert_chain(to.cert, to.key or None)
    if not to.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _quoted(text: str) -> str:
    return "".join(chr(b) if b in _UNRESERVED else f"%{b:02X}" for b in text.encode())


def engine_available() -> bool:
    """Whether an engine answers."""
    return get("/version") is not None


def inspect(reference: str, patience: float = 0.0) -> dict[str, Any] | None:
    """An image by tag or ID, or None. `patience` as for `get`."""
    found = get(f"/images/{_quoted(reference)}/json", patience)
    return found if isinstance(found, dict) else None


def image_id(tag: str, patience: float = 0.0) -> str | None:
    """The ID ("sha256:…") that the engine has under `tag`, or None. `patience` as for `get`."""
    found = inspect(tag, patience)
    return None if found is None else str(found["Id"])
