"""Paths below a directory that foreign code has written.

A build step may leave a symbolic link where the host then cleans, writes or looks: `/var/cache/man ->
/home`. So no path below such a directory is ever resolved by its name alone. A directory is opened by
openat2(2) with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS; where the kernel has no such call (before 5.6)
or a filter refuses it, every component by itself, from its parent's descriptor and with O_NOFOLLOW. A
link on the way is the end of the path, and one at its end is the thing itself.

`root` is trusted throughout: it is ours. Paths are relative to it, names as os.fsdecode gives them.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from engine.realise import openat2
from store.layers import is_whiteout
from store.removal import remove_directory

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


@contextmanager
def directory(root: Path, path: str = "") -> Iterator[int | None]:
    """A descriptor of the directory `path` below `root`; None when there is none, or a link on the way.

    Raises ValueError for a path that climbs, OSError.
    """
    parts = _parts(path)
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if parts:
            try:
                inner = _beneath(descriptor, parts)
            except OSError as error:
                if error.errno in _GONE:
                    yield None
                    return
                raise
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _beneath(top: int, parts: list[str]) -> int:
    """A descriptor of the directory below `top`. Raises OSError."""
    if (found := openat2.directory(top, "/".join(parts))) is not None:
        return found
    descriptor = os.dup(top)
    try:
        for part in parts:
            inner = os.open(part, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _parts(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError(f"{path}: a path of a layer does not climb")
    return parts


@contextmanager
def _parent(root: Path, path: str) -> Iterator[tuple[int | None, str]]:
    """The descriptor of the directory that holds `path`, and its name there."""
    parts = _parts(path)
    if not parts:
        raise ValueError("the root itself has no name")
    with directory(root, "/".join(parts[:-1])) as descriptor:
        yield descriptor, parts[-1]


def lstat(root: Path, path: str) -> os.stat_result | None:
    """What is at `path` below `root`, links not followed; None: nothing, or a link on the way."""
    with _parent(root, path) as (parent, name):
        if parent is None:
            return None
        try:
            return os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return None


def remove(root: Path, path: str) -> bool:
    """Take away what is at `path` below `root`, a directory with all that it holds; whether there was
    anything. A link is taken away, not what it leads to. Raises OSError."""
    with _parent(root, path) as (parent, name):
        if parent is None:
            return False
        try:
            mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(mode):
            remove_directory(name, parent)
        else:
            os.unlink(name, dir_fd=parent)
        return True


def remove_empty(root: Path, path: str) -> bool:
    """Take away a directory or a file below `root` that has nothing in it; whether there was one."""
    with _parent(root, path) as (parent, name):
        if parent is None:
            return False
        try:
            info = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode):
                os.rmdir(name, dir_fd=parent)
                return True
            if stat.S_ISREG(info.st_mode) and info.st_size == 0:
                os.unlink(name, dir_fd=parent)
                return True
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
                raise
        return False


def find(root: Path, pattern: str, *, whiteouts: bool = True) -> list[str]:
    """The paths below `root` that match `pattern`, sorted: `*`, `?` and `[…]` in each component, which
    no link is followed for. Without `whiteouts`, overlayfs's marks of what is gone are none."""
    found = [""]
    for part in _parts(pattern):
        deeper: list[str] = []
        for place in found:
            with directory(root, place) as descriptor:
                if descriptor is None:
                    continue
                names = [part]
                if _is_pattern(part):
                    names = fnmatch.filter(os.listdir(descriptor), part)  # noqa: PTH208 - no path
                names = [name for name in names if _is_there(name, descriptor, whiteouts)]
                deeper += [f"{place}/{name}" if place else name for name in names]
        found = deeper
    return sorted(found)


def _is_pattern(part: str) -> bool:
    return any(c in part for c in "*?[")


def _is_there(name: str, parent: int, whiteouts: bool) -> bool:
    try:
        info = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except OSError:
        return False
    return whiteouts or not is_whiteout(info)


def regular(root: Path, pattern: str) -> list[str]:
    """`find`, of files alone."""
    return [
        path
        for path in find(root, pattern)
        if (info := lstat(root, path)) is not None and stat.S_ISREG(info.st_mode)
    ]


def walk(root: Path, path: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """(path below `root`, its state) of all that is below the directory `path`, in no order; nothing
    when that is none. However deep it goes."""
    todo = [path.strip("/")]
    while todo:
        place = todo.pop()
        with directory(root, place) as descriptor:
            if descriptor is None:
                continue
            found = []
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    found.append((entry.name, entry.stat(follow_symlinks=False)))
        for name, info in found:
            inner = f"{place}/{name}" if place else name
            yield inner, info
            if stat.S_ISDIR(info.st_mode):
                todo.append(inner)


def files(root: Path, path: str = "") -> Iterator[str]:
    """The path below `root` of every regular file below the directory `path`."""
    return (name for name, info in walk(root, path) if stat.S_ISREG(info.st_mode))


def link_target(root: Path, path: str) -> str | None:
    """What the symbolic link at `path` below `root` holds; None when there is none."""
    with _parent(root, path) as (parent, name):
        if parent is None:
            return None
        try:
            return os.readlink(name, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINVAL):
                return None
            raise


def read(root: Path, path: str, limit: int = 1 << 24) -> bytes | None:
    """The content of the regular file at `path` below `root`, `limit` bytes at most (-1: all of it);
    None when there is none: a link, a pipe or a device is none."""
    with opened(root, path) as file:
        return None if file is None else file.read(limit)


@contextmanager
def opened(root: Path, path: str) -> Iterator[BinaryIO | None]:
    """The regular file at `path` below `root`, to be read; None when there is none."""
    with _parent(root, path) as (parent, name):
        if parent is None:
            yield None
            return
        try:
            # O_NONBLOCK: a pipe without a writer would be waited for.
            descriptor = os.open(
                name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent
            )
        except OSError as error:
            if error.errno not in _GONE and error.errno != errno.ENXIO:
                raise
            descriptor = -1
        if descriptor != -1 and not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            descriptor = -1
        if descriptor == -1:
            yield None
            return
        with os.fdopen(descriptor, "rb") as file:
            yield file


def rewrite(root: Path, path: str, content: bytes) -> None:
    """Give the regular file at `path` below `root` another content; its owner, mode and other names
    (hard links, which lie in the same layer) stay. Raises OSError when there is none."""
    with _parent(root, path) as (parent, name):
        if parent is None:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        descriptor = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        with os.fdopen(descriptor, "wb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "no regular file", path)
            file.truncate(0)
            file.write(content)


def add(root: Path, path: str, content: bytes, mode: int) -> bool:
    """Put a file of its own at `path` below `root`, with the directories that it needs; False when a
    link or something else is in its way."""
    there = lstat(root, path)
    if there is not None and not stat.S_ISREG(there.st_mode):
        return False
    try:
        make_directory(root, path.rpartition("/")[0])
        write(root, path, content, mode)
    except OSError as error:
        if error.errno not in _GONE:
            raise
        return False
    return True


def make_directory(root: Path, path: str) -> None:
    """Make the directory `path` below `root`, and those above it, with mode 0755. Raises OSError where
    a link or a file is in the way."""
    parts = _parts(path)
    for depth in range(len(parts)):
        with directory(root, "/".join(parts[:depth])) as descriptor:
            if descriptor is None:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            with suppress(FileExistsError):
                os.mkdir(parts[depth], 0o755, dir_fd=descriptor)
                os.chmod(parts[depth], 0o755, dir_fd=descriptor)


def write(root: Path, path: str, content: bytes, mode: int = 0o644) -> None:
    """Put a file of its own at `path` below `root`, in the place of whatever is there but a directory.

    A new file, never the old one's content changed: that may be a hard link to another. Raises OSError:
    when the directory is not there, or is a link.
    """
    with _parent(root, path) as (parent, name):
        if parent is None:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parent)
        descriptor = os.open(
            name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=parent
        )
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
