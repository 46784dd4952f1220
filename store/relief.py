"""Room on a full disk without the database, which cannot even be opened for writing there: what
killed commands left, then the unpacked trees, which every layer's blob gives again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from store import locking, notices
from store.errors import StoreError, disk_full
from store.removal import remove_tree
from store.usage import alone

_ROOM, _FILES = 64 << 20, 1000  # bytes, inodes: the database and its log fit many times over
Given = TypeVar("Given")


def with_room(path: Path, work: Callable[[], Given]) -> Given:
    """`work()`, which makes room; once more, with some made for it, when it fails because the disk
    of the store at `path` is full. Where it has gained none, unpacked trees go all the same: whoever
    was told to make room must get some. Raises what it raises."""
    try:
        done = work()
    except StoreError:
        if not disk_full(path) or not make_room(path):
            raise
        return work()
    if disk_full(path):
        make_room(path)
    return done


def make_room(path: Path) -> bool:
    """Remove what can be done without from the store at `path` until there is some room; whether
    anything was. Waits for commands that use the store. Raises StoreError."""
    begin, work, trees = _free(path), 0, 0
    with alone(path):
        for entry in _abandoned(path / "tmp"):
            remove_tree(entry)
            work += 1
        for tree in _largest(path / "trees"):
            if not disk_full(path, _ROOM, _FILES):
                break
            remove_tree(tree)
            trees += 1
    if work or trees:
        notices.say(
            "store",
            f"{path}: its disk is full: {(_free(path) - begin) / 1e6:.0f} MB of unfinished work and "
            f"of {trees} unpacked layers were removed, which are unpacked again when they are needed",
        )
    return bool(work or trees)


def _abandoned(directory: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError):
        for entry in list(directory.iterdir()):
            if entry.suffix != ".lock" and not locking.is_held(entry.with_name(f"{entry.name}.lock")):
                yield entry


def _largest(directory: Path) -> list[Path]:
    """Trees, those with the most entries first: nothing better is known without reading them."""
    with suppress(FileNotFoundError):
        return sorted(directory.iterdir(), key=lambda tree: -sum(len(f) for _, _, f in os.walk(tree)))
    return []


def _free(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize
