"""Paths below a directory that foreign code has written.

A build step may leave a symbolic link where the host then cleans, writes or looks: `/var/cache/man ->
/home`. So no path below such a directory is ever resolved by its name. Every component is opened by
itself, from its parent's descriptor and with O_NOFOLLOW; a link on the way is the end of the path, and
one at its end is the thing itself. (openat2 with RESOLVE_NO_SYMLINKS says the same in one call, where
the kernel has it; runc and containerd walk like this, too.)
"""

from __future__ import annotations

import errno
import fnmatch
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from store.removal import remove_directory

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


@contextmanager
def directory(root: Path, path: str = "") -> Iterator[int | None]:
    """A descriptor of the directory `path` below `root`; None when there is none, or a link on the way.

    `root` itself is trusted: it is ours. Raises ValueError for a path that climbs, OSError.
    """
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in _parts(path):
            try:
                inner = os.open(part, _DIRECTORY, dir_fd=descriptor)
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


def find(root: Path, pattern: str) -> list[str]:
    """The paths below `root` that match `pattern`, sorted: `*`, `?` and `[…]` in each component, which
    no link is followed for. Names are as os.fsdecode gives them."""
    found = [""]
    for part in _parts(pattern):
        deeper: list[str] = []
        for place in found:
            with directory(root, place) as descriptor:
                if descriptor is None:
                    continue
                if _is_pattern(part):
                    names = fnmatch.filter(os.listdir(descriptor), part)  # noqa: PTH208 - no path
                else:
                    names = [part] if _is_there(part, descriptor) else []
                deeper += [f"{place}/{name}" if place else name for name in names]
        found = deeper
    return sorted(found)


def _is_pattern(part: str) -> bool:
    return any(c in part for c in "*?[")


def _is_there(name: str, parent: int) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except OSError:
        return False
    return True


def read(root: Path, path: str, limit: int = 1 << 24) -> bytes | None:
    """The content of the regular file at `path` below `root`, `limit` bytes at most; None when there is
    none: a link, a pipe or a device is none."""
    with _parent(root, path) as (parent, name):
        if parent is None:
            return None
        try:
            # O_NONBLOCK: a pipe without a writer would be waited for.
            descriptor = os.open(
                name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent
            )
        except OSError as error:
            if error.errno in _GONE or error.errno == errno.ENXIO:
                return None
            raise
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            with os.fdopen(os.dup(descriptor), "rb") as file:
                return file.read(limit)
        finally:
            os.close(descriptor)


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
            name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode,
            dir_fd=parent,
        )
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
