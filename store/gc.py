"""Garbage collection: mark from the roots, sweep the rest."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass

from store import locking
from store.blobs import blob_path
from store.removal import remove_tree
from store.store import Store


@dataclass(frozen=True)
class Report:
    """What went, or would go: counts, and bytes of blobs."""

    objects: int
    blobs: int
    bytes: int


def collect(store: Store, *, dry_run: bool = False, without: Collection[str] = ()) -> Report:
    """Remove objects, blobs, trees and abandoned work that no root reaches.

    Roots named in `without` do not count: a dry run asks what would be if they were gone.

    Takes the store's gc lock exclusively: it waits for running builds, and they for it.
    """
    with locking.locked(store.path / "locks" / "gc"):
        return _collect(store, dry_run=dry_run, without=without)


def _collect(store: Store, *, dry_run: bool, without: Collection[str]) -> Report:
    roots = [root for root in store.roots() if root.name not in without]
    keep: set[str] = set()
    todo = [target for root in roots for target in root.objects]
    kept_blobs = {digest for root in roots for digest in root.blobs}
    while todo:
        current = todo.pop()
        if current in keep or (found := store.get(current)) is None:
            continue
        keep.add(current)
        kept_blobs.add(found.digest)
        todo += found.references
    dead = [o for o in store.objects() if o.id not in keep]
    dead_blobs = [
        path
        for path in (store.path / "blobs" / "sha256").iterdir()
        if f"sha256:{path.name}" not in kept_blobs
    ]
    report = Report(len(dead), len(dead_blobs), sum(p.stat().st_size for p in dead_blobs))
    if dry_run:
        return report
    # The rows go first: a crash in between leaves garbage, not rows without bytes.
    store.db.write(
        [("DELETE FROM object WHERE id=?", (o.id,)) for o in dead]
        + [("DELETE FROM memo", ())] * bool(dead)
    )
    for path in dead_blobs:
        blob_path(store.path, f"sha256:{path.name}").unlink(missing_ok=True)
    for tree in (store.path / "trees").iterdir():
        if tree.name not in keep:
            remove_tree(tree)
    for entry in (store.path / "tmp").iterdir():
        if entry.suffix == ".lock" or locking.is_held(entry.with_name(entry.name + ".lock")):
            continue
        if entry.is_file() and _alive(entry.name):
            continue
        remove_tree(entry)
        entry.with_name(entry.name + ".lock").unlink(missing_ok=True)
    return report


def _alive(name: str) -> bool:
    """Whether the process in a temporary blob's name still runs."""
    parts = name.split("-")
    return len(parts) > 1 and parts[1].isdigit() and os.path.exists(f"/proc/{parts[1]}")  # noqa: PTH110
