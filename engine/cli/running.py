"""What commands do with environments that are there: find one, and say what it is.

It brings docker-py along: commands import it when they run.
"""

from __future__ import annotations

from typing import Any

import docker

from engine.cli.environment import default_name, directory_of
from engine.docker.client import connect
from engine.errors import DockerError, UsageError
from engine.runtime import environments, ssh_config
from engine.runtime.environments import Found

# The commands' own, and what they need of the rooms below, in one import.
__all__ = ["chosen", "connect", "environments", "ports", "row", "ssh_config", "which", "which_or_none"]


def chosen(path: str | None, name: str | None) -> tuple[docker.APIClient, Found]:
    """A client of the engine, and the environment as `which` has it."""
    client = connect()
    return client, which(client, path, name)


def which(client: docker.APIClient, path: str | None, name: str | None) -> Found:
    """The environment called `name`, else the one of the project in `path`.

    Raises UsageError when both are given, DockerError when there is none.
    """
    found = which_or_none(client, path, name)
    if found is not None:
        return found
    if name:
        return environments.get(client, name)
    raise DockerError(
        f"no environment of {directory_of(path)}", advice="make one with `envd up`, or name one with --name"
    )


def which_or_none(client: docker.APIClient, path: str | None, name: str | None) -> Found | None:
    """The environment called `name`, else the one of the project in `path`; None when there is none.

    Raises UsageError when both are given.
    """
    if name and path:
        raise UsageError("--name and --path cannot be used together")
    if name:
        return environments.find(client, name)
    directory = directory_of(path)
    return environments.of_project(client, directory, default_name(directory))


def row(client: docker.APIClient, found: Found) -> dict[str, Any]:
    """An environment as the listing's JSON has it."""
    runtime = found.runtime
    return {
        "name": found.name,
        "endpoint": environments.jupyter(client, found) or None,
        "ssh_target": ssh_config.host(found.name),
        "image": found.labels[environments.TAG],
        "gpu": bool(found.facts.get("gpus")),
        "cuda": runtime.get("cuda"),
        "cudnn": runtime.get("cudnn"),
        "status": found.status,
        "project": found.labels[environments.PROJECT],
        "ports": ports(found),
    }


def ports(found: Found) -> list[dict[str, Any]]:
    """Its published ports as JSON has them."""
    return [
        {
            "name": p.service,
            "container_port": p.container,
            "protocol": "tcp",
            "host_ip": p.listen,
            "host_port": p.host,
        }
        for p in found.ports
    ]
