"""Zip archives that somebody else has made: whatever is wrong with one is one kind of error."""

from __future__ import annotations

import errno
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from store import archives, limits
from store.errors import TooLargeError

# What zipfile and the decompressors raise for bytes that make no sense, for what is encrypted, and
# for a way of compression that is not known.
FAULTS = (
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    OverflowError,
    LookupError,
    TypeError,
    NotImplementedError,
    RuntimeError,
    struct.error,
)


@contextmanager
def faults_as_bad_zips() -> Iterator[None]:
    """Raise `zipfile.BadZipFile` for whatever zipfile makes of bytes that make no sense."""
    try:
        yield
    except (OSError, *FAULTS) as error:
        if getattr(error, "errno", None) not in (None, errno.EINVAL):
            raise  # the machine's: those of bzip2 have no number, and a place below zero is EINVAL
        raise zipfile.BadZipFile(str(error) or type(error).__name__) from error


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip file. Raises zipfile.BadZipFile, also for one that holds more than an archive may
    (`store.limits`), OSError."""
    with faults_as_bad_zips():
        archive = zipfile.ZipFile(path)
    check_size(archive, path)
    with archive:
        if not all(member.filename for member in archive.infolist()):
            raise zipfile.BadZipFile("an entry has no name")
        yield archive


def check_size(archive: zipfile.ZipFile, path: Path) -> None:
    """Raise zipfile.BadZipFile when it holds more than it may; no member can be larger than it says."""
    counted = limits.Unpacking(path.stat().st_size)
    try:
        for member in archive.infolist():
            counted.entry(member.file_size)
    except TooLargeError as error:
        raise zipfile.BadZipFile(str(error)) from error


def read(archive: zipfile.ZipFile, name: str, limit: int = 16 << 20) -> bytes:
    """The content of a small member. Raises zipfile.BadZipFile, also when it is not there, or has more
    than `limit` bytes."""
    with faults_as_bad_zips():
        member = archive.getinfo(name)
        with archive.open(member) as file:
            data = file.read(limit + 1)
    if len(data) > limit:
        raise zipfile.BadZipFile(f"'{archives.shown(name)}' has more than {limit} bytes")
    return data
