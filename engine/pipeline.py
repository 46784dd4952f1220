"""The whole path, one function per arrow: spec -> Environment -> Lock -> Plan -> Image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine import fastpath, locking, planning, userns
from engine import lock as locks
from engine.docker import probe
from engine.errors import LockMismatch, UsageError
from engine.events import Event, Sink
from engine.image import layout
from engine.image.assemble import assemble
from engine.image.model import Image
from engine.lock import Lock
from engine.progress import open_sink
from engine.project import Project, store_path
from engine.scheduler import realise
from grammar.environment import Environment
from store import Store

OUTPUTS = ("oci", "oci-dir", "docker")


@dataclass(frozen=True)
class Result:
    """What a build gave."""

    image: Image


def evaluate(project: Project) -> Environment:
    """What the project's spec asks for. Raises SpecError."""
    from grammar import loader

    environment = loader.load(project.spec, project.function)
    planning.refuse_unsupported(environment)
    return environment


def ensure_lock(
    project: Project, environment: Environment, emit: Sink, *, locked: bool = False,
    update: bool = False,
) -> Lock:
    """The project's lock, made or renewed when it does not fit.

    Raises LockMismatch when `locked` forbids that, ResolveError when nothing fits.
    """
    old = None if update else locks.read(project.lock)
    requests = locking.requests_of(environment)
    if old is not None:
        misfits = locking.misfits(old, requests)
        if not misfits:
            return old
        detail = "; ".join(f"{section}: {text}" for section, text in misfits.items())
        if locked:
            raise LockMismatch(
                f"{project.lock}: does not fit {project.spec}: {detail}; run `envd lock`"
            )
        emit(Event("message", "lock", text=f"renewing {detail}"))
    elif locked:
        raise LockMismatch(f"{project.lock}: no such file; run `envd lock` and commit it")
    cache = store_path() / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    new = locking.resolve(environment, old=old, cache=cache, emit=emit)
    locks.write(new, project.lock)
    return new


def plan_of(project: Project, environment: Environment, lock: Lock) -> planning.Plan:
    """The plan of a locked environment. Raises UsageError."""
    return planning.plan(environment, lock, project.directory)


def _parse_outputs(outputs: Sequence[str]) -> list[tuple[str, Path]]:
    found = []
    for text in outputs:
        kind, _, name = text.partition(":")
        if kind not in OUTPUTS or not name:
            raise UsageError(
                f"-o {text}: not an output; write oci:FILE.tar, oci-dir:DIR or docker:FILE.tar"
            )
        path = Path(name).absolute()
        if not path.parent.is_dir():
            raise UsageError(f"-o {text}: no directory {path.parent}")
        found.append((kind, path))
    return found


def build(
    project: Project,
    *,
    tag: str | None,
    outputs: Sequence[str] = (),
    load: bool,
    progress: str = "auto",
    locked: bool = False,
    jobs: int | None = None,
    force: bool = False,
) -> Result:
    """Build the project's image; write `outputs`, load it into Docker under `tag`.

    Raises SpecError, UsageError, ResolveError, FetchError, BuildError, DockerError.
    """
    targets = _parse_outputs(outputs)
    environment = evaluate(project)
    with open_sink(progress) as emit:
        lock = ensure_lock(project, environment, emit, locked=locked)
        userns.ensure()
        os.umask(0o022)
        image, store, inputs = _image(project, environment, lock, tag, emit, jobs, force)
        try:
            _deliver(image, store, targets, tag or f"{project.name}:dev", load, emit)
            loaded = not load or probe.image_id(tag or "") == image.config_digest
            if tag and not outputs and loaded:
                request = fastpath.Request(project, tag, (), load)
                store.set_memo(
                    request.key, fastpath.remember(request, inputs, image.config_digest)
                )
        finally:
            store.close()
    return Result(image)


def _image(
    project: Project, environment: Environment, lock: Lock, tag: str | None, emit: Sink,
    jobs: int | None, force: bool,
) -> tuple[Image, Store, list[Path]]:
    plan = plan_of(project, environment, lock)
    store = Store.open(store_path())
    with store.in_use():
        outputs = realise(
            plan.layers, store, plan.builders, jobs=jobs, emit=emit, force=force
        )
        ids = [outputs[layer.drv_id] for layer in plan.layers]
        layers = [found for i in ids if (found := store.get(i)) is not None]
        image = assemble(layers, plan.config)
        files = [f"sha256:{p.file.sha256}" for p in locks.all_packages(lock)]
        store.add_root(f"image:{tag or project.name}", ids)
        store.add_root(f"lock:{project.lock.absolute()}", [], files)
    emit(
        Event("image", tag or project.name, text=image.config_digest,
              bytes=sum(x.size for x in layers))
    )
    read = [Path(p) for p in environment.read_files]
    return image, store, [*read, project.lock, *plan.sources.values()]


def _deliver(
    image: Image, store: Store, targets: Sequence[tuple[str, Path]], tag: str, load: bool,
    emit: Sink,
) -> None:
    writers = {
        "oci": layout.write_archive, "oci-dir": layout.write_directory,
        "docker": layout.write_docker_file,
    }
    for kind, path in targets:
        name = tag if kind == "docker" else tag.rpartition(":")[2]
        writers[kind](image, store, path, name)
        emit(Event("image", str(path), text="written"))
    if not load:
        return
    if not probe.engine_available():
        emit(
            Event("message", f"no Docker engine answers at {probe.host()}: the image is built "
                  "but not loaded; start one, or write a file with -o oci:FILE")
        )
        return
    from engine.docker.load import load as load_into_docker

    load_into_docker(image, store, tag, emit)


def push(
    project: Project, reference: str, *, progress: str = "auto", locked: bool = False,
    jobs: int | None = None, force: bool = False,
) -> str:
    """Build, then push to `reference`; returns the manifest's digest. Raises RegistryError."""
    from store import registry

    try:
        target = registry.parse_reference(reference)
    except ValueError as error:
        raise UsageError(str(error)) from error
    environment = evaluate(project)
    with open_sink(progress) as emit:
        lock = ensure_lock(project, environment, emit, locked=locked)
        userns.ensure()
        os.umask(0o022)
        image, store, _ = _image(project, environment, lock, None, emit, jobs, force)
        try:
            blobs: list[tuple[str, int, Path | bytes]] = [
                (image.config_digest, len(image.config), image.config)
            ]
            blobs += [(x.digest, x.size, layout.blob(store, x)) for x in image.layers]
            sent = registry.Registry(target).push_image(
                blobs, image.manifest,
                lambda digest, size: emit(Event("push", digest[:19], bytes=size)),
            )
            emit(Event("push", reference, text=f"{sent} blobs sent"))
        finally:
            store.close()
    return image.manifest_digest
