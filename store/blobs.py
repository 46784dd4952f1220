"""Blobs: files addressed by their SHA-256, laid out as an OCI layout's `blobs/sha256`."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from store import locking
from store.errors import CorruptError

_HEX = re.compile(r"[0-9a-f]{64}")  # nothing else becomes a path


def blob_path(root: Path, digest: str) -> Path:
    """Where the blob of `digest` ("sha256:<hex>") lies or would lie."""
    algorithm, _, hexadecimal = digest.partition(":")
    if algorithm != "sha256" or not _HEX.fullmatch(hexadecimal):
        raise CorruptError(f"'{digest}' is not a valid sha256 digest")
    return root / "blobs" / "sha256" / hexadecimal


def sync_directory(path: Path) -> None:
    """fsync a directory, so that a rename in it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class BlobWriter:
    """A blob being written to a temporary file; `commit` verifies it and moves it into place."""

    def __init__(self, root: Path, temporary: Path, file: BinaryIO) -> None:
        self._root = root
        self._hasher = hashlib.sha256()
        self.temporary = temporary
        self.file = file
        self.size = 0

    def write(self, data: bytes) -> None:
        """Add bytes to the blob. Raises OSError."""
        self.file.write(data)
        self._hasher.update(data)
        self.size += len(data)

    @property
    def digest(self) -> str:
        """Digest of what was written so far."""
        return f"sha256:{self._hasher.hexdigest()}"

    def commit(self, expected: str | None = None) -> Path:
        """Move the blob into place. Raises CorruptError when it is not `expected`."""
        if expected is not None and self.digest != expected:
            raise CorruptError(f"got {self.digest}, expected {expected}")
        self.file.flush()
        os.fsync(self.file.fileno())
        path = blob_path(self._root, self.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.temporary.chmod(0o600)
        self.temporary.replace(path)
        sync_directory(path.parent)
        return path


@contextmanager
def blob_writer(root: Path, directory: Path) -> Iterator[BlobWriter]:
    """A writer whose temporary file (in `directory`) is gone afterwards, committed or not.

    It is locked meanwhile: so others know it from what a killed process left.
    """
    temporary = directory / f"blob-{os.getpid()}-{os.urandom(6).hex()}"
    with locking.locked(temporary.with_name(temporary.name + ".lock")), temporary.open("wb") as file:
        try:
            yield BlobWriter(root, temporary, file)
        finally:
            temporary.unlink(missing_ok=True)


# -- out of the store -------------------------------------------------------------------------


def damaged(name: str) -> CorruptError:
    """The error of a blob, which users know as `name`, whose bytes are not its digest's."""
    return CorruptError(f"{name}: the stored layer is damaged; run `envd store verify --repair`")


def check(path: Path, digest: str, name: str) -> None:
    """Read a blob and compare it with its digest. Raises CorruptError, which calls it `name`."""
    with CheckedFile(path, digest, path.stat().st_size, name) as file:
        while file.read(1 << 20):
            pass


class CheckedFile:
    """A blob opened for reading to its end, whose last bytes are handed out only when all of them
    hash to `digest` and are `size` many: what is copied from it is whole, or ends in the middle.

    Raises CorruptError, which calls the blob `name`.
    """

    def __init__(self, path: Path, digest: str, size: int, name: str) -> None:
        self._digest, self._left, self._name = digest, size, name
        self._hasher = hashlib.sha256()
        self._file = path.open("rb", buffering=0)
        if os.fstat(self._file.fileno()).st_size != size:
            self._file.close()
            raise damaged(name)

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, b"" at the end."""
        wanted = self._left if size < 0 else min(size, self._left)
        parts = []
        while wanted:
            part = self._file.read(wanted)
            if not part:  # cut off meanwhile
                raise damaged(self._name)
            self._hasher.update(part)
            parts.append(part)
            wanted -= len(part)
            self._left -= len(part)
        if not self._left and f"sha256:{self._hasher.hexdigest()}" != self._digest:
            raise damaged(self._name)
        return b"".join(parts)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> CheckedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
