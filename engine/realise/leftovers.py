"""What the user's own commands leave behind that says when they ran, and nothing else.

Links are never followed: what lies here was made by foreign commands.
"""

from __future__ import annotations

import hashlib
import stat
import struct
from pathlib import Path

from engine.realise import confined

# In a home. Caches are of no use in an image; the others hold times of downloads and what was typed.
_OF_A_HOME = (
    ".cache",
    ".npm/_cacache",
    ".npm/_logs",
    ".npm/_update-notifier-last-checked",
    ".wget-hsts",
    ".bash_history",
    ".python_history",
    ".node_repl_history",
    ".lesshst",
)
# In a repository of git's: when what was fetched, as times and numbers of files.
_OF_GIT = ("logs", "FETCH_HEAD", "ORIG_HEAD", "gc.log")
_ENTRY = 62  # bytes of an index's entry before its path: gitformat-index(5)


def clean(upper: Path) -> None:
    """Take it away from what commands changed."""
    for home in ["root", *confined.find(upper, "home/*")]:
        for name in _OF_A_HOME:
            _remove(upper, f"{home}/{name}")
    repositories = [
        path
        for path, info in confined.walk(upper)
        if path.rpartition("/")[2] == ".git" and stat.S_ISDIR(info.st_mode)
    ]
    for path in repositories:
        head = confined.lstat(upper, f"{path}/HEAD")
        if head is not None and stat.S_ISREG(head.st_mode):
            _git(upper, path)


def _remove(upper: Path, path: str) -> None:
    info = confined.lstat(upper, path)
    if info is not None and not stat.S_ISCHR(info.st_mode):  # no whiteout
        confined.remove(upper, path)


def _git(upper: Path, repository: str) -> None:
    for name in _OF_GIT:
        _remove(upper, f"{repository}/{name}")
    index = f"{repository}/index"
    data = confined.read(upper, index, -1)
    made = None if data is None else _without_times(data)
    if made is not None and made != data:
        confined.rewrite(upper, index, made)


def _without_times(data: bytes) -> bytes | None:
    """A git index without what lstat(2) said of the files; git looks again. None when it is not one
    of version 2 or 3 with SHA-1."""
    if len(data) < 32 or data[:4] != b"DIRC" or hashlib.sha1(data[:-20]).digest() != data[-20:]:
        return None
    version, count = struct.unpack(">II", data[4:12])
    if version not in (2, 3):
        return None
    made, at = bytearray(data[:-20]), 12
    for _ in range(count):
        flags = int.from_bytes(data[at + 60 : at + 62], "big")
        start = at + _ENTRY + (2 if version == 3 and flags & 0x4000 else 0)
        end = data.find(b"\0", start)
        if end < 0:
            return None
        made[at : at + 24] = bytes(24)  # ctime, mtime, dev, ino
        made[at + 28 : at + 36] = bytes(8)  # uid, gid
        at += (end - at + 8) // 8 * 8
    return bytes(made) + hashlib.sha1(made).digest()
