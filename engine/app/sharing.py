"""The work of `envd cache …`: looking after the places that builds are shared through."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from engine.app import pipeline
from engine.app.options import BuildOptions
from engine.cache import pack, places, settings, taken, tidy, upkeep
from engine.cache.directory import Directory
from engine.cache.place import Place
from engine.cache.remote import Remote
from engine.cache.settings import Settings
from engine.cache.taken import Taken
from engine.cache.upkeep import Found, Listed, Verified
from engine.core.derivation import Derivation
from engine.core.progress import open_sink
from engine.core.project import Project, store_path
from engine.errors import EnvdError, UsageError, together
from engine.realise import placed, secrets
from engine.realise import steps as network_steps
from engine.realise.scheduler import Work, realise
from grammar.nearest import suggest
from store import Store
from store.elsewhere import gather
from store.errors import LostError, StoreError
from store.store import existing
from store.usage import in_use

_PLAN = "plan-"
_DAY = 86400.0
T = TypeVar("T")
DAYS = 30  # that a pack which no branch names stays in a directory


def names(given: str | None, found: Settings) -> list[str]:
    """The places that are meant: the one that is given, else those that are used. Raises UsageError."""
    if given is not None:
        return [settings.place(given, Path.cwd())]
    every = dict.fromkeys([*found.substituters, *([found.publish] if found.publish else [])])
    if not every:
        raise UsageError("no place is used", advice="name one, or use one with `envd cache use PLACE`")
    return list(every)


def opened(name: str, store: Store) -> Place:
    """The place of a name. Raises UsageError for a directory that is not there, RegistryError."""
    place = places.opened(name, store)
    if isinstance(place, Directory) and not place.path.is_dir():
        raise UsageError("no such directory", subject=place.name, advice="is it mounted?")
    return place


@dataclass(frozen=True)
class Reached(Generic[T]):
    """What each place gave, and why some gave nothing (None: all did)."""

    rows: list[T]
    error: EnvdError | None = None


def _each(given: str | None, act: Callable[[Place, Settings], T]) -> Reached[T]:
    """What `act` gives of each place that is meant: one that does not answer does not keep the others'
    answers back. Raises UsageError."""
    found = settings.read()
    rows: list[T] = []
    failures: list[EnvdError] = []
    with upkeep.scratch_store() as store:
        for name in names(given, found):
            try:
                rows.append(act(opened(name, store), found))
            except EnvdError as error:
                failures.append(error)
            except (StoreError, OSError) as error:
                failures.append(EnvdError(str(error)))
    return Reached(rows, together(failures) if failures else None)


def packs(given: str | None) -> Reached[list[Listed]]:
    """The packs of each place. Raises UsageError."""
    return _each(given, lambda place, found: upkeep.listed(place, found.trusted, found.salt))


def verified(given: str | None, *, whole: bool) -> Reached[Verified]:
    """What is wrong with the packs of each place. Raises UsageError."""
    return _each(given, lambda place, found: upkeep.verified(place, found.trusted, found.salt, whole=whole))


@dataclass(frozen=True)
class Tidied:
    """What went from a place, or would go: tags, files (of a directory) and their bytes, and what else is to
    be said of it."""

    place: str
    tags: tuple[str, ...]
    blobs: int = 0
    bytes: int = 0
    note: str = ""


def tidied(given: str | None, *, days: int | None, tags: Sequence[str], dry_run: bool) -> Reached[Tidied]:
    """Remove the packs that no branch names any more, and those of `tags`; of directories, only what came
    more than `days` [30] days ago. Raises UsageError."""
    if tags and given is None and len(names(None, settings.read())) > 1:
        raise UsageError("several places are used", subject="--remove", advice="name the one that is meant")

    def act(place: Place, found: Settings) -> Tidied:
        if days is not None and not isinstance(place, Directory):
            raise UsageError(
                "a registry does not say when a pack came",
                subject=place.name,
                advice="leave out --older-than: then all goes that no branch's head names",
            )
        return _tidied(place, DAYS if days is None else days, tags, dry_run=dry_run)

    return _each(given, act)


def _tidied(place: Place, days: int, tags: Sequence[str], *, dry_run: bool) -> Tidied:
    found = upkeep.manifests(place)
    going = _going(place, found, days, tags)
    if isinstance(place, Directory):
        gone = tidy.remove(place, going, dry_run=dry_run)
        note = f"no file is removed: {gone.kept_because}" if gone.kept_because else ""
        return Tidied(place.name, gone.tags, gone.blobs, gone.bytes, note)
    assert isinstance(place, Remote)
    if not dry_run:
        staying = {digest: tag for tag, digest in found.digests.items() if tag not in going}
        for tag in going:
            digest = found.digests[tag]
            place.remove(tag, digest, staying.get(digest, ""))
    note = "its layers go when the registry collects its garbage" if going else ""
    return Tidied(place.name, tuple(going), note=note)


def _going(place: Place, found: Found, days: int, tags: Sequence[str]) -> list[str]:
    """The tags that go, with those of what was fetched for them."""
    for tag in tags:
        if tag not in found.packs:
            hint = suggest(tag, found.packs) or "; `envd cache ls` lists those that are there"
            raise UsageError(f"no pack '{tag}'{hint}", subject=place.name)
    named = {found.digests[tag] for tag in found.packs if not tag.startswith(_PLAN) and tag not in tags}
    going = list(tags)
    for tag in found.packs:
        digest = found.digests[tag]
        old = not isinstance(place, Directory) or tidy.age(place, digest) >= days * _DAY
        if tag.startswith(_PLAN) and digest not in named and tag not in tags and old:
            going.append(tag)
    kept = {x for tag in found.packs if tag not in going for x in _with_further(tag, found.packs[tag])}
    every = [x for tag in going for x in _with_further(tag, found.packs[tag]) if x in found.digests]
    every = list(dict.fromkeys(x for x in every if x not in kept))
    fetched = tuple(tag.replace(_PLAN, "sources-") for tag in going if tag.startswith(_PLAN))
    return every + [tag for tag in found.sources if fetched and tag.startswith(fetched)]


def _with_further(tag: str, manifest: bytes) -> list[str]:
    """A pack's tag and those that keep further layers of it."""
    try:
        return [tag, *pack.read_manifest(manifest).further]
    except pack.MalformedError:
        return [tag]


def stats() -> list[Taken]:
    """What builds on this machine took from places. Raises StoreError."""
    with existing(store_path()) as store:
        return taken.read(store) if store is not None else []


def push(project: Project, place: str | None, options: BuildOptions) -> None:
    """Build what is not built yet, and publish it at `place` [where the settings say]. Raises what
    `pipeline.build` does."""
    if place is not None:
        os.environ["ENVD_PUBLISH"] = settings.place(place, Path.cwd())
    pipeline.build(project, replace(options, publish=True, load=False))


@dataclass(frozen=True)
class Pulled:
    """How many layers of a project are here now, and the bytes that came."""

    layers: int
    bytes: int


def pull(project: Project, place: str | None, options: BuildOptions) -> Pulled:
    """Have all layers of a project here, as others have built them at `place` [the places that are used];
    nothing is built. Raises EnvdError when some are nowhere, and what `pipeline.build` does."""
    if place is not None:
        os.environ["ENVD_SUBSTITUTERS"] = settings.place(place, Path.cwd())
    environment = pipeline.checked(project, options, dev=options.dev)
    with (
        open_sink(options.progress) as emit,
        in_use(store_path()),
        pipeline.at_work(project, environment, options, secrets.read(()), emit) as (work, lock),
    ):
        store, plan = work.store, work.plan(lock)
        if work.caches.substituter is None:
            raise UsageError("no place is used", advice="name one, or use one with `envd cache use PLACE`")
        steps = network_steps.of(plan.layers, lock, work.variant, locked=options.locked)
        outputs = realise(
            plan.stack,
            store,
            plan.builders,
            Work(steps=steps, before=_refuse, substituter=work.caches.substituter),
            emit=emit,
        )
        layers = [found for x in plan.stack if (found := store.get(outputs[x.drv_id])) is not None]
        lacking = {x.digest: x.size for x in layers if not store.has_blob(x)}
        try:
            gather(store, layers)
        except LostError as error:
            raise EnvdError(str(error), advice="`envd build` builds it") from error
        work.pin(lock, plan, outputs, steps)
        work.caches.say_what_came(layers)
        return Pulled(len(layers), sum(lacking.values()))


def _refuse(pending: Sequence[Derivation]) -> None:
    """Raise EnvdError: these would be built."""
    lacking = [x.name for x in pending if x.kind != placed.KIND]
    more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
    raise EnvdError(
        f"no place that is used has {', '.join(lacking[:5])}{more}",
        advice="`envd build` takes what there is, and builds the rest",
    )
