"""`envd prune`: away with what nothing needs any more, in the store and in Docker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from engine.app import catalog as images
from engine.app.upkeep import as_builder
from engine.core.project import store_path
from engine.docker import probe
from engine.oci import kept
from store.gc import collect
from store.relief import with_room
from store.removal import remove_tree
from store.usage import alone

_LOCK = "lock:"


@dataclass(frozen=True)
class Pruned:
    """What went, or would go: `kind` is "root", "objects", "files", "cache", "untagged" or
    "deleted" (Docker images); `bytes` is None where nobody counts."""

    kind: str
    name: str
    bytes: int | None = None


def prune(*, everything: bool, dry_run: bool) -> list[Pruned]:
    """Forget roots of locks that are gone, collect the store's garbage, remove dangling images.

    With `everything` also images that Docker has not (from the store's roots) or that no container
    uses (from Docker), and caches. Raises StoreError, DockerError.
    """
    if not dry_run:
        as_builder()
    gone = [Pruned(item.kind, item.name) for item in images.prune(everything=everything, dry_run=dry_run)]
    # As they will be: a dry run must not forget what it asks about.
    removed = {row.name for row in gone if row.kind == "untagged"}
    if dry_run:
        gone += _of_store(everything, removed, dry_run=True)
    else:
        gone += with_room(store_path(), lambda: _of_store(everything, removed, dry_run=False))
    cache = store_path() / "cache"
    if everything and cache.is_dir():
        with alone(store_path()) if not dry_run else nullcontext():
            gone += _caches(cache, dry_run)
    return gone


def _of_store(everything: bool, removed: set[str], *, dry_run: bool) -> list[Pruned]:
    """Roots, layers and files; `removed` are the images that Docker has no more."""
    with images.opened_store(reading=dry_run) as store:
        if store is None:
            return []
        stale = list(_stale(everything, removed))
        gone = [Pruned("root", name) for name in stale]
        if not dry_run:
            for name in stale:
                store.remove_root(name)
        report = collect(store, dry_run=dry_run, without=stale)
    if report.objects:
        gone.append(Pruned("objects", f"{report.objects} layers"))
    if report.blobs:
        gone.append(Pruned("files", f"{report.blobs} files", report.bytes))
    return gone


def _stale(everything: bool, removed: set[str]) -> Iterator[str]:
    """Names of roots that nothing stands for any more."""
    with images.opened_store() as store:
        roots = store.roots() if store is not None else []
    for root in roots:
        if root.name.startswith(_LOCK) and not Path(root.name.removeprefix(_LOCK)).exists():
            yield root.name
    if not everything or not probe.engine_available():
        return
    tags = {tag for row in images.in_docker() for tag in row.get("RepoTags") or ()} - removed
    for root in roots:
        if root.name.startswith(kept.PREFIX) and root.name.removeprefix(kept.PREFIX) not in tags:
            yield root.name


def _caches(directory: Path, dry_run: bool) -> Iterator[Pruned]:
    for path in sorted(directory.iterdir()):
        yield Pruned("cache", path.name, _size(path))
        if not dry_run:
            remove_tree(path)


def _size(path: Path) -> int:
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    return sum(os.lstat(Path(top) / name).st_size for top, _, names in os.walk(path) for name in names)
