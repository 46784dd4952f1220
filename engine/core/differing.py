"""What differs between two objects of a store, in words for people."""

from __future__ import annotations

from store import Store
from store.compression import decompressed
from store.difference import Difference, differences
from store.errors import StoreError

SHOWN = 20  # files that are named; beyond them, how many more there are


def between(store: Store, before: str, after: str) -> list[Difference] | None:
    """How the files of the object `after` differ from those of `before` (object ids), or None when
    the store has no longer the bytes of both. Raises CorruptError."""
    blobs = [store.blob(o.digest) for i in (before, after) if (o := store.get(i)) is not None]
    old, new = [*blobs, None, None][:2]
    if old is None or new is None:
        return None
    return differences(decompressed(old), decompressed(new))


def lines(store: Store, before: str, after: str) -> list[str]:
    """One line for each file that differs, at most SHOWN, then how many more there are."""
    try:
        found = between(store, before, after)
    except StoreError as error:
        return [f"envd cannot tell which files differ: {error}"]
    if found is None:
        return ["envd cannot tell which files differ: the store has no longer what was built before"]
    said = [str(one) for one in found[:SHOWN]]
    more = len(found) - SHOWN
    return [*said, f"and {more} more"] if more > 0 else said
