"""Tar archives that somebody else has made, with the checks that tarfile leaves out.

tarfile believes what it reads: a size below zero has it read one header for ever (CVE-2025-8194), a
PAX record may be as large as memory, a name may hold a zero byte and a time may be no number; and a
header that makes no sense is taken for the end. All of that is one kind of error here,
`tarfile.ReadError`, which names the entry. Limits: those of Linux (path_resolution(7)), and of a
header's own size those of Go's archive/tar, with which engines read layers.
"""

from __future__ import annotations

import errno
import lzma
import math
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from store.errors import TooLargeError
from store.limits import Unpacking

LONGEST_PATH = 4095  # bytes
LONGEST_NAME = 255  # bytes of one component
_LARGEST_HEADER = 1 << 20  # bytes of PAX records, or of a long name, before one entry
_GLOBAL_RECORDS = 1000
_NESTED = 100  # headers before one entry, each of which tarfile reads within the one before
_SPARSE_PIECES = 1 << 16
LARGEST_HOLES = 1 << 32  # bytes of one file that the archive does not hold
_LATEST = 1 << 40  # seconds before or after 1970; what file systems hold is less
_NOBODY = (1 << 32) - 1  # chown(2) takes it for "as it is"
_HEADERS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
# What the machine does to any entry; every other error is the entry's own.
_MACHINE = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EROFS,
        errno.EACCES,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EINTR,
    }
)
_DAMAGED = (tarfile.TruncatedHeaderError, tarfile.InvalidHeaderError)  # type: ignore[attr-defined]
# What tarfile and the decompressors raise for bytes that make no sense.
FAULTS = (
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    OverflowError,
    ArithmeticError,
    LookupError,
    TypeError,
    RecursionError,
)


class Member(tarfile.TarInfo):
    """A member whose numbers are looked at before they are used."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Member:
        try:
            return super().fromtarfile(archive)
        except _DAMAGED as error:
            # tarfile would take it for the archive's end.
            raise tarfile.ReadError(f"damaged header at byte {archive.offset}: {error}") from error

    def _proc_member(self, archive: Any) -> Any:
        if self.size < 0:
            raise tarfile.ReadError(f"'{shown(self.name)}': its size is below zero")
        if self.type in _HEADERS and self.size > _LARGEST_HEADER:
            raise tarfile.ReadError(f"'{shown(self.name)}': a header of {self.size} bytes")
        if len(archive.pax_headers) > _GLOBAL_RECORDS:
            raise tarfile.ReadError("too many global records")
        nested = getattr(archive, "nested", 0)
        if nested > _NESTED:
            raise tarfile.ReadError(f"'{shown(self.name)}': more than {_NESTED} headers of one entry")
        archive.nested = nested + 1
        try:
            return super()._proc_member(archive)  # type: ignore[misc]
        finally:
            archive.nested = nested

    def _block(self, count: int) -> int:
        if count < 0:
            raise tarfile.ReadError(f"'{shown(self.name)}': its size is below zero")
        return int(super()._block(count))  # type: ignore[misc]


def shown(name: str) -> str:
    """A name for a message: what cannot be printed is escaped, and it is not too long."""
    text = name if len(name) <= 200 else f"{name[:100]}…{name[-100:]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@contextmanager
def faults_as_read_errors() -> Iterator[None]:
    """Raise `tarfile.ReadError` for whatever tarfile makes of bytes that make no sense."""
    try:
        yield
    except (OSError, *FAULTS) as error:
        if getattr(error, "errno", None) not in (None, errno.EINVAL):
            raise  # the machine's; those of gzip and bzip2 have no number
        reason = str(error) or type(error).__name__
        raise tarfile.ReadError(f"damaged: {reason}") from error


@contextmanager
def opened(path: Path) -> Iterator[tarfile.TarFile]:
    """A tar file of any compression that tarfile knows. Raises tarfile.TarError, OSError."""
    with faults_as_read_errors():
        try:
            archive = tarfile.open(  # noqa: SIM115 - below
                path, tarinfo=Member, encoding="utf-8", errors="surrogateescape"
            )
        except tarfile.ReadError as error:
            # It has a line for each compression that it is not of.
            said = [line for line in str(error).splitlines()[1:] if "Error('not a" not in line]
            why = re.search(r"Error\(['\"](.*)['\"]\)$", said[0]) if said else None
            detail = f": {why[1]}" if why else ""
            raise tarfile.ReadError(f"not a tar archive{detail}") from error
    with archive:
        yield archive


def members(archive: tarfile.TarFile, *, keep: bool = True) -> Iterator[tarfile.TarInfo]:
    """Every member, checked. Without `keep` none is remembered by the archive: then millions take no
    memory, and hard links cannot be extracted.

    Raises tarfile.ReadError for the first that cannot be, or that no file system can hold, and as soon
    as it is more than an archive may hold (`store.limits`).
    """
    counted = Unpacking(_packed(archive))
    rows = iter(archive) if keep else _passing(archive)
    while True:
        with faults_as_read_errors():
            member = next(rows, None)
            if member is None:
                return
            _check(member)
        try:
            counted.entry(member.size)
        except TooLargeError as error:
            raise tarfile.ReadError(str(error)) from error
        yield member


def _packed(archive: tarfile.TarFile) -> int:
    """The size of an archive that is a file; 0 for what is read as a stream, and counted there."""
    name = archive.name
    return Path(os.fsdecode(name)).stat().st_size if name else 0


def _passing(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]
        yield member


def _check(member: tarfile.TarInfo) -> None:
    def refuse(what: str) -> None:
        raise tarfile.ReadError(f"'{shown(member.name)}': {what}")

    for text, what in ((member.name, "its name"), (member.linkname, "what it links to")):
        if "\0" in text:
            refuse(f"{what} holds a zero byte")
        raw = text.encode("utf-8", "surrogateescape")
        if len(raw) > LONGEST_PATH:
            refuse(f"{what} is longer than {LONGEST_PATH} bytes")
        if len(raw) > LONGEST_NAME and any(len(p) > LONGEST_NAME for p in raw.split(b"/")):
            refuse(f"{what} has a part of more than {LONGEST_NAME} bytes")
    if (member.issym() or member.islnk()) and not member.linkname:
        refuse("it is a link to nothing")
    if not math.isfinite(member.mtime) or abs(member.mtime) > _LATEST:
        refuse(f"its time is {member.mtime}")
    if not (0 <= member.uid < _NOBODY and 0 <= member.gid < _NOBODY):
        refuse(f"it belongs to {member.uid}:{member.gid}, which is not a valid user and group")
    if member.size < 0:
        refuse("its size is below zero")
    if (member.ischr() or member.isblk()) and not (
        0 <= member.devmajor < 1 << 12 and 0 <= member.devminor < 1 << 20
    ):
        refuse(f"it is the device {member.devmajor}:{member.devminor}, which cannot be")
    if member.sparse is not None:
        _check_holes(member, refuse)
    member.mode &= 0o7777


def _check_holes(member: tarfile.TarInfo, refuse: Callable[[str], None]) -> None:
    """tarfile looks for ever for a byte that is in no piece, and gives as many zeros as it is told."""
    pieces: Sequence[tuple[int, int]] = member.sparse or ()  # type: ignore[assignment]
    if len(pieces) > _SPARSE_PIECES:
        refuse(f"it has {len(pieces)} holes")
    end = data = 0
    for offset, size in pieces:
        if offset < end or size < 0 or offset + size > member.size:
            refuse("its pieces do not follow upon one another")
        end, data = offset + size, data + size
    if member.size - data > LARGEST_HOLES:
        refuse(f"it has {member.size - data} bytes of holes")


@contextmanager
def naming(member: tarfile.TarInfo, refused: Callable[[str], Exception]) -> Iterator[None]:
    """What a member does not let be made is what `refused` makes of its name and the reason."""
    try:
        yield
    except OSError as error:
        if error.errno in _MACHINE:
            raise
        raise refused(f"'{shown(member.name)}': {error.strerror or error}") from error


def copy(archive: tarfile.TarFile, member: tarfile.TarInfo, write: Callable[[bytes], object]) -> None:
    """Give a regular member's content to `write`, in pieces. Raises tarfile.TarError, OSError."""
    for data in content(archive, member):
        write(data)


def read(archive: tarfile.TarFile, member: tarfile.TarInfo, limit: int = 16 << 20) -> bytes:
    """The content of a small file. Raises tarfile.TarError, also when it has more than `limit` bytes."""
    if member.size > limit:
        raise tarfile.ReadError(f"'{shown(member.name)}' has {member.size} bytes")
    return b"".join(content(archive, member))


def content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterable[bytes]:
    """The content of a member in pieces. Raises tarfile.TarError, also when it is not a regular file."""
    with faults_as_read_errors():
        source = archive.extractfile(member)
    if source is None:
        raise tarfile.ReadError(f"'{shown(member.name)}' is not a file")
    with source:
        while True:
            with faults_as_read_errors():
                data = source.read(1 << 20)
            if not data:
                return
            yield data
