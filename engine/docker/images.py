"""Removing images from the Docker engine."""

from __future__ import annotations

from docker.errors import APIError

from engine.docker.client import connect
from engine.errors import DockerError


def removed(name: str, *, force: bool) -> list[tuple[str, str]]:
    """Remove an image by name or ID: ("untagged" or "deleted", which) of each that went. Raises
    DockerError."""
    try:
        rows = connect().remove_image(name, force=force)
    except APIError as error:
        if error.status_code == 409:
            raise DockerError(
                str(error.explanation), subject=name, advice="remove the containers first, or give --force"
            ) from error
        raise DockerError(f"Docker does not remove it: {error.explanation}", subject=name) from error
    return [(kind.lower(), str(row[kind])) for row in rows for kind in ("Untagged", "Deleted") if kind in row]
