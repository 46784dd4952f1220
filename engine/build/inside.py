"""Paths in a tree that foreign code has written. No symbolic link is followed, and what overlayfs
put there (whiteouts) is not seen: a link of an image's must never lead to a file of the host's."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from store.layers import is_whiteout


def matching(root: Path, pattern: str) -> Iterator[Path]:
    """What lies at `pattern` (relative; "*", "?" and "[…]" within one name) below `root`: files,
    directories and links, sorted by name."""
    yield from _matching(root, pattern.split("/"))


def _matching(directory: Path, parts: list[str]) -> Iterator[Path]:
    first, *rest = parts
    if any(c in first for c in "*?["):
        with os.scandir(directory) as entries:
            names = sorted(e.name for e in entries if fnmatch.fnmatchcase(e.name, first))
    else:
        names = [first]
    for name in names:
        path = directory / name
        try:
            info = path.lstat()
        except OSError:
            continue
        if is_whiteout(info):
            continue
        if not rest:
            yield path
        elif stat.S_ISDIR(info.st_mode):
            yield from _matching(path, rest)


def files(root: Path) -> Iterator[Path]:
    """Every regular file below `root`."""
    todo = [root]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    yield Path(entry.path)


def read(path: Path, size: int = -1) -> bytes:
    """The first `size` bytes of a file (all by default). Raises OSError for a link."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        return file.read(size)


def write(path: Path, content: bytes) -> None:
    """Give a file that is there another content; owner and mode stay. Raises OSError for a link."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW), "wb") as file:
        file.write(content)


def add(root: Path, name: str, content: bytes, mode: int) -> bool:
    """Write a new file `name` below `root`, with the directories that it needs; False when a link
    or a file is in its way."""
    directory = root
    for part in name.split("/")[:-1]:
        directory = directory / part
        try:
            if not stat.S_ISDIR(directory.lstat().st_mode):
                return False
        except FileNotFoundError:
            directory.mkdir()
            directory.chmod(0o755)
    path = root / name
    if os.path.lexists(path):
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        path.unlink()  # it may be a hard link, or another's
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    path.chmod(mode)
    return True
