"""A place of packs that is a directory: a share, or a stick.

It is an OCI image layout (OCI image specification, image-layout.md), which other programs read too:
`oci-layout`, `index.json` whose entries are tagged by `org.opencontainers.image.ref.name`, and
`blobs/sha256/`. Entries that others have put there stay.

Others write there too, and whoever can may put anything there. So nothing below the directory is read or
written through a link, only regular files are read, and what they hold is compared with their digest. A
blob is written beside them, synced as far as that goes, and renamed into its place; `index.json` too, under
a lock (flock, which NFS and SMB carry to other machines; where there is none, a file that only one can
make). Hard links are not needed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from engine.cache import layout_index as index
from engine.cache.layout_index import INDEX, Index
from engine.cache.place import Blob, Sent
from engine.core.command import raise_if_cancelled
from engine.realise import confined
from store import Store
from store.blobs import CheckedFile
from store.errors import RegistryError

LARGEST_MANIFEST = 4 << 20  # bytes
_LAYOUT, _LAYOUT_TEXT = "oci-layout", b'{"imageLayoutVersion":"1.0.0"}'
_BLOBS = "blobs/sha256"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_TEMPORARY = ".envd-"
_ABANDONED = 86400.0  # seconds after which a temporary file is nobody's
_CHUNK = 1 << 20
# Of which directory what this process has found to be damaged: it is written again when it is published.
_DAMAGED: set[tuple[Path, str]] = set()
_NO_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EROFS})


class Directory:
    """The OCI image layout at `path`: a `Place`. Safe to use from many threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"dir:{self.path}"

    # Reading

    def manifest(self, tag: str) -> bytes | None:
        """The manifest under a tag. Raises RegistryError, OSError."""
        found = self._index().find(tag)
        if found is None:
            return None
        digest, size = found
        if not 0 <= size <= LARGEST_MANIFEST:
            raise self._bad(INDEX, f"'{tag}' has {size} bytes: is not a manifest")
        content = self.read(digest, size)
        if content is not None and len(content) != size:
            raise self._bad(INDEX, f"'{tag}' has {len(content)} bytes, not {size}")
        return content

    def read(self, digest: str, limit: int) -> bytes | None:
        """A blob of at most `limit` bytes. Raises RegistryError, OSError."""
        with self._blob(digest) as file:
            if file is None:
                return None
            content = file.read(limit + 1)
        if len(content) > limit:
            raise self._bad(_at(digest), f"is larger than {limit} bytes")
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            raise self._damaged(digest)
        return content

    def bring(self, digest: str, size: int, store: Store, progress: Callable[[int], None]) -> bool:
        """Copy a blob into the store. Raises RegistryError, OSError."""
        with self._blob(digest) as file:
            if file is None:
                return False
            if (there := os.fstat(file.fileno()).st_size) != size:
                raise self._damaged(digest, f"has {there} bytes, not {size}")
            with store.blob_writer() as writer:
                while writer.size < size and (chunk := file.read(min(_CHUNK, size - writer.size))):
                    raise_if_cancelled(self.name)
                    writer.write(chunk)
                    progress(writer.size)
                if writer.digest != digest:
                    raise self._damaged(digest)
                writer.commit(digest)
        return True

    def tags(self) -> list[str]:
        """Every tag. Raises RegistryError, OSError."""
        return self._index().tags

    def _index(self) -> Index:
        if not self.path.is_dir():
            raise RegistryError(f"{self.name}: no such directory")
        content = self._regular(INDEX, index.LARGEST + 1)
        if content is None:
            return index.EMPTY
        try:
            return index.parse(content)
        except ValueError as error:
            raise self._bad(INDEX, str(error)) from error

    def _regular(self, path: str, limit: int) -> bytes | None:
        """The content of a regular file, None when there is nothing. Raises RegistryError for what is
        something else."""
        with self._named():
            content = confined.read(self.path, path, limit)
        if content is None:
            self._check_absent(path)
        return content

    @contextmanager
    def _blob(self, digest: str) -> Iterator[BinaryIO | None]:
        if not _DIGEST.fullmatch(digest):  # it may be a manifest's
            raise RegistryError(f"{self.name}: {digest[:80]!a} is not a valid sha256 digest")
        with self._named(), confined.opened(self.path, _at(digest)) as file:
            if file is None:
                self._check_absent(_at(digest))
            yield file

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Have errors of the file system say which directory it is: they know of a name in it."""
        try:
            yield
        except OSError as error:
            if isinstance(error.filename, str) and not Path(error.filename).is_absolute():
                error.filename, error.filename2 = str(self.path), None
            raise

    def _check_absent(self, path: str) -> None:
        """Raise RegistryError when what could not be opened is there: a link, a pipe, a device."""
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            place = "/".join(parts[:depth])
            info = confined.lstat(self.path, place)
            if info is None:
                return
            if stat.S_ISLNK(info.st_mode):
                raise self._bad(place, "is a link, which is not followed")
            if not stat.S_ISDIR(info.st_mode) or depth == len(parts):
                raise self._bad(place, "is not a regular file")

    def _bad(self, path: str, what: str) -> RegistryError:
        return RegistryError(f"{self.name}: {path}: {what}")

    def _damaged(self, digest: str, what: str = "its bytes are not those of its digest") -> RegistryError:
        _DAMAGED.add((self.path, digest))
        return self._bad(_at(digest), what)

    # Writing

    def publish(self, blobs: Sequence[Blob], manifests: Sequence[tuple[str, bytes]]) -> Sent:
        """Keep the blobs, then the manifests. Raises RegistryError, OSError, and CorruptError for a
        stored file that is damaged."""
        with self._named():
            return self._published(blobs, manifests)

    def _published(self, blobs: Sequence[Blob], manifests: Sequence[tuple[str, bytes]]) -> Sent:
        self._prepare()
        sent = there = sent_bytes = 0
        for blob in {b.digest: b for b in blobs}.values():
            raise_if_cancelled(self.name)
            if self._keep(blob):
                sent, sent_bytes = sent + 1, sent_bytes + blob.size
            else:
                there += 1
        entries = []
        for tag, content in manifests:
            if not _TAG.fullmatch(tag):
                raise RegistryError(f"{self.name}: '{tag}' is not a valid tag")
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            self._keep(Blob(digest, len(content), content))
            entries.append(index.entry(tag, content, digest))
        if entries:
            self._list(entries)
        return Sent(sent, sent_bytes, there)

    def _prepare(self) -> None:
        """Make the layout where there is none. Raises RegistryError when something else is there."""
        self.path.mkdir(parents=True, exist_ok=True)
        if self._regular(_LAYOUT, 1 << 16) is None:
            with os.scandir(self.path) as entries:
                foreign = next((e.name for e in entries if not e.name.startswith(_TEMPORARY)), None)
            # A killed or racing publisher may have made these.
            if foreign not in (None, "blobs", _LAYOUT):
                raise RegistryError(
                    f"{self.name}: has other files, and is not an OCI image layout; choose another directory"
                )
            self._write(_LAYOUT, partial(_put, _LAYOUT_TEXT))
        for parent, name in (("", "blobs"), ("blobs", "sha256")):
            self._make(parent, name)
        self._sweep()

    def _make(self, parent: str, name: str) -> None:
        path = f"{parent}/{name}".lstrip("/")
        with confined.directory(self.path, parent) as descriptor:
            if descriptor is None:
                raise self._bad(parent, "is not a directory")
            try:
                os.mkdir(name, 0o700, dir_fd=descriptor)
            except FileExistsError:
                return
        with confined.directory(self.path, path) as made:
            if made is not None:
                _allow(made, self._mode)

    @property
    def _mode(self) -> int:
        """The directory's permissions, which are given to all that is put there: who may use it may
        use that."""
        return stat.S_IMODE(self.path.stat().st_mode) & 0o2777

    def _sweep(self) -> None:
        """Remove what publishers that were killed a day ago have left."""
        with confined.directory(self.path) as top, os.scandir(top) as entries:
            assert top is not None  # no path, no link on it
            for entry in entries:
                with suppress(OSError):
                    if entry.name.startswith(_TEMPORARY) and _is_abandoned(entry):
                        os.unlink(entry.name, dir_fd=top)

    def _keep(self, blob: Blob) -> bool:
        """Write a blob unless it is there; whether it was written."""
        path = _at(blob.digest)
        there = confined.lstat(self.path, path)
        sound = (self.path, blob.digest) not in _DAMAGED
        if sound and there is not None and stat.S_ISREG(there.st_mode) and there.st_size == blob.size:
            if not isinstance(blob.content, bytes):
                return False
            if confined.read(self.path, path, blob.size) == blob.content:
                return False

        def put(file: BinaryIO) -> None:
            if isinstance(blob.content, bytes):
                _put(blob.content, file)
                return
            source = blob.content if isinstance(blob.content, Path) else blob.content()
            with CheckedFile(source, blob.digest, blob.size, blob.digest) as stored:
                while chunk := stored.read(_CHUNK):
                    raise_if_cancelled(self.name)
                    file.write(chunk)

        self._write(path, put)
        _DAMAGED.discard((self.path, blob.digest))
        return True

    def _write(self, path: str, put: Callable[[BinaryIO], None]) -> None:
        """Make a file that is there whole or not at all, over whatever is there."""
        folder, _, name = path.rpartition("/")
        temporary = f"{_TEMPORARY}{os.getpid()}-{os.urandom(6).hex()}"
        with confined.directory(self.path) as top, confined.directory(self.path, folder) as target:
            if target is None:
                raise self._bad(folder, "is not a directory")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(temporary, flags, 0o600, dir_fd=top)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    put(file)
                    file.flush()
                    _sync(file.fileno())
                    _allow(file.fileno(), self._mode & 0o666)
                os.rename(temporary, name, src_dir_fd=top, dst_dir_fd=target)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=top)
                raise

    def _list(self, entries: Sequence[index.Entry]) -> None:
        """Put entries into index.json, in the place of those with the same tags."""
        with confined.directory(self.path, _BLOBS) as blobs, confined.directory(self.path) as top:
            assert top is not None  # no path, no link on it
            if blobs is not None:
                _sync(blobs)  # what is named is there, also after a power cut
            with index.locked(top, self._mode & 0o666, self.name):
                before = self._index()
                after = before.with_entries(entries)
                if after is before:
                    return
                content = after.written()
                if len(content) > index.LARGEST:
                    raise self._bad(INDEX, "has too many entries; begin another directory")
                self.write_index(content)

    def write_index(self, content: bytes) -> None:
        """Make index.json anew, whole or not at all; whoever does holds its lock. Raises OSError."""
        self._write(INDEX, partial(_put, content))


def _is_abandoned(entry: os.DirEntry[str]) -> bool:
    info = entry.stat(follow_symlinks=False)
    return stat.S_ISREG(info.st_mode) and time.time() - info.st_mtime > _ABANDONED


def _allow(descriptor: int, mode: int) -> None:
    with suppress(PermissionError):  # of a FAT file system
        os.fchmod(descriptor, mode)


def _at(digest: str) -> str:
    return f"{_BLOBS}/{digest.removeprefix('sha256:')}"


def _put(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def _sync(descriptor: int) -> None:
    """fsync as far as the file system knows it."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
