"""Loading an image into a Docker engine, streamed: nothing is spooled.

Layers that the engine has already are named but not sent: moby's loader opens a layer's file
only when it does not know its chain ID (image/tarexport/load.go).
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from typing import IO, Any

import requests
from docker.errors import DockerException, NotFound

from engine.core.events import Event, Sink
from engine.core.oci_model import LABEL, Image
from engine.docker import probe
from engine.docker.client import connect
from engine.errors import DockerError
from engine.oci.layout import write_docker_archive
from store import Store
from store.notices import say
from store.retry import reason

_CHUNK = 1 << 20
_FEW = 4  # images that an engine behind ssh is asked about


def load(image: Image, store: Store, tag: str, emit: Sink) -> None:
    """Bring `image` into the engine under `tag`. Raises DockerError, CorruptError."""
    begin = time.monotonic()
    if probe.image_id(tag) == image.config_digest:
        emit(Event("load", tag, text="is in Docker already"))
        return
    sent = 0
    if probe.inspect(image.config_digest) is not None:
        _tag(image.config_digest, tag)
    else:
        known = _known(image, tag)
        try:
            sent = _send(image, store, tag, known)
        except DockerError:
            if not known:
                raise
            sent = _send(image, store, tag, frozenset())
    if (found := probe.image_id(tag, probe.PATIENCE)) is None:
        raise DockerError("the Docker engine loaded it but does not list it", subject=tag)
    if found not in (image.config_digest, image.manifest_digest):
        raise DockerError(f"Docker has {found}, expected {image.config_digest}", subject=tag)
    emit(Event("load", tag, text="into Docker", bytes=sent, seconds=time.monotonic() - begin))


def _is_of(row: dict[str, Any], name: str) -> bool:
    return any(str(tag).rpartition(":")[0] == name for tag in row["RepoTags"] or ())


def _known(image: Image, tag: str) -> frozenset[str]:
    """Digests of the bottom layers that some image of the engine's shares with this one. None
    when the engine is too slow to tell: it is only to spare it some work."""
    try:
        return _asked(image, tag)
    except (DockerException, requests.RequestException) as error:
        say("Docker", f"cannot ask the engine what it has, so it is sent everything: {reason(error)}")
        return frozenset()


def _asked(image: Image, tag: str) -> frozenset[str]:
    wanted = [layer.diff_id for layer in image.layers]
    most = 0
    client = connect()
    rows = client.images()
    if probe.host().startswith("ssh://"):
        # Each question is a login: only a few, about those that are likeliest.
        name = tag.rpartition(":")[0]
        rows.sort(key=lambda row: (not _is_of(row, name), LABEL not in (row["Labels"] or {})))
        rows = rows[:_FEW]
    for row in rows:
        try:
            found = client.inspect_image(row["Id"])  # type: ignore[no-untyped-call]
        except NotFound:
            continue  # gone meanwhile
        having = (found.get("RootFS") or {}).get("Layers") or []
        count = 0
        for ours, theirs in zip(wanted, having, strict=False):
            if ours != theirs:
                break
            count += 1
        most = max(most, count)
    return frozenset(layer.digest for layer in image.layers[:most])


def _tag(identity: str, tag: str) -> None:
    name, _, label = tag.rpartition(":")
    try:
        connect().tag(identity, name, label)
    except (DockerException, requests.RequestException) as error:
        raise DockerError(f"the Docker engine refuses the tag: {reason(error)}", subject=tag) from error


def _send(image: Image, store: Store, tag: str, omit: frozenset[str]) -> int:
    reader, writer = os.pipe()
    written: list[int] = []
    problems: list[BaseException] = []

    def produce() -> None:
        try:
            with os.fdopen(writer, "wb") as file:
                written.append(write_docker_archive(image, store, file, tag, omit))
        except BrokenPipeError:
            pass  # the engine said no: its answer is the error
        except BaseException as error:  # shown by the main thread
            problems.append(error)

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        with os.fdopen(reader, "rb") as file:
            client = connect(timeout=3600)
            for line in client.load_image(_chunks(file), quiet=True):  # type: ignore[no-untyped-call]
                _check(line, tag)
    except (DockerError, DockerException, requests.RequestException, OSError) as error:
        thread.join()
        if problems:  # what the engine says of an archive that ends in its middle does not matter
            raise problems[0] from error
        if isinstance(error, DockerError):
            raise
        raise DockerError(
            f"the Docker engine at {probe.host()} did not load it: {reason(error)}", subject=tag
        ) from error
    finally:
        thread.join()
    if problems:
        raise problems[0]
    return sum(written)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _check(line: object, tag: str) -> None:
    message = line if isinstance(line, dict) else json.loads(str(line))
    if isinstance(message, dict) and message.get("error"):
        raise DockerError(f"the Docker engine did not load it: {message['error']}", subject=tag)
