"""git's hash of a directory, from a tar archive: what Julia's package servers address trees by.

Objects as git writes them (gitformat-pack(5), "git hash-object"): blobs, and trees whose entries
are sorted with directories as if their names ended in "/". Directories without files do not
count.
"""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

from store import archives

_Tree = dict[str, Any]  # a name -> (mode, hash), or a tree


def tree_hash(path: Path) -> str:
    """The SHA-1 (40 hex digits) of the tree that a tar holds. Raises tarfile's errors, and
    ValueError for members that are neither files, directories nor links."""
    root: _Tree = {}
    with archives.opened(path) as archive:
        for member in archives.members(archive):
            parts = [p for p in PurePosixPath(member.name).parts if p not in (".", "/")]
            if member.isdir() or not parts:
                continue
            tree = root
            for part in parts[:-1]:
                tree = tree.setdefault(part, {})
                if not isinstance(tree, dict):
                    raise ValueError(f"'{member.name}' is below a file")
            if member.issym():
                tree[parts[-1]] = "120000", _blob(member.linkname.encode("utf-8", "surrogateescape"))
            elif member.isreg() or member.islnk():  # hard links are followed
                mode = "100755" if member.mode & 0o100 else "100644"
                tree[parts[-1]] = mode, _file(archive, member)
            else:
                raise ValueError(f"'{member.name}' is not a file")
    try:
        return _hash(root).hex()
    except RecursionError as error:
        raise ValueError("its directories are too deep") from error


def _file(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """The hash of a file's blob. Its size comes first: a hard link's is that of what it leads to."""
    if member.islnk():
        return _blob(b"".join(archives.content(archive, member)))
    hasher = hashlib.sha1(b"blob %d\0" % member.size, usedforsecurity=False)
    archives.copy(archive, member, hasher.update)
    return hasher.digest()


def _blob(data: bytes) -> bytes:
    hasher = hashlib.sha1(b"blob %d\0" % len(data), usedforsecurity=False)
    hasher.update(data)
    return hasher.digest()


def _hash(tree: _Tree) -> bytes:
    rows = []
    for name, value in tree.items():
        raw = name.encode("utf-8", "surrogateescape")
        if isinstance(value, dict):
            rows.append((raw + b"/", b"40000 " + raw + b"\0" + _hash(value)))
        else:
            mode, digest = value
            rows.append((raw, mode.encode() + b" " + raw + b"\0" + digest))
    body = b"".join(row for _, row in sorted(rows))
    return hashlib.sha1(b"tree %d\0" % len(body) + body, usedforsecurity=False).digest()
