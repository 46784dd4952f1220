"""A docker-py client for the engine that is meant (`engine.docker.endpoint`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.docker import endpoint
from engine.errors import DockerError

if TYPE_CHECKING:
    import docker


def connect(timeout: int = 60) -> docker.APIClient:
    """A client; raises DockerError when no engine answers."""
    import docker
    from docker.errors import DockerException
    from docker.tls import TLSConfig

    to = endpoint.current()
    settings: dict[str, Any] = {}
    if to.tls:
        settings["tls"] = TLSConfig(
            client_cert=(to.cert, to.key) if to.cert else None, ca_cert=to.ca or None,
            verify=to.verify,
        )
    if to.host.startswith("ssh://"):
        settings["use_ssh_client"] = True
    try:
        return docker.APIClient(base_url=to.host, version="auto", timeout=timeout, **settings)
    except DockerException as error:
        raise DockerError(unreachable(to, error)) from error


def unreachable(to: endpoint.Endpoint, error: object) -> str:
    """What to say when no engine answers."""
    of = f" (context '{to.context}')" if to.context else ""
    return f"no Docker engine answers at {to.host}{of}: {error}"
