"""What a build takes from other machines, and what it gives them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from engine.app.options import BuildOptions
from engine.cache import keys, pack, places, publisher, settings
from engine.cache.place import Sent
from engine.cache.settings import Settings
from engine.cache.substituter import Substituter
from engine.core.derivation import Derivation
from engine.core.events import Event, Sink
from engine.core.progress import human_bytes
from engine.core.project import Project
from engine.errors import UsageError
from store import Store
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
        """One line about what was taken."""
        if self.substituter is not None:
            self.substituter.say_what_came(used)

    def share(self, targets: Sequence[Derivation], outputs: Mapping[str, str]) -> bool:
        """Publish a finished plan, when the options or the settings say so; whether what was to be done is
        done. Raises what went wrong when the options asked for it, and says it when the settings did."""
        wanted = self.settings.publish
        if not (self.options.publish or (self.settings.always and wanted)):
            return True
        try:
            key = _signing_key(self.settings)
            place = places.opened(wanted, self.store)
            sent = publisher.publish(
                place,
                targets,
                outputs,
                self.store,
                key,
                salt=self.settings.salt,
                head=pack.head_tag(self.project.name, branch_of(self.project.directory), self.settings.salt),
            )
        except (StoreError, OSError, UsageError) as error:
            if self.options.publish:
                raise
            self.emit(Event("message", "cache", text=f"warning: nothing is published: {error}"))
            return False
        self.emit(Event("publish", place.name, text=said(sent)))
        return True


def said(sent: Sent) -> str:
    """What publishing did, in words."""
    parts = [f"{sent.sent} blobs sent ({human_bytes(sent.sent_bytes)})" if sent.sent else "nothing to send"]
    parts += [f"{sent.mounted} mounted"] if sent.mounted else []
    parts += [f"{sent.there} there already"] if sent.there else []
    return ", ".join(parts)


def _signing_key(found: Settings) -> keys.SigningKey:
    if found.signing is None:
        raise UsageError(
            "there is no key to sign with",
            advice="make one with `envd key generate`, or set ENVD_SIGNING_KEY",
        )
    return keys.read_signing_key(found.signing)


def opened(project: Project, options: BuildOptions, store: Store, emit: Sink) -> Caches:
    """The caches of the user's settings. Raises UsageError."""
    found = settings.read()
    if options.publish and not found.publish:
        raise UsageError(
            "there is no place to publish to",
            subject="--publish",
            advice="name one with `envd cache use --publish PLACE`, or with ENVD_PUBLISH",
        )
    if options.publish:
        _signing_key(found)  # before minutes of building, not after
    branches = dict.fromkeys((branch_of(project.directory), _DEFAULT_BRANCH))
    substituter = None
    if found.substituters:
        substituter = Substituter(
            [places.opened(text, store) for text in found.substituters],
            found.trusted,
            store,
            emit,
            salt=found.salt,
            heads=[pack.head_tag(project.name, branch, found.salt) for branch in branches],
        )
        store.supplier = substituter
    return Caches(project, options, found, store, emit, substituter)


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
