"""Asking a Docker engine short questions, with the standard library alone: it is on the path of
a build that has nothing to do.

Protocol: Docker Engine API. DOCKER_HOST as docker(1) reads it: unix://, tcp://, http://.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from typing import Any
from urllib.parse import quote, urlsplit

_DEFAULT = "unix:///var/run/docker.sock"
_TIMEOUT = 10.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def host() -> str:
    """The engine's address."""
    return os.environ.get("DOCKER_HOST") or _DEFAULT


def _connection() -> http.client.HTTPConnection | None:
    parts = urlsplit(host())
    if parts.scheme == "unix":
        return _UnixConnection(parts.path)
    if parts.scheme in ("tcp", "http") and not os.environ.get("DOCKER_TLS_VERIFY"):
        return http.client.HTTPConnection(parts.hostname or "", parts.port or 2375, timeout=_TIMEOUT)
    return None


def get(path: str) -> Any | None:
    """The JSON answer of a GET, or None: no engine, or it says no."""
    connection = _connection()
    if connection is None:
        return None
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        return json.loads(body) if answer.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def engine_available() -> bool:
    """Whether an engine answers."""
    return get("/version") is not None


def inspect(reference: str) -> dict[str, Any] | None:
    """An image by tag or ID, or None."""
    found = get(f"/images/{quote(reference, safe=':/@')}/json")
    return found if isinstance(found, dict) else None


def image_id(tag: str) -> str | None:
    """The ID ("sha256:…") that the engine has under `tag`, or None."""
    found = inspect(tag)
    return None if found is None else str(found["Id"])


def images() -> list[str]:
    """The IDs of the images that the engine has."""
    found = get("/images/json")
    return [str(row["Id"]) for row in found] if isinstance(found, list) else []
