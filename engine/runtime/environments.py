"""Development environments as the engine has them. All that is known of one is on its container:
there are no state files that could disagree with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from engine.docker.client import connect
from engine.ecosystems.inside import JUPYTER_TOKEN, LABEL, RSTUDIO_PASSWORD, USER
from engine.errors import DockerError
from engine.runtime import labels
from engine.runtime.ports import Port
from grammar.nearest import suggest
from store.retry import reason

if TYPE_CHECKING:
    import docker

# Labels of a container.
NAME = "io.envd.name"
PROJECT = "io.envd.project"
TAG = "io.envd.tag"
PORTS = "io.envd.ports"
FACTS = "io.envd.facts"
WORKDIR = "io.envd.workdir"

_LONGEST_TEXT = 1 << 17  # bytes of a container's file that are read, from its end
_BLOCK = 512  # of a tar


@dataclass(frozen=True)
class Found:
    """An environment. `status` is Docker's: "running", "paused", "exited", "created", …"""

    id: str
    name: str
    status: str
    labels: Mapping[str, str]

    @property
    def ports(self) -> tuple[Port, ...]:
        """Its published ports, by service."""
        return tuple(Port(*row) for row in json.loads(self.labels.get(PORTS, "[]")))

    @property
    def ssh(self) -> Port:
        """Where its sshd is."""
        return self.ports[0]

    @property
    def facts(self) -> dict[str, Any]:
        """The facts that it was made from."""
        try:
            found = json.loads(self.labels.get(FACTS, "{}"))
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def runtime(self) -> dict[str, Any]:
        """What its image says of it; nothing when that is not what envd writes."""
        try:
            return labels.checked(json.loads(self.labels.get(LABEL, "{}")))
        except (ValueError, RecursionError):
            return {}

    def port(self, service: str) -> Port | None:
        """Where a service is, or None when it has none."""
        return next((p for p in self.ports if p.service == service), None)


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Errors of the engine and of the way to it as DockerError."""
    try:
        yield
    except APIError as error:
        raise DockerError(str(error.explanation or error), subject=what) from error
    except (DockerException, requests.RequestException) as error:
        raise DockerError(reason(error), subject=what) from error


def jupyter(client: docker.APIClient, found: Found) -> str:
    """The address of its Jupyter with the token, or "" when it has none. Raises DockerError."""
    if (port := found.port("jupyter")) is None:
        return ""
    token = quote(text_of(client, found.id, JUPYTER_TOKEN).strip(), safe="")
    return f"http://{port.address}:{port.host}/lab?token={token}"


def rstudio(client: docker.APIClient, found: Found) -> str:
    """Where its RStudio server is and who may enter, or "" when it has none. Raises DockerError."""
    if (port := found.port("rstudio")) is None:
        return ""
    if not (password := text_of(client, found.id, RSTUDIO_PASSWORD).strip()):
        return ""
    return f"http://{port.address}:{port.host}  user {USER}, password {password}"


def text_of(client: docker.APIClient, identity: str, path: str) -> str:
    """A file of the container, or the last part of a long one; "" when there is none. Raises
    DockerError."""
    head, tail = b"", b""
    with explained(f"cannot read {path}"):
        try:
            stream, _ = client.get_archive(identity, path)
        except NotFound:
            return ""
        for chunk in stream:
            # What is in there is the container's word: no more of it than is shown is kept.
            head = head or bytes(chunk[:_BLOCK])
            tail = (tail + chunk)[-_LONGEST_TEXT:]
    if len(head) < _BLOCK or head[156:157] not in (b"0", b"\0"):  # no regular file
        return ""
    return tail.removeprefix(head).rstrip(b"\0").decode("utf-8", "replace")


def names(seconds: int) -> list[str]:
    """The names of all environments, of an engine whose answers may take `seconds`."""
    return [found.name for found in every(connect(seconds))]


def every(client: docker.APIClient) -> list[Found]:
    """All environments, by name."""
    with explained("cannot list the environments"):
        rows = client.containers(all=True, filters={"label": NAME})
    found = [Found(r["Id"], r["Labels"][NAME], r["State"], r["Labels"]) for r in rows]
    return sorted(found, key=lambda f: f.name)


def find(client: docker.APIClient, name: str) -> Found | None:
    """The environment of that name, or None. Raises DockerError when the name is another
    container's."""
    with explained(f"cannot look for '{name}'"):
        try:
            row = client.inspect_container(name)
        except NotFound:
            return None
    labels = row["Config"].get("Labels") or {}
    if labels.get(NAME) != row["Name"].lstrip("/"):
        raise DockerError(
            f"a container named '{name}' already exists, and envd did not make it",
            advice="remove it, or give another name with --name",
        )
    return Found(row["Id"], labels[NAME], row["State"]["Status"], labels)


def get(client: docker.APIClient, name: str) -> Found:
    """The environment of that name. Raises DockerError when there is none."""
    found = find(client, name)
    if found is None:
        hint = suggest(name, [f.name for f in every(client)]) or "; `envd envs list` lists them"
        raise DockerError(f"no environment '{name}'{hint}")
    return found


def of_project(client: docker.APIClient, directory: str, name: str) -> Found | None:
    """The environment of a project's directory, or None: the one called `name` when there are
    more. Raises DockerError when none of those is."""
    mine = [f for f in every(client) if f.labels.get(PROJECT) == directory]
    if len(mine) > 1:
        named = [f for f in mine if f.name == name]
        if not named:
            raise DockerError(
                f"{directory} has the environments {', '.join(f.name for f in mine)}",
                advice="choose one with --name",
            )
        return named[0]
    return mine[0] if mine else None


def remove(client: docker.APIClient, found: Found) -> None:
    """Remove its container and the volumes without a name that were made for it."""
    with explained(f"cannot remove {found.name}"):
        try:
            client.remove_container(found.id, v=True, force=True)
        except NotFound:
            return


def remove_image(client: docker.APIClient, tag: str) -> bool:
    """Remove an image from the engine; False when there is none. Raises DockerError."""
    try:
        client.remove_image(tag)
    except ImageNotFound:
        return False
    except APIError as error:
        raise DockerError(f"cannot remove the image {tag}: {error.explanation}") from error
    return True


def pause(client: docker.APIClient, found: Found) -> bool:
    """Freeze its processes; False when they are frozen already."""
    if found.status == "paused":
        return False
    with explained(f"cannot pause {found.name}"):
        client.pause(found.id)
    return True


def resume(client: docker.APIClient, found: Found) -> bool:
    """Let it run again, whether it was paused or stopped; False when it runs already."""
    if found.status == "running":
        return False
    with explained(f"cannot resume {found.name}"):
        if found.status == "paused":
            client.unpause(found.id)
        else:
            client.start(found.id)
    return True


def log_tail(client: docker.APIClient, identity: str, lines: int = 20) -> str:
    """The last lines that its services wrote."""
    with explained("cannot read the log"):
        text: bytes = client.logs(identity, tail=lines)
    return text.decode("utf-8", "replace").rstrip()
