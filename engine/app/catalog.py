"""Built images, wherever they are: in the store, in the Docker engine, or in both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import quote

from engine.core.oci_model import LABEL, PYTHON_LABEL, Image
from engine.core.paths import full_tag
from engine.core.project import store_path
from engine.docker import probe
from engine.errors import DockerError, UsageError
from engine.oci import kept
from grammar.nearest import suggest
from store import Store
from store.store import existing

_UNTAGGED = "<none>:<none>"


@dataclass(frozen=True)
class Listed:
    """One image under one name. `size` is unpacked and `compressed` what a push sends, in bytes
    (None where only Docker has it); `name` is "" for an image that lost its name."""

    name: str
    id: str
    size: int
    compressed: int | None
    layers: int | None
    python: str
    store: bool
    docker: bool


def listed() -> list[Listed]:
    """Every image that envd built or pulled, by name."""
    found: dict[tuple[str, str], Listed] = {}
    with opened_store() as store:
        for item in kept.listed(store) if store is not None else ():
            image = item.image
            found[item.name, image.config_digest] = Listed(
                item.name,
                image.config_digest,
                sum(x.tar_size for x in image.layers),
                sum(x.size for x in image.layers),
                len(image.layers),
                str(_labels(image).get(PYTHON_LABEL, "")),
                store=True,
                docker=False,
            )
    for row in in_docker():
        python = str((row.get("Labels") or {}).get(PYTHON_LABEL, ""))
        for tag in row.get("RepoTags") or [_UNTAGGED]:
            name = "" if tag == _UNTAGGED else str(tag)
            key = (name, str(row["Id"]))
            here = found.get(key)
            found[key] = (
                replace(here, docker=True)
                if here is not None
                else Listed(name, key[1], int(row["Size"]), None, None, python, False, True)
            )
    return [found[key] for key in sorted(found, key=lambda key: (key[0] == "", key))]


def opened_store(*, reading: bool = True) -> AbstractContextManager[Store | None]:
    """The user's store, or None where there is none yet."""
    return existing(store_path(), reading=reading)


def in_docker(**filters: str) -> list[dict[str, Any]]:
    """The Docker engine's rows of images that envd built; none when no engine answers."""
    wanted = quote(json.dumps({"label": [LABEL], **{k: [v] for k, v in filters.items()}}))
    found = probe.get(f"/images/json?filters={wanted}")
    return found if isinstance(found, list) else []


def _labels(image: Image) -> Mapping[str, Any]:
    return (json.loads(image.config).get("config") or {}).get("Labels") or {}


def _choose(name: str) -> list[Listed]:
    """The images that are meant by a name or by the beginning of an ID. Raises UsageError."""
    rows = listed()
    named = [row for row in rows if row.name and row.name in (name, full_tag(name))]
    if named:
        return named
    digits = name.removeprefix("sha256:")
    by_id = [row for row in rows if len(digits) >= 6 and row.id[7:].startswith(digits)]
    if len({row.id for row in by_id}) > 1:
        raise UsageError(f"'{name}' is the beginning of several IDs", advice="give more digits")
    if not by_id:
        hint = suggest(name, [row.name for row in rows if row.name])
        raise UsageError(f"no image '{name}'{hint or '; `envd images` lists them'}")
    return by_id


# -- one of them ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """A layer as a description shows it; `size` is unpacked, in bytes."""

    name: str
    size: int
    diff_id: str


@dataclass(frozen=True)
class Description:
    """What there is to know about an image. `env` and `labels` map names to values."""

    names: tuple[str, ...]
    id: str
    manifest: str | None
    size: int
    python: str
    packages: tuple[str, ...]
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    workdir: str
    user: str
    ports: tuple[str, ...]
    env: Mapping[str, str]
    labels: Mapping[str, str]
    layers: tuple[Layer, ...]
    store: bool
    docker: bool

    def as_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return asdict(self)


def describe(name: str) -> Description:
    """All about an image, by name or ID. Raises UsageError, DockerError."""
    row = _choose(name)[0]
    names = tuple(other.name for other in listed() if other.id == row.id and other.name)
    if row.store:
        with opened_store() as store:
            image = kept.find(store, row.name) if store is not None else None
        if image is not None:
            document = json.loads(image.config)
            layers = tuple(Layer(x.name, x.tar_size, x.diff_id) for x in image.layers)
            return _described(row, names, image.manifest_digest, document.get("config") or {}, layers)
    document = probe.inspect(row.id)
    history = probe.get(f"/images/{row.id}/history")
    if document is None or not isinstance(history, list):
        raise DockerError("the Docker engine no longer has it", subject=name)
    diff_ids = (document.get("RootFS") or {}).get("Layers") or []
    steps = [step for step in reversed(history) if step.get("Comment") != "empty"]
    names_of = [str(step["CreatedBy"]).removeprefix("envd: ") for step in steps]
    layers = tuple(
        Layer(text, int(step["Size"]), str(diff_id))
        for text, step, diff_id in zip(names_of, steps, diff_ids, strict=False)
    )
    return _described(row, names, None, document.get("Config") or {}, layers)


def _described(
    row: Listed,
    names: tuple[str, ...],
    manifest: str | None,
    config: Mapping[str, Any],
    layers: tuple[Layer, ...],
) -> Description:
    def words(key: str) -> tuple[str, ...]:
        return tuple(str(word) for word in config.get(key) or ())

    labels = {str(k): str(v) for k, v in sorted((config.get("Labels") or {}).items())}
    try:
        packages = tuple(str(p) for p in json.loads(labels.get(LABEL, "[]")))
    except (ValueError, TypeError, RecursionError):
        packages = ()
    return Description(
        names=names,
        id=row.id,
        manifest=manifest,
        size=row.size,
        python=row.python,
        packages=packages,
        entrypoint=words("Entrypoint"),
        command=words("Cmd"),
        workdir=str(config.get("WorkingDir") or ""),
        user=str(config.get("User") or ""),
        ports=tuple(sorted(words("ExposedPorts"))),
        env=dict(word.partition("=")[::2] for word in words("Env")),
        labels=labels,
        layers=layers,
        store=row.store,
        docker=row.docker,
    )


# -- away with them ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Removed:
    """What went, or would go: `kind` is "untagged" or "deleted" (Docker) or "root" (the store)."""

    kind: str
    name: str


def remove(names: Sequence[str], *, force: bool = False) -> list[Removed]:
    """Remove images by name or ID from Docker and from the store's roots.

    The store's files go with the next `prune`. Raises UsageError, DockerError.
    """
    chosen = {(row.name, row.id): row for name in names for row in _choose(name)}
    gone: list[Removed] = []
    for row in chosen.values():
        if row.docker:
            gone += _remove_from_docker(row.name or row.id, force=force)
        if row.store:
            gone += _forget([row.name])
    return gone


def _remove_from_docker(name: str, *, force: bool) -> list[Removed]:
    from engine.docker.images import removed  # noqa: PLC0415 (docker-py, to remove alone)

    return [Removed(kind, what) for kind, what in removed(name, force=force)]


def _forget(names: Sequence[str]) -> list[Removed]:
    with opened_store(reading=False) as store:
        if store is not None:
            for name in names:
                store.remove_root(kept.PREFIX + name)
    return [Removed("root", name) for name in names]


def prune(*, everything: bool, dry_run: bool) -> list[Removed]:
    """Remove images that envd built and that lost their names; with `everything` also those
    that no container uses. Raises DockerError."""
    containers = probe.get("/containers/json?all=1")
    used = {str(row["ImageID"]) for row in containers or ()}
    rows = in_docker() if everything else in_docker(dangling="true")
    gone: list[Removed] = []
    for row in rows:
        if str(row["Id"]) in used:
            continue
        tags = [tag for tag in row.get("RepoTags") or () if tag != _UNTAGGED]
        if dry_run:
            gone += [Removed("untagged", tag) for tag in tags]
            gone.append(Removed("deleted", str(row["Id"])))
            continue
        for name in tags or [str(row["Id"])]:
            gone += _remove_from_docker(name, force=False)
    return gone


__all__ = [
    "Description",
    "Layer",
    "Listed",
    "Removed",
    "describe",
    "in_docker",
    "listed",
    "opened_store",
    "prune",
    "remove",
]
