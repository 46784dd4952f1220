"""Content fingerprints of host files and directories: what a copy or a spec depends on.

Without pathlib: an idle build takes fingerprints and should not import it.
"""

from __future__ import annotations

import os
import stat

from blake3 import blake3

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

_CONTEXT = "envd 2026 fingerprint: names, kinds, executable bits and contents"
_CHUNK = 1 << 20


def _file(path: bytes, into: blake3) -> None:
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            into.update(chunk)


def _entry(path: bytes, name: bytes, into: blake3, omit: Container[bytes], inside: bytes) -> None:
    """One file; `inside` is its path from where everything begins."""
    info = os.lstat(path)
    if stat.S_ISLNK(info.st_mode):
        target = os.readlink(path)
        into.update(b"l%d:%s%d:%s" % (len(name), name, len(target), target))
    elif stat.S_ISDIR(info.st_mode):
        into.update(b"d%d:%s" % (len(name), name))
        for child in sorted(os.listdir(path)):
            below = inside + b"/" + child if inside else child
            if below not in omit:
                _entry(os.path.join(path, child), child, into, omit, below)
        into.update(b"e")
    elif stat.S_ISREG(info.st_mode):  # sockets and their like are no content
        kind = b"x" if info.st_mode & 0o111 else b"f"
        into.update(b"%s%d:%s%d:" % (kind, len(name), name, info.st_size))
        _file(path, into)


def fingerprint(path: str | os.PathLike[str], omit: Container[bytes] = frozenset()) -> str:
    """BLAKE3 (64 hex digits) of a file or a tree: names, kinds, executable bits, contents.

    Times, owners and other mode bits do not count: two checkouts of one commit agree. Symbolic
    links are taken as links, but `path` itself is followed. What `omit` names (paths relative to
    `path`) does not count, and nothing below it. Raises OSError.
    """
    hasher = blake3(derive_key_context=_CONTEXT)
    _entry(os.path.realpath(os.fsencode(path), strict=True), b"", hasher, omit, b"")
    return str(hasher.hexdigest())
