"""What a build takes from other machines, and what it gives them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from engine.app.options import BuildOptions
from engine.cache import exchange, keys, pack, places, publisher, settings, sources, taken
from engine.cache.place import Place, Sent
from engine.cache.settings import Settings
from engine.cache.substituter import Substituter
from engine.core.amounts import human_bytes
from engine.core.derivation import Derivation
from engine.core.events import Event, Sink
from engine.core.project import Project
from engine.errors import UsageError
from store import Store, offline
from store.errors import LostError, StoreError
from store.model import Object

_DEFAULT_BRANCH = "main"
_LARGEST = 4096  # bytes of .git/HEAD
T = TypeVar("T")


@dataclass(frozen=True)
class Caches:
    """What one build shares with other machines. `substituter` is None where nothing is taken."""

    project: Project
    options: BuildOptions
    settings: Settings
    store: Store
    emit: Sink
    substituter: Substituter | None

    def until_whole(self, act: Callable[[], T]) -> T:
        """What `act` gives; begun again when a layer that was to be taken cannot be had: it is built
        here then."""
        while True:
            try:
                return act()
            except LostError as error:
                if self.substituter is None:
                    raise
                self.emit(Event("message", "cache", text=str(error)))

    def say_what_came(self, used: Sequence[Object]) -> None:
        """One line about what was taken; it is counted, too (`envd cache stats`)."""
        if self.substituter is not None:
            self.substituter.say_what_came(used)
            taken.remember(self.store, self.substituter.taken(used))

    def share(self, targets: Sequence[Derivation], outputs: Mapping[str, str]) -> bool:
        """Publish a finished plan, where the options or the settings say so; whether what was to be done is
        done. Raises what went wrong where the options asked for it, and says it where the settings did."""
        done = True
        for goal in _goals(self.options, self.settings):
            done = self._published(goal, targets, outputs) and done
        return done

    def _published(self, goal: _Goal, targets: Sequence[Derivation], outputs: Mapping[str, str]) -> bool:
        found, project = self.settings, self.project
        try:
            place = places.opened(goal.place, self.store)
            kept = self._share_sources(place, targets)
            sent = publisher.publish(
                place,
                targets,
                outputs,
                self.store,
                goal.key(found),
                salt=found.salt,
                head=goal.tag or pack.head_tag(project.name, branch_of(project.directory), found.salt),
            )
        except (StoreError, OSError, UsageError) as error:
            if goal.asked:
                raise
            self.emit(Event("message", "cache", text=f"warning: nothing is published: {error}"))
            return False
        self.emit(Event("publish", place.name, text=said(sent) + kept))
        return True

    def _share_sources(self, place: Place, targets: Sequence[Derivation]) -> str:
        """Keep what was fetched, too, when that is wanted; what is said of it."""
        if not (self.options.sources or self.settings.sources):
            return ""
        sent, lacking = sources.publish(place, targets, self.store, self.settings.salt)
        text = f"; of what was fetched: {said(sent)}"
        return f"{text}; {lacking} files are not here, and are not shared" if lacking else text


@dataclass(frozen=True)
class _Goal:
    """Where a build is published: a place, a moving tag of its own [""]; whether an option `asked` for it."""

    place: str
    tag: str = ""
    asked: bool = True

    def key(self, found: Settings) -> keys.SigningKey | None:
        """The key that signs. In a directory what is unsigned is of use, too: whoever takes it says so."""
        if found.signing is None and self.asked and self.place.startswith(settings.DIRECTORY):
            return None
        return signing_key(found)


def _goals(options: BuildOptions, found: Settings) -> list[_Goal]:
    goals = [_Goal(item.place, item.tag) for item in exchange.exports(options.exports)]
    if options.publish or (found.always and found.publish):
        goals.append(_Goal(found.publish, asked=options.publish))
    return goals


def said(sent: Sent) -> str:
    """What publishing did, in words."""
    parts = [f"{sent.sent} blobs sent ({human_bytes(sent.sent_bytes)})" if sent.sent else "nothing to send"]
    parts += [f"{sent.mounted} mounted"] if sent.mounted else []
    parts += [f"{sent.there} there already"] if sent.there else []
    return ", ".join(parts)


def signing_key(found: Settings) -> keys.SigningKey:
    """The user's key. Raises UsageError."""
    if found.signing is None:
        raise UsageError(
            "there is no key to sign with",
            advice="make one with `envd key generate`, or set ENVD_SIGNING_KEY",
        )
    return keys.read_signing_key(found.signing)


def opened(project: Project, options: BuildOptions, store: Store, emit: Sink) -> Caches:
    """The caches of the options and the user's settings. Raises UsageError."""
    found = settings.read()
    if options.publish and not found.publish:
        raise UsageError(
            "there is no place to publish to",
            subject="--publish",
            advice="name one with `envd cache use --publish PLACE`, or with ENVD_PUBLISH",
        )
    for goal in _goals(options, found):
        if goal.asked:  # before minutes of building, not after
            _check(goal, found, emit)
    given = exchange.imports(options.imports)
    branches = dict.fromkeys((branch_of(project.directory), _DEFAULT_BRANCH))
    names = _reachable(dict.fromkeys([*(item.place for item in given), *found.substituters]), emit)
    substituter = None
    if names:
        substituter = Substituter(
            [places.opened(text, store) for text in names],
            found.trusted,
            store,
            emit,
            salt=found.salt,
            heads=[
                *(item.tag for item in given if item.tag),
                *(pack.head_tag(project.name, branch, found.salt) for branch in branches),
            ],
            unsigned=[item.place for item in given if item.unsigned],
        )
        store.supplier = substituter
    return Caches(project, options, found, store, emit, substituter)


def supply(store: Store, emit: Sink) -> None:
    """Have the layers of kept images that are elsewhere brought from the places of the settings, when they
    are needed. A store that is only read stays as it is. Raises UsageError."""
    if store.db.reading:
        return
    names = _reachable(settings.read().substituters, emit)
    if names:
        store.supplier = Substituter([places.opened(text, store) for text in names], (), store, emit)


def _check(goal: _Goal, found: Settings, emit: Sink) -> None:
    """Raise UsageError for what cannot be published; say when it will be unsigned."""
    if offline.is_on() and not goal.place.startswith(settings.DIRECTORY):
        raise UsageError(f"nothing is published at {goal.place} offline", advice="publish to a directory")
    if goal.key(found) is None:
        emit(
            Event(
                "message",
                "cache",
                text=f"warning: there is no key to sign with (`envd key generate`): what is put into "
                f"{goal.place} is unsigned, and only taken from there with trust=unsigned",
            )
        )


def _reachable(names: Iterable[str], emit: Sink) -> list[str]:
    """The places that may be asked: offline, directories alone."""
    wanted = list(names)
    if not offline.is_on():
        return wanted
    local = [name for name in wanted if name.startswith(settings.DIRECTORY)]
    if left := [name for name in wanted if name not in local]:
        emit(Event("message", "cache", text=f"offline: {', '.join(left)} is not asked"))
    return local


def branch_of(directory: Path) -> str:
    """The branch that a project's checkout is on; "" where that cannot be told. Only a hint."""
    for place in (directory.absolute(), *directory.absolute().parents):
        try:
            descriptor = os.open(
                place / ".git/HEAD", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except OSError:
            continue
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return ""
            text = file.read(_LARGEST).decode("utf-8", "replace").strip()
        return text.removeprefix("ref: refs/heads/") if text.startswith("ref: refs/heads/") else ""
    return ""
