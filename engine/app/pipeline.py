"""The whole path, one function per arrow: spec -> Environment -> Lock -> Plan -> Image."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.app import fastpath, offline
from engine.app import push as publish
from engine.app.caches import Caches, opened
from engine.app.deliver import deliver
from engine.app.options import BuildOptions
from engine.core import redaction
from engine.core.derivation import Derivation
from engine.core.events import Event, Sink
from engine.core.oci_model import Image, ImageConfig
from engine.core.progress import open_sink
from engine.core.project import Project, store_path
from engine.docker import probe
from engine.ecosystems.images.builder import as_pinned
from engine.ecosystems.includes import git
from engine.ecosystems.steps import login
from engine.ecosystems.steps.dev import turned_on, wanted
from engine.errors import LockMismatch, UsageError
from engine.lock import model as locks
from engine.lock.model import Lock
from engine.oci import kept
from engine.oci import outputs as image_outputs
from engine.oci.assemble import assemble
from engine.plan import plan as planning
from engine.realise import placed, userns, warnings_kept
from engine.realise import secrets as step_secrets
from engine.realise import steps as network_steps
from engine.realise.scheduler import Work, realise
from engine.realise.secrets import Secrets
from engine.realise.selection import Selection
from engine.resolve import locking
from engine.sections import cuda, registry
from grammar import evaluate as loader
from grammar.environment import Environment, Owner
from store import Store
from store.usage import in_use

if TYPE_CHECKING:
    from grammar.environment import Include
    from grammar.evaluate import Checkout, Includer


@dataclass(frozen=True)
class Result:
    """What a build gave."""

    image: Image


def evaluate(
    project: Project, *, dev: bool = False, build: bool = True, update: bool = False, progress: str = "plain"
) -> Environment:
    """What the project's spec asks for; with `dev` in the variant that `envd up` runs.

    What is suspicious is said on standard error, as `progress` wants it. Unless it is to `build`,
    the environment may ask for what this engine does not build yet. With `update`, included
    repositories are taken as they are now and not as the lock pins them.

    Raises SpecError, UsageError, ResolveError.
    """
    environment = loader.load(
        project.spec,
        project.function,
        project.directory,
        _includer(project, update),
        tuple(Path(p) for p in os.environ.get("ENVD_ALLOW_PATHS", "").split(os.pathsep) if p),
    )
    redaction.know(redaction.strings_in(environment))
    with open_sink("json") as emit:
        for notice in environment.notices:
            if progress == "json":
                emit(Event("message", str(notice.position), text=f"warning: {notice.text}"))
            else:
                print(redaction.visible(str(notice)), file=sys.stderr)
    if given := os.environ.get("ENVD_BUILD_OWNER"):
        environment = replace(environment, owner=_owner(given))
    if build:
        registry.check(environment)
    return turned_on(environment) if dev else environment


def _includer(project: Project, update: bool) -> Includer:
    """How include() is evaluated: at the commit that the lock pins, unless it is to move."""
    pinned: dict[tuple[str, str], str] | None = None

    def include(wanted: Include) -> Checkout:
        nonlocal pinned
        if pinned is None:
            lock = None if update else locks.read(project.lock)
            rows = () if lock is None else lock.includes
            pinned = {(row.git, row.ref): row.commit for row in rows}
        cache = store_path() / "cache"
        commit = pinned.get((git.public_url(wanted.git), wanted.ref), "")
        with in_use(store_path()):
            return git.checkout(wanted, commit, cache)

    return include


def _owner(text: str) -> Owner:
    uid, colon, gid = text.partition(":")
    if not (colon and uid.isdecimal() and gid.isdecimal() and max(int(uid), int(gid)) <= 65535):
        raise UsageError(f"owner '{text}': write UID:GID, such as 1000:1000")
    return Owner(int(uid), int(gid))


def ensure_lock(
    project: Project, environment: Environment, emit: Sink, *, locked: bool = False, update: bool = False
) -> Lock:
    """The project's lock, made or renewed when it does not fit.

    Raises LockMismatch when `locked` forbids that, ResolveError when nothing fits.
    """
    old = locks.read(project.lock)
    if old is not None:
        registry.check_rows(old)
    pinned = () if old is None else old.steps  # of what they are for, their keys tell
    if update:
        if old is not None and "dev" in old.requests:
            environment = turned_on(environment)  # what `envd up` has added is renewed too
        old = None
    requests = registry.requests_of(cuda.settled(environment, old))
    if old is not None:
        misfits = locking.outdated(old, environment, requests)
        if not misfits:
            return old
        if locked and misfits.keys() == (lacks := locking.older(old, requests)).keys():
            text = "; ".join(f"{section}: {names}" for section, names in lacks.items())
            emit(
                Event(
                    "message",
                    "lock",
                    text=f"warning: made by an older envd, it lacks {text}; `envd lock` adds it",
                )
            )
            return old
        detail = "; ".join(f"{section}: {text}" for section, text in misfits.items())
        if locked:
            command = "envd lock --dev" if "dev" in misfits else "envd lock"
            raise LockMismatch(
                f"does not fit {project.spec}: {detail}", subject=str(project.lock), advice=f"run `{command}`"
            )
        offline.check_lock(project.lock, f"does not fit {project.spec}: {detail}")
        emit(Event("message", "lock", text=f"renewing {detail}"))
    elif locked:
        raise LockMismatch("no such file", subject=str(project.lock), advice="run `envd lock` and commit it")
    else:
        offline.check_lock(project.lock, "is to be made anew" if update else "no such file")
    _check_writable(project.lock)
    cache = store_path() / "cache"
    with in_use(store_path()):
        cache.mkdir(mode=0o700, exist_ok=True)
        new = replace(locking.resolve(environment, old=old, cache=cache, emit=emit), steps=pinned)
    locks.write(new, project.lock)
    return new


def _check_writable(path: Path) -> None:
    """Raise UsageError when the lock cannot be written: before minutes of resolving, not after."""
    if os.access(path.parent, os.W_OK | os.X_OK):
        return
    read_only = os.statvfs(path.parent).f_flag & os.ST_RDONLY
    reason = "its file system is read-only" if read_only else "its permissions do not allow it"
    raise UsageError(
        f"the lock cannot be written: {reason}",
        subject=str(path),
        advice="run `envd lock` where it can, and bring the lock along",
    )


def plan_of(project: Project, environment: Environment, lock: Lock) -> planning.Plan:
    """The plan of a locked environment. Raises UsageError."""
    return planning.plan(environment, lock, project.directory)


def build(project: Project, options: BuildOptions) -> Result:
    """Build the project's image, write it where the options say, and load it into Docker.

    Raises SpecError, UsageError, ResolveError, FetchError, BuildError, DockerError, StoreError.
    """
    targets = image_outputs.parse(options.outputs)
    values = step_secrets.read(options.secrets)
    environment = checked(project, options, dev=options.dev)
    # What was fetched and built is this command's until it has delivered it.
    with (
        open_sink(options.progress) as emit,
        in_use(store_path()),
        at_work(project, environment, options, values, emit) as (work, lock),
    ):
        tags = options.names(project)

        def delivered() -> _Made:
            made = work.image(lock)
            deliver(made.image, work.store, targets, tags, options.load, emit)
            return made

        made = work.caches.until_whole(delivered)
        image = made.image
        work.caches.say_what_came(image.layers)
        shared = work.caches.share(made.plan.stack, made.outputs)
        loaded = not options.load or all(probe.image_id(t) == image.config_digest for t in tags)
        # What is odd about secrets is to be said each time.
        told = values.values.keys() <= step_secrets.wanted_by(environment)
        if options.tags and not options.outputs and loaded and told and shared:
            layers = [(layer.digest, layer.size) for layer in image.layers]
            work.store.set_memo(
                fastpath.request_of(project, options).key,
                fastpath.remember(made.inputs, image.config_digest, layers, made.warnings),
            )
    return Result(image)


@dataclass(frozen=True)
class _Made:
    """A built image: its plan, what this gave (drv_id -> object id), what its spec was read from, and
    what its layers warn of."""

    image: Image
    plan: planning.Plan
    outputs: Mapping[str, str]
    inputs: Sequence[Path | Selection]
    warnings: Sequence[str]


@dataclass(frozen=True)
class _Work:
    """What one build has in hand, from a lock to what is built of it."""

    project: Project
    environment: Environment
    options: BuildOptions
    secrets: Secrets
    store: Store
    emit: Sink
    caches: Caches

    @property
    def variant(self) -> str:
        """Which of the image's variants it is, as the lock calls it."""
        return network_steps.DEVELOPMENT if wanted(self.environment) else ""

    def plan(self, lock: Lock) -> planning.Plan:
        """The plan; says what is odd about the secrets that its steps want."""
        self.secrets.say_what_is_odd(self.environment, self.emit)
        return replace(plan_of(self.project, self.environment, lock), secrets=self.secrets.values)

    def image(self, lock: Lock) -> _Made:
        """The built image, kept in the store under its names."""
        plan, store = self.plan(lock), self.store
        for step, text in planning.left_out(self.environment, self.project.directory):
            self.emit(Event("message", step, text=text))
        steps = network_steps.of(plan.layers, lock, self.variant, locked=self.options.locked)
        outputs = self.realised(plan, plan.stack, steps)
        self.pin(lock, plan, outputs, steps)
        ids = [outputs[layer.drv_id] for layer in plan.stack]
        layers = [
            as_pinned(layer, found, store, self.emit)
            for layer, i in zip(plan.stack, ids, strict=True)
            if (found := store.get(i)) is not None
        ]
        image = assemble(layers, _activated(plan, dict(zip(plan.stack, ids, strict=True)), store))
        for name in self.options.names(self.project):
            kept.keep(store, name, image)
        shown = self.options.tags[0] if self.options.tags else self.project.name
        size = sum(x.size for x in layers)
        self.emit(Event("image", shown, text=image.config_digest, bytes=size))
        read = [Path(p) for p in self.environment.read_files]
        raw = [(x.name, outputs.get(placed.raw_of(x).drv_id, "")) for x in plan.stack]
        warnings = [f"{n}: warning: {t}" for n, i in raw for t in warnings_kept.known(store, i)]
        return _Made(image, plan, outputs, [*read, self.project.lock, *plan.sources.values()], warnings)

    def realised(
        self, plan: planning.Plan, targets: Sequence[Derivation], steps: network_steps.Steps
    ) -> dict[str, str]:
        """Realise `targets` of a plan; nothing that is shown meanwhile holds a secret."""
        with self.secrets.out_of_errors():
            return realise(
                targets,
                self.store,
                plan.builders,
                Work(
                    jobs=self.options.jobs,
                    force=self.options.force,
                    steps=steps,
                    before=offline.then(self.secrets.check, self.store),
                    substituter=self.caches.substituter,
                ),
                emit=self.secrets.sink(self.emit),
            )

    def pin(
        self, lock: Lock, plan: planning.Plan, outputs: Mapping[str, str], steps: network_steps.Steps
    ) -> None:
        """Write what the steps gave into the lock, and keep what the lock names from `gc`."""
        store, place = self.store, self.project.lock
        new = network_steps.renewed(plan.layers, outputs, steps, lock, self.variant, store, self.emit)
        if new != lock and not steps.locked:
            locks.write(new, place)
        files = [f"sha256:{p.file.sha256}" for p in locks.all_packages(new)]
        objects = [row.object for row in new.steps if store.get(row.object) is not None]
        store.add_root(f"lock:{place.absolute()}", objects, files)


def checked(project: Project, options: BuildOptions, *, dev: bool = False) -> Environment:
    """What the spec asks for; that its copies can be made is known before minutes of resolving."""
    environment = evaluate(project, dev=dev, progress=options.progress)
    planning.check_copies(environment, project.directory)
    return environment


@contextmanager
def at_work(
    project: Project, environment: Environment, options: BuildOptions, secrets: Secrets, emit: Sink
) -> Iterator[tuple[_Work, Lock]]:
    """What is built from, and its lock, which is made when there is none that fits."""
    lock = ensure_lock(project, environment, emit, locked=options.locked)
    userns.ensure()
    os.umask(0o022)
    with Store.open(store_path()) as store:
        caches = opened(project, options, store, emit)
        yield _Work(project, environment, options, secrets, store, emit, caches), lock


def update_steps(project: Project, names: Sequence[str], options: BuildOptions) -> int:
    """Build steps of the project that may reach the network anew, and pin what they give: those
    called `names` ("all": every one), in each variant of the image that the lock pins them for, and
    with `options.dev` in that of `envd up`. How many were built.

    Raises UsageError for a name that the spec does not have, and what `build` raises.
    """
    before = locks.read(project.lock)
    variants = {row.variant for row in before.steps} if before is not None else set()
    if options.dev:
        variants.add(network_steps.DEVELOPMENT)
    values = step_secrets.read(options.secrets)
    with open_sink(options.progress) as emit, in_use(store_path()):
        count = 0
        for variant in sorted(variants) or [""]:
            environment = checked(project, options, dev=bool(variant))
            with at_work(project, environment, options, values, emit) as (work, lock):
                count += work.caches.until_whole(partial(_updated, work, lock, names))
    return count


def _updated(work: _Work, lock: Lock, names: Sequence[str]) -> int:
    """Build those steps of one variant anew; how many there are."""
    plan = work.plan(lock)
    there = network_steps.names_of(plan.layers)
    anew = network_steps.chosen(names, there.values())
    steps = network_steps.of(plan.layers, lock, work.variant, anew=anew)
    targets = [x for x in plan.layers if there.get(x.drv_id) in anew]
    work.pin(lock, plan, work.realised(plan, targets, steps), steps)
    return len(targets)


def _activated(plan: planning.Plan, ids: Mapping[Derivation, str], store: Store) -> ImageConfig:
    """The image's configuration, with the variables that conda's activation gave when it was
    built."""
    for layer, object_id in ids.items():
        raw = placed.raw_of(layer)
        if raw.kind == login.KIND and raw.parameters["conda"]:
            tree = store.tree(object_id)
            return replace(plan.config, env=login.completed(plan.config.env, tree))
    return plan.config


def push(project: Project, reference: str, options: BuildOptions, *, also: Sequence[str] = ()) -> str:
    """Build, then push to `reference` and under the tags `also`; returns the manifest's digest.

    Raises RegistryError, and what `build` raises.
    """
    target, tags = publish.reference(reference), publish.tags(also)
    values = step_secrets.read(options.secrets)
    environment = checked(project, options)
    with (
        open_sink(options.progress) as emit,
        in_use(store_path()),
        at_work(project, environment, options, values, emit) as (work, lock),
    ):

        def pushed() -> _Made:
            made = work.image(lock)
            publish.push(made.image, work.store, target, emit, tags)
            return made

        made = work.caches.until_whole(pushed)
        work.caches.say_what_came(made.image.layers)
        work.caches.share(made.plan.stack, made.outputs)
    return made.image.manifest_digest
