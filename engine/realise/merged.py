"""Paths in the merged view of a stack of layers, as an overlay of them would show it, without one."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from engine.errors import BuildError
from engine.realise import confined
from store.layers import is_opaque, is_whiteout

_MAX_LINKS = 40  # symlinks followed in one path, as the kernel's ELOOP limit


def lookup(path: PurePosixPath, stack: Sequence[Path]) -> Path | None:
    """Where the file at `path`, free of symlinks, lies in `stack` (top first); None: nowhere."""
    live = list(stack)
    found: Path | None = live[0]
    for depth, part in enumerate(path.parts[1:], start=1):
        prefix = PurePosixPath(*path.parts[1:depth]) if depth > 1 else PurePosixPath(".")
        found, next_live = None, []
        for root in live:
            candidate = root / prefix / part
            try:
                info = candidate.lstat()
            except OSError:
                continue
            if is_whiteout(info):
                break
            if found is None:
                found = candidate
            if not stat.S_ISDIR(info.st_mode):
                break
            next_live.append(root)
            if is_opaque(os.fspath(candidate)):
                break
        if found is None:
            return None
        live = next_live
    return found


def resolve(target: str, stack: Sequence[Path]) -> str:
    """`target` with the image's own symlinks followed, as bubblewrap would follow the host's."""
    todo = list(reversed(PurePosixPath(target).parts[1:]))
    done = PurePosixPath("/")
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            done = done.parent
            continue
        found = lookup(done / part, stack)
        if found is None or not found.is_symlink():
            done = done / part
            continue
        links += 1
        if links > _MAX_LINKS:
            raise BuildError("too many levels of symbolic links in the layers", subject=target)
        destination = PurePosixPath(found.readlink())
        if destination.is_absolute():
            done = PurePosixPath("/")
            todo += reversed(destination.parts[1:])
        else:
            todo += reversed(destination.parts)
    return str(done)


def holds_something(name: str, stack: Sequence[Path]) -> bool:
    """Whether a layer has files in the directory `name`."""
    for root in stack:
        directory = root / name
        if not directory.is_symlink() and directory.is_dir() and any(directory.iterdir()):
            return True
    return False


def would_be_made(points: Sequence[str], stack: Sequence[Path]) -> list[PurePosixPath]:
    """The mount points, and their parents, that are not there: deepest first."""
    missing = set()
    for point in points:
        path = PurePosixPath(point)
        for candidate in (path, *path.parents):
            if lookup(candidate, stack) is None:
                missing.add(candidate)
    return sorted(missing, key=lambda p: len(p.parts), reverse=True)


def would_be_copied(made: Sequence[PurePosixPath], stack: Sequence[Path]) -> list[tuple[PurePosixPath, Path]]:
    """Directories of the layers that making `made` copies up, with their originals: deepest
    first."""
    copied = {}
    for path in made:
        for parent in path.parents[:-1]:
            original = lookup(parent, stack)
            if original is not None and original != stack[0] / parent.relative_to("/"):
                copied[parent] = original
    return sorted(copied.items(), key=lambda item: len(item[0].parts), reverse=True)


def _status(info: os.stat_result) -> tuple[int, int, int]:
    return info.st_mode, info.st_uid, info.st_gid


def clean(
    scratch: Path, upper: Path, made: Sequence[PurePosixPath], copied: Sequence[tuple[PurePosixPath, Path]]
) -> None:
    """Take away what was made for a step's mount points, with what the kernel has left in `scratch`."""
    for path in made:
        with suppress(OSError):  # not when the builder put something there
            confined.remove_empty(upper, str(path.relative_to("/")))
    for path, original in copied:
        with suppress(OSError):
            now, then = confined.lstat(upper, str(path.relative_to("/"))), original.lstat()
            if now is not None and _status(now) == _status(then):
                confined.remove_empty(upper, str(path.relative_to("/")))
    for link in (scratch / "l").glob("*"):
        link.unlink()
    for directory in ("l", "merged", "work"):
        # The kernel leaves its own whiteouts in the work directory.
        shutil.rmtree(scratch / directory, ignore_errors=True)
