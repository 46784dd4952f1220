"""A docker-py client for the engine that is meant (`engine.docker.endpoint`)."""

from __future__ import annotations

from typing import Any

import docker
from docker.errors import DockerException
from docker.tls import TLSConfig

from engine.docker import endpoint, probe
from engine.docker.tunnel import socket_of
from engine.errors import DockerError


def connect(timeout: int = 120) -> docker.APIClient:
    """A client whose answers may take `timeout` seconds.

    Raises DockerError when no engine answers, UsageError for a context that is none.
    """
    to = endpoint.current()
    found = probe.get("/version", timeout)
    if not isinstance(found, dict) or "ApiVersion" not in found:
        raise DockerError(unreachable(to))
    url = to.host
    settings: dict[str, Any] = {}
    if to.tls:
        settings["tls"] = TLSConfig(
            client_cert=(to.cert, to.key) if to.cert else None, ca_cert=to.ca or None, verify=to.verify
        )
    if url.startswith("ssh://"):
        url = socket_of(url)
    try:
        client = docker.APIClient(base_url=url, version=str(found["ApiVersion"]), timeout=timeout, **settings)
    except DockerException as error:
        raise DockerError(unreachable(to, error)) from error
    if to.tls:
        # Else requests would take REQUESTS_CA_BUNDLE instead of the context's CA.
        client.trust_env = False
    return client


def unreachable(to: endpoint.Endpoint, error: object = "") -> str:
    """What to say when no engine answers."""
    of = f" (context '{to.context}')" if to.context else ""
    reason = f": {error}" if error else "; start one, or choose another with `envd context use`"
    return f"no Docker engine answers at {to.host}{of}{reason}"
