"""What an unpacked tree is, in two ways: by the state of its files, and by their content.

A stamp is cheap (one lstat for each file) and tells of every change that was made through the file
system: such a change moves a file's ctime, which nothing but the kernel sets. What moves it without
changing anything (a hard link, a copy of the whole store) is told apart by the content, which is
read only then, and by `verify`, since a bad disk changes bytes and no stamp.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from blake3 import blake3

from store.hashing import object_hasher
from store.layers import is_opaque, write_tar
from store.model import SOURCE_DATE_EPOCH

_CONTEXT = "envd 2026 tree: stamp"


def stamp(tree: Path) -> str:
    """The state of all files of a tree: 64 hex digits. Raises OSError."""
    hasher = blake3(derive_key_context=_CONTEXT)
    top = tree.lstat()
    # Its own times are left out: a rename moves them.
    hasher.update(repr((top.st_mode, top.st_uid, top.st_gid, is_opaque(str(tree)))).encode())
    for name, info in _files(os.fsencode(tree)):
        state = (
            name,
            info.st_mode,
            info.st_uid,
            info.st_gid,
            info.st_rdev,
            info.st_ino,
            # A directory's size depends on the file system's mood.
            0 if stat.S_ISDIR(info.st_mode) else info.st_size,
            info.st_mtime_ns,
            info.st_ctime_ns,
        )
        hasher.update(repr(state).encode("ascii"))
    return str(hasher.hexdigest())


def _files(directory: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """(path below the tree, its state) in an order that depends on the names alone."""
    todo = [(directory, b"")]
    while todo:
        place, prefix = todo.pop()
        with os.scandir(place) as listing:
            children = sorted(listing, key=lambda entry: entry.name)
        for child in children:
            info = child.stat(follow_symlinks=False)
            name = prefix + child.name
            yield name, info
            if stat.S_ISDIR(info.st_mode):
                todo.append((child.path, name + b"/"))


def content(tree: Path, also: Callable[[bytes], object] | None = None) -> str:
    """The object id that a tree has by what is in it; `also` is given the tar's bytes.

    Raises OSError.
    """
    identity = object_hasher()

    def write(data: bytes) -> None:
        identity.update(data)
        if also is not None:
            also(data)

    write_tar(tree, write, SOURCE_DATE_EPOCH)
    return str(identity.hexdigest())
