"""`envd bundle load`: what a bundle holds into the store, so that a build needs no network.

Everything is looked at before anything of it is known to the store. Fetched files need no trust, since a
build compares them with its own project's lock. All else counts when a trusted key has signed it, or when
the user says that this file is trusted (`--trust`): then layers are also compared with what is said of them,
for which a signature would vouch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.cache import bundle, keys, layout_archive, pack, settings, telling
from engine.cache.bundle import Bundle
from engine.cache.layout_archive import Archive
from engine.cache.record import Record
from engine.cache.settings import Settings
from engine.core.atomic import write
from engine.core.events import Event, Sink
from engine.core.progress import open_sink
from engine.core.project import store_path
from engine.ecosystems.includes import git
from engine.errors import UsageError
from store import Store, elsewhere, objects
from store.database import Statement
from store.errors import CorruptError
from store.model import Object
from store.roots import root_statements

ROOT = "bundle:"  # and what the project is called: the store's root that keeps what was loaded


@dataclass(frozen=True)
class Loaded:
    """What was loaded of a bundle of `project`: how many `layers` and fetched `files`; `signers` are the
    trusted keys that have signed it, none where the user has vouched for it."""

    project: str
    layers: int
    files: int
    signers: tuple[str, ...]


def load(
    path: Path,
    *,
    trust: bool = False,
    files_only: bool = False,
    lock: Path | None = None,
    progress: str = "auto",
) -> Loaded:
    """Bring what a bundle holds into the store, and write its lock to `lock`, when that is given. With
    `trust` no signature is needed; with `files_only` none is, and fetched files alone are taken.

    Raises UsageError, StoreError, OSError.
    """
    found = settings.read()
    with layout_archive.opened(path) as archive:
        whole, records = bundle.read(archive), list(_records(archive))
        signers: set[str] = set()
        if not (trust or files_only):
            signers = _signers(archive, whole, records, found)
        text = b"" if lock is None else _lock(archive, whole, lock, files_only)
        with open_sink(progress) as emit, Store.open(store_path()) as store, store.in_use():
            loading = _Loading(archive, store, emit)
            for source in whole.sources:
                loading.bring(source.digest)
            if files_only:
                records = []
            else:
                loading.add_layers(records, look_through=trust)
                loading.add_includes(whole)
            layers = loading.settle(whole, records)
    if lock is not None:
        write(lock, text, 0o644)
    return Loaded(whole.project, layers, len(whole.sources), tuple(sorted(signers)))


def _records(archive: Archive) -> Iterator[Record]:
    """What the packs say. Raises UsageError for one that cannot be used."""
    for tag, manifest in archive.manifests.items():
        if tag in (bundle.TAG, bundle.IMAGE_TAG):
            continue
        try:
            head = pack.read_manifest(manifest)
            found = pack.read_config(archive.read(head.config, pack.MOST_CONFIG), head, head.layers)
        except pack.MalformedError as error:
            raise archive.bad(f"'{tag[:80]}' is not a pack that can be used: {error}") from error
        yield from found.records


def _signers(archive: Archive, whole: Bundle, records: Sequence[Record], found: Settings) -> set[str]:
    """The trusted keys that have signed all of it. Raises UsageError when something is unsigned."""
    signed: list[Bundle | Record] = [whole, *records]
    names: set[str] = set()
    for item in signed:
        name = keys.signer(found.trusted, item.message(found.salt), item.signatures)
        if name is None:
            whose = keys.names(item.signatures)
            said = (
                f"is signed by {', '.join(whose)}, and by no key that is trusted"
                if whose
                else "is not signed"
            )
            if known := [key.name for key in found.trusted if key.name in whose]:
                said = f"is not what {known[0]} has signed: it was changed, or another key has that name"
            raise UsageError(
                said,
                subject=str(archive.path),
                advice="trust the key of who made it (`envd key trust NAME:KEY`); or, if you trust who gave "
                "you the file, load it with --trust; or with --files-only, and build the layers",
            )
        names.add(name)
    return names


def _lock(archive: Archive, whole: Bundle, place: Path, files_only: bool) -> bytes:
    """The bundle's lock, which may be written to `place`. Raises UsageError."""
    if files_only:
        raise UsageError(
            "--lock does not go with --files-only", advice="a lock says what is built: trust it, or not"
        )
    text = archive.read(whole.lock, bundle.LARGEST_LOCK)
    if place.exists() and (not place.is_file() or place.read_bytes() != text):
        raise UsageError(
            "is there, and is another one", subject=str(place), advice="remove it, or name another file"
        )
    if not place.absolute().parent.is_dir():
        raise UsageError(f"no directory {place.absolute().parent}", subject=str(place))
    return text


class _Loading:
    """What of one bundle is in the store already; `settle` lets the store know of it."""

    def __init__(self, archive: Archive, store: Store, emit: Sink) -> None:
        self._archive, self._store, self._emit = archive, store, emit
        self._includes: list[tuple[str, str, bytes]] = []
        self._came, self._total = 0, sum(size for _, size in archive.places.values())  # bytes
        self._begin = time.monotonic()
        self._tell("fetch-start")

    def bring(self, digest: str) -> None:
        """Copy a blob into the store, unless it is there."""
        if self._store.checked_blob(digest) is None:
            before = self._came

            def progress(bytes_: int) -> None:
                self._came = before + bytes_
                self._tell("fetch-progress")

            self._archive.bring(digest, self._store, progress)

    def _tell(self, kind: str) -> None:
        name, total = self._archive.path.name, self._total
        seconds = time.monotonic() - self._begin
        self._emit(Event(kind, name, id=name, bytes=self._came, total=total, seconds=seconds))

    def add_layers(self, records: Sequence[Record], *, look_through: bool) -> None:
        """Copy the layers that are there; with `look_through`, compare each with what is said of it."""
        for made in {r.object.id: r.object for r in records}.values():
            if made.digest not in self._archive.places:
                continue  # what it was made of, which is needed when it is made anew
            self.bring(made.digest)
            if look_through:
                self._compare(made)

    def _compare(self, made: Object) -> None:
        try:
            real = self._store.import_layer(made.digest, made.media_type, made.name)
        except CorruptError as error:
            raise self._archive.bad(f"the layer of {made.name} cannot be read: {error}") from error
        there = self._archive.places[made.digest][1]
        if (real.id, real.diff_id, real.tar_size, there) != (made.id, made.diff_id, made.tar_size, made.size):
            raise self._archive.bad(f"the layer of {made.name} is not what is said of it")

    def add_includes(self, whole: Bundle) -> None:
        """Read the files of included repositories. Raises UsageError."""
        for row in whole.includes:
            content = self._archive.read(row.digest, bundle.LARGEST_INCLUDE)
            try:
                git.check(content)
            except (ValueError, TypeError, RecursionError) as error:
                raise self._archive.bad(f"the files of {row.commit[:12]} make no sense") from error
            self._includes.append((row.repository, row.commit, content))

    def settle(self, whole: Bundle, records: Sequence[Record]) -> int:
        """Let the store know of all of it, in one transaction, and keep it from `gc`; how many layers there
        are."""
        store, places = self._store, self._archive.places
        self._tell("fetch-finish")
        for repository, commit, content in self._includes:
            git.remember(repository, commit, content, store.path / "cache")
        statements: list[Statement] = []
        memos: dict[str, str] = {}
        for record in records:
            made = record.object
            # What is compressed in another way here stays as it is.
            if (own := store.get(made.id)) is None or not store.has_blob(own) or own.digest == made.digest:
                statements += objects.statements(made)
                if made.digest not in places and store.blob(made.digest) is None:
                    memos[elsewhere.MEMO + made.digest] = f"the bundle of {whole.project}"
        statements += telling.statements(records, store, memos)
        here = {r.object.id: r.object.digest for r in records if r.object.digest in places}
        files = [source.digest for source in whole.sources]
        store.db.write([*statements, *root_statements(ROOT + whole.project, [*here], files)])
        return len(set(here.values()))


def said(loaded: Loaded) -> str:
    """What was loaded, in words."""
    by = f", signed by {', '.join(loaded.signers)}" if loaded.signers else ""
    return f"{loaded.project}: {loaded.layers} layers, {loaded.files} fetched files{by}"
