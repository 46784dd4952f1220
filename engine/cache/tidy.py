"""Taking packs out of a directory: their tags, and the blobs that nothing there names any more.

What others have put there (images, say) stays, with all that it names. A blob that came in the last day
stays, too: it may be of a pack whose manifest is about to come. Should one go that somebody has just found
to be there, whoever misses it builds that layer again and puts it back.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass

from engine.cache import layout_index as index
from engine.cache.directory import LARGEST_MANIFEST, Directory
from engine.cache.layout_index import INDEX, Entry, Index
from engine.realise import confined
from store.errors import RegistryError

_BLOBS = "blobs/sha256"
_SAFE = 86400.0  # seconds that a blob which nothing names stays
_DEEPEST = 4  # indexes in indexes


@dataclass(frozen=True)
class Removed:
    """What went, or would go: tags, blobs and their bytes. `kept_because`: why no blob did [""]."""

    tags: tuple[str, ...] = ()
    blobs: int = 0
    bytes: int = 0
    kept_because: str = ""


def age(place: Directory, manifest: str) -> float:
    """The seconds since the manifest with a digest came; 0 when it is not there."""
    info = confined.lstat(place.path, _at(manifest))
    return max(0.0, time.time() - info.st_mtime) if info is not None else 0.0


def remove(place: Directory, tags: Iterable[str], *, dry_run: bool) -> Removed:
    """Remove tags, then the blobs that nothing names. Raises RegistryError, OSError."""
    gone = set(tags)
    with confined.directory(place.path) as top:
        if top is None:
            raise RegistryError(f"{place.name}: no such directory")
        mode = stat.S_IMODE(os.fstat(top).st_mode) & 0o666
        if dry_run:
            return _removed(place, gone)[0]
        with index.locked(top, mode, place.name):
            found, after, unnamed = _removed(place, gone)
            if found.tags:
                place.write_index(after.written())
            for digest in unnamed:
                confined.remove(place.path, _at(digest))
    return found


def _removed(place: Directory, gone: set[str]) -> tuple[Removed, Index, list[str]]:
    """What goes, the index that stays, and the digests of the blobs that go."""
    content = confined.read(place.path, INDEX, index.LARGEST + 1)
    try:
        before = index.parse(content) if content is not None else index.EMPTY
    except ValueError as error:
        raise RegistryError(f"{place.name}: {INDEX}: {error}") from error
    after = Index(before.document, tuple(e for e in before.entries if index.tag_of(e) not in gone))
    tags = tuple(sorted(gone & set(before.tags)))
    try:
        named = _named(place, after.entries)
    except ValueError as error:
        return Removed(tags, kept_because=str(error)), after, []
    unnamed, size = [], 0
    for path in confined.regular(place.path, f"{_BLOBS}/*"):
        info = confined.lstat(place.path, path)
        digest = f"sha256:{path.rpartition('/')[2]}"
        if info is not None and digest not in named and time.time() - info.st_mtime > _SAFE:
            unnamed.append(digest)
            size += info.st_size
    return Removed(tags, len(unnamed), size), after, unnamed


def _named(place: Directory, entries: Iterable[Entry]) -> set[str]:
    """The digests of all that entries name. Raises ValueError for one that cannot be read: then it is
    not known what it names."""
    named: set[str] = set()
    read: set[str] = set()
    todo = [(str(entry["digest"]), 0) for entry in entries]
    while todo:
        digest, depth = todo.pop()
        named.add(digest)
        if digest in read:
            continue
        read.add(digest)
        content = confined.read(place.path, _at(digest), LARGEST_MANIFEST + 1)
        try:
            document = json.loads(content or b"")
            found = [x for key in ("layers", "blobs", "manifests") for x in document.get(key) or ()]
            found += [document[key] for key in ("config", "subject") if document.get(key)]
            digests = {str(item["digest"]) for item in found}
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise ValueError(f"{digest[:19]}, which {INDEX} names, cannot be read") from None
        named |= digests
        if document.get("manifests"):
            if depth == _DEEPEST:
                raise ValueError(f"{digest[:19]}: indexes lie too deep in each other")
            todo += [(str(item["digest"]), depth + 1) for item in document["manifests"]]
    return named


def _at(digest: str) -> str:
    """The path of a blob; of what is no digest, one where nothing is."""
    name = digest.removeprefix("sha256:")
    return f"{_BLOBS}/{name}" if name.isalnum() else f"{_BLOBS}/-"
