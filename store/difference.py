"""Differences: what two layers' tars hold differently, file by file."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from store import archives
from store.errors import CorruptError
from store.trees import member_name, members, open_tar

ADDED = "added"
REMOVED = "removed"

_TYPES = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "hard link",
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
    tarfile.FIFOTYPE: "fifo",
}


@dataclass(frozen=True)
class Difference:
    """One path (relative, without "/" around it) and what is different about it.

    `what` is "added", "removed", or the changed things, joined with ", ": "type", "content",
    "mode", "owner", "link" (where it points), "attributes" (extended), "time". `before` and
    `after` say the values of those, in the same order; of a content its size in bytes.
    """

    path: str
    what: str
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        """As `etc/passwd: content (1204 bytes -> 1210 bytes)`, printable whatever the name is."""
        name = self.path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        values = f" ({self.before} -> {self.after})" if self.before != self.after else ""
        return f"{name}: {self.what}{values}"


@dataclass(frozen=True)
class _File:
    type: str
    content: tuple[int, bytes]  # size and SHA-256
    mode: int
    owner: tuple[int, int]
    link: str
    attributes: tuple[tuple[str, str], ...]
    time: int


def differences(old: Iterable[bytes], new: Iterable[bytes]) -> list[Difference]:
    """How the files of `new` differ from those of `old`: the chunks of two uncompressed tars, such
    as `store.compression.decompressed` gives them. Sorted by path; empty when none does.

    A whiteout counts as the file `.wh.NAME` that it is in the tar. Raises CorruptError.
    """
    before, after = dict(_files(old)), dict(_files(new))
    found = []
    for path in sorted(before.keys() | after.keys()):
        was, now = before.get(path), after.get(path)
        if was is None:
            found.append(Difference(path, ADDED))
        elif now is None:
            found.append(Difference(path, REMOVED))
        elif was != now:
            found.append(_changed(path, was, now))
    return found


def _files(chunks: Iterable[bytes]) -> Iterator[tuple[str, _File]]:
    stream = iter(chunks)
    try:
        with open_tar(stream) as archive:
            for member in members(archive):
                if name := member_name(member):
                    yield name, _file(archive, member)
        for _ in stream:  # to the end: whoever gives the chunks may be hashing them
            pass
    except tarfile.TarError as error:
        raise CorruptError(f"damaged layer: {error}") from error


def _file(archive: tarfile.TarFile, member: tarfile.TarInfo) -> _File:
    digest, size = hashlib.sha256(), 0
    if member.isreg():
        for data in archives.content(archive, member):
            digest.update(data)
            size += len(data)
    link = member.linkname
    if member.ischr() or member.isblk():
        link = f"{member.devmajor}:{member.devminor}"
    attributes = {k: v for k, v in member.pax_headers.items() if k.startswith("SCHILY.xattr.")}
    return _File(
        _TYPES.get(member.type, "file"),
        (size, digest.digest()),
        member.mode,
        (member.uid, member.gid),
        link,
        tuple(sorted(attributes.items())),
        int(member.mtime),
    )


def _changed(path: str, was: _File, now: _File) -> Difference:
    if was.type != now.type:  # all else follows from that
        return Difference(path, "type", was.type, now.type)
    what, before, after = [], [], []
    for name, shown in (
        ("content", (f"{was.content[0]} bytes", f"{now.content[0]} bytes")),
        ("mode", (f"{was.mode:04o}", f"{now.mode:04o}")),
        ("owner", ("{}:{}".format(*was.owner), "{}:{}".format(*now.owner))),
        ("link", (was.link, now.link)),
        ("attributes", ("", "")),
        ("time", (str(was.time), str(now.time))),
    ):
        if getattr(was, name) != getattr(now, name):
            what.append(name)
            if shown[0] != shown[1]:
                before.append(shown[0])
                after.append(shown[1])
    return Difference(path, ", ".join(what), ", ".join(before), ", ".join(after))
