"""Removing trees that builders made, whatever modes they left, and however deep they are."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _make_writable(remove: Callable[..., Any], path: str, failed: Any) -> None:
    error = failed[1]
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        raise error
    parent = os.path.dirname(path)  # noqa: PTH120
    os.chmod(parent, 0o700)  # noqa: PTH101
    if not os.path.islink(path) and os.path.isdir(path):  # noqa: PTH112, PTH114
        os.chmod(path, 0o700)  # noqa: PTH101
    if remove is os.open:  # a directory that could not be read, and can now
        shutil.rmtree(path, onerror=_make_writable)
        return
    remove(path)


def remove_tree(path: Path) -> None:
    """Remove a directory and all below it; missing is fine. Raises OSError."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    elif path.exists():
        try:
            shutil.rmtree(path, onerror=_make_writable)
        except (OSError, RecursionError):
            # It may be deeper than Python's stack, than a path may be long, or than there are
            # descriptors; what else is wrong with it is wrong again.
            _remove_flat(str(path), None)


def remove_directory(name: str, parent: int) -> None:
    """Remove the directory `name`, with all that is in it, from the directory that the descriptor
    `parent` is open on; no link is followed. Raises OSError."""
    try:
        # By descriptors too, on Linux: see shutil.rmtree.avoids_symlink_attacks.
        shutil.rmtree(name, dir_fd=parent)
    except (OSError, RecursionError):
        _remove_flat(name, parent)


def _remove_flat(name: str, parent: int | None) -> None:
    """Remove a tree of any depth: each directory is moved to the top before it is opened."""
    top = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        os.fchmod(top, 0o700)
        token = os.urandom(8).hex()
        todo: list[str] = []
        moved = 0

        def empty(directory: int) -> None:
            nonlocal moved
            with os.scandir(directory) as listing:
                entries = list(listing)
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.name, dir_fd=directory)
                    continue
                moved += 1
                os.rename(entry.name, f".{token}-{moved}", src_dir_fd=directory, dst_dir_fd=top)
                todo.append(f".{token}-{moved}")

        empty(top)
        while todo:
            inner = todo.pop()
            descriptor = os.open(inner, _DIRECTORY, dir_fd=top)
            try:
                os.fchmod(descriptor, 0o700)
                empty(descriptor)
            finally:
                os.close(descriptor)
            os.rmdir(inner, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)
