"""Upkeep of the user's store: as who it is read and tidied, its check, its garbage collection."""

from __future__ import annotations

import os

from engine.core.project import store_path
from engine.realise import userns
from store.errors import ReadOnlyError, not_writable
from store.gc import Report, collect
from store.relief import with_room
from store.store import existing
from store.verify import verify_at


def as_builder(*, writing: bool = True) -> None:
    """Be root-like, in a store of one's own. Raises StoreError for one that cannot be written,
    unless it is only read: then others' files are just not read."""
    path = store_path()
    if not path.exists() or os.access(path, os.W_OK):
        userns.ensure()
    elif writing:
        raise ReadOnlyError(not_writable(path))


def verify(*, repair: bool) -> list[str]:
    """What is wrong with the store, after reading all of it. Raises StoreError."""
    as_builder(writing=repair)  # trees hold files of uids that only a builder may read
    return verify_at(store_path(), repair=repair)


def collected(*, dry_run: bool) -> Report:
    """Collect the store's garbage, or say what would go. Raises StoreError."""

    def work() -> Report:
        with existing(store_path(), reading=dry_run) as store:
            return collect(store, dry_run=dry_run) if store is not None else Report(0, 0, 0)

    if dry_run:
        return work()
    as_builder()
    return with_room(store_path(), work)
