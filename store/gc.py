"""Garbage collection: mark from the roots, sweep the rest."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from store import elsewhere, integrity, locking, notices
from store.errors import DamagedError, StoreError, explained
from store.model import Object, Root
from store.objects import closure
from store.removal import remove_tree
from store.roots import RECOVERED
from store.store import Store
from store.usage import alone


@dataclass(frozen=True)
class Report:
    """What went, or would go: counts, and bytes of blobs."""

    objects: int
    blobs: int
    bytes: int


def collect(store: Store, *, dry_run: bool = False, without: Collection[str] = ()) -> Report:
    """Remove objects, blobs, trees and abandoned work that no root reaches.

    Roots named in `without` do not count: a dry run asks what would be if they were gone.

    Takes the store's gc lock exclusively: it waits for running builds, and they for it. Where the
    database cannot be trusted, nothing is removed. Raises StoreError.
    """
    if dry_run:
        with store.in_use():
            return _collect(store, dry_run=True, without=without)
    try:
        with alone(store.path):
            return _collect(store, dry_run=False, without=without)
    except OSError as error:
        text = explained(error, store.path)
        if text is None:
            raise
        raise StoreError(text) from error


def _collect(store: Store, *, dry_run: bool, without: Collection[str]) -> Report:
    if problems := integrity.problems(store.db):
        raise DamagedError(f"nothing was removed: {problems[0]}; run `envd store verify --repair`")
    roots = [root for root in store.roots() if root.name not in without]
    objects = {item.id: item for item in store.objects()}
    keep = _reached(roots, objects, store)
    kept_blobs = {digest for root in roots for digest in root.blobs}
    kept_blobs |= {objects[identity].digest for identity in keep}
    dead = [identity for identity in objects if identity not in keep]
    directory = store.path / "blobs" / "sha256"
    dead_blobs = [
        (entry.path, entry.stat().st_size)
        for entry in os.scandir(directory)
        if f"sha256:{entry.name}" not in kept_blobs
    ]
    report = Report(len(dead), len(dead_blobs), sum(size for _, size in dead_blobs))
    for root in roots:
        if root.name.startswith(RECOVERED):
            notices.say(
                "store",
                f"{len(root.objects)} layers and {len(root.blobs)} files are kept because the "
                "store's database was lost once; when what you need is built again, "
                f"`envd store roots --remove {root.name}` gives them up",
            )
    if dry_run:
        return report
    # The rows go first: a crash in between leaves garbage, not rows without bytes.
    if dead:
        store.db.write(
            [("DELETE FROM object WHERE id=?", (identity,)) for identity in dead]
            # which place has a blob is as true as before
            + [("DELETE FROM memo WHERE key NOT LIKE 'blob:%' AND key NOT LIKE ?", (f"{elsewhere.MEMO}%",))]
        )
    for path, _ in dead_blobs:
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108
    for tree in (store.path / "trees").iterdir():
        if tree.name not in keep:
            remove_tree(tree)
    _clear_work(store)
    store.db.shrink()
    return report


def _reached(roots: Collection[Root], objects: dict[str, Object], store: Store) -> Collection[str]:
    """Ids of the objects that roots reach. Raises DamagedError when one of those is not there:
    then it is not known what it would have kept."""
    keep: dict[str, Object] = {}
    for root in roots:

        def sound(identity: str, root: Root = root) -> Object:
            found = objects.get(identity)
            if found is None:
                raise _incomplete(root, f"layer {identity[:16]} is not in its database")
            if store.blob(found.digest) is None and not elsewhere.is_elsewhere(store, found):
                raise _incomplete(root, f"the file of {found.name} ({identity[:16]}) is missing")
            return found

        closure(root.objects, sound, keep)
    return keep.keys()


def _incomplete(root: Root, what: str) -> DamagedError:
    return DamagedError(
        f"nothing was removed: the store should have what {root.name} needs, but {what}; run "
        "`envd store verify --repair`"
    )


def _clear_work(store: Store) -> None:
    """Remove what killed processes left. No build runs: the gc lock is held."""
    for entry in list((store.path / "tmp").iterdir()):
        if entry.suffix != ".lock" and not locking.is_held(entry.with_name(entry.name + ".lock")):
            remove_tree(entry)
    store.sweep()
