"""An OCI image layout as one tar: written as a stream, read where it lies.

Format: OCI image specification, image-layout.md; the tar is as POSIX has it (pax), uncompressed. The same
content gives the same bytes: sorted members, one time, owner 0.

Whoever made an archive may have put anything into it. It is looked through first: regular files of the
names that a layout has, each once and whole, and every blob named by a manifest, with its size. Bytes are
compared with their digests when they are read. Nothing of it becomes a path.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from engine.cache import layout_index
from engine.cache.layout_index import Index
from engine.cache.place import Blob
from engine.core.command import raise_if_cancelled
from engine.errors import UsageError
from store import Store, archives
from store.blobs import CheckedFile
from store.model import SOURCE_DATE_EPOCH

LARGEST_MANIFEST = 4 << 20  # bytes
_LAYOUT = "oci-layout"
_LAYOUT_TEXT = b'{"imageLayoutVersion":"1.0.0"}'
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
_FOLDERS = frozenset({"blobs", "blobs/sha256"})  # other programs list them
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHUNK = 1 << 20
_ADVICE = "get it again from where it was made"

# -- writing ----------------------------------------------------------------------------------


def write(file: BinaryIO, blobs: Sequence[Blob], manifests: Sequence[tuple[str, bytes]]) -> None:
    """Write an archive of `blobs`, and of `manifests` (tag, bytes) that name them. Raises OSError, and
    CorruptError for a stored file that is damaged."""
    members: dict[str, Blob] = {}
    entries = []
    for tag, content in sorted(manifests):
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        entries.append(layout_index.entry(tag, content, digest))
        members[_name(digest)] = Blob(digest, len(content), content)
    members |= {_name(blob.digest): blob for blob in blobs}
    index = Index(layout_index.EMPTY.document, tuple(entries)).written()
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        # First, so that who looks at the beginning knows what it is.
        for name, content in ((_LAYOUT, _LAYOUT_TEXT), (layout_index.INDEX, index)):
            tar.addfile(_header(name, len(content)), io.BytesIO(content))
        for name, blob in sorted(members.items()):
            raise_if_cancelled(name)
            _add(tar, name, blob)


def _name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _header(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, SOURCE_DATE_EPOCH, 0o644
    return member


def _add(tar: tarfile.TarFile, name: str, blob: Blob) -> None:
    if isinstance(blob.content, bytes):
        tar.addfile(_header(name, blob.size), io.BytesIO(blob.content))
        return
    path = blob.content if isinstance(blob.content, Path) else blob.content()
    with CheckedFile(path, blob.digest, blob.size, blob.digest) as stored:
        tar.addfile(_header(name, blob.size), stored)


# -- reading ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Archive:
    """An archive that was looked through. `places` maps a blob's digest to where it begins in the file
    and its size, both in bytes; `manifests` are by their tags."""

    path: Path
    places: Mapping[str, tuple[int, int]]
    manifests: Mapping[str, bytes]
    _file: BinaryIO = field(repr=False)

    def bad(self, what: str) -> UsageError:
        """The error that says what is wrong with the archive."""
        return UsageError(what, subject=str(self.path), advice=_ADVICE)

    def read(self, digest: str, limit: int) -> bytes:
        """A blob of at most `limit` bytes. Raises UsageError."""
        size = self._place(digest)[1]
        if size > limit:
            raise self.bad(f"{digest} has {size} bytes, and may have {limit}")
        return b"".join(self._pieces(digest))

    def bring(self, digest: str, store: Store, progress: Callable[[int], None]) -> Path:
        """Copy a blob into the store; the file there. Raises UsageError, OSError."""
        with store.blob_writer() as writer:
            for piece in self._pieces(digest):
                raise_if_cancelled(str(self.path))
                writer.write(piece)
                progress(writer.size)
            return writer.commit(digest)

    def _place(self, digest: str) -> tuple[int, int]:
        if digest not in self.places:
            raise self.bad(f"'{digest[:80]}' is missing")
        return self.places[digest]

    def _pieces(self, digest: str) -> Iterator[bytes]:
        """The bytes of a blob, of which the last come when all are known to be the right ones."""
        offset, left = self._place(digest)
        hasher = hashlib.sha256()
        self._file.seek(offset)
        while True:
            piece = self._file.read(min(left, _CHUNK))
            hasher.update(piece)
            left -= len(piece)
            if left and not piece:
                raise self.bad("it was cut off while it was read")
            if not left and f"sha256:{hasher.hexdigest()}" != digest:
                raise self.bad(f"the bytes of {digest} are not those of its digest")
            yield piece
            if not left:
                return


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """The archive at `path`, looked through. Raises UsageError for whatever is wrong with it, OSError."""
    try:
        # O_NONBLOCK: a pipe without a writer would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(error.strerror or "cannot be read", subject=str(path)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UsageError("is not a regular file", subject=str(path), advice="save it to a file first")
    with os.fdopen(descriptor, "rb") as file:
        bare = Archive(path, {}, {}, file)
        try:
            members = _members(file)
        except tarfile.TarError as error:
            raise bare.bad(f"is not a bundle: {error}") from error
        places = {f"sha256:{m[1]}": place for name, place in members.items() if (m := _BLOB.fullmatch(name))}
        archive = Archive(path, places, {}, file)
        yield Archive(path, places, _manifests(archive, members), file)


def _members(file: BinaryIO) -> dict[str, tuple[int, int]]:
    """Where each member begins, and its size. Raises tarfile.TarError."""
    end = os.fstat(file.fileno()).st_size
    found: dict[str, tuple[int, int]] = {}
    with (
        archives.faults_as_read_errors(),
        tarfile.open(fileobj=file, mode="r:", tarinfo=archives.Member) as tar,
    ):
        for member in archives.members(tar, keep=False):
            name = member.name
            if member.isdir() and name in _FOLDERS:
                continue
            if not (name in (_LAYOUT, layout_index.INDEX) or _BLOB.fullmatch(name)):
                raise tarfile.ReadError(f"'{archives.shown(name)}' does not belong there")
            if not member.isreg() or member.sparse is not None:
                raise tarfile.ReadError(f"'{name}' is not a regular file")
            if name in found:
                raise tarfile.ReadError(f"'{name}' is there twice")
            if member.offset_data + member.size > end:
                raise tarfile.ReadError(f"it ends within '{name}'")
            found[name] = (member.offset_data, member.size)
    return found


def _manifests(archive: Archive, members: Mapping[str, tuple[int, int]]) -> dict[str, bytes]:
    """The manifests by their tags; that they name all blobs there are, and no others, is checked."""
    if _LAYOUT not in members or layout_index.INDEX not in members:
        raise archive.bad("is not a bundle: is not an OCI image layout, or is cut off")
    offset, size = members[layout_index.INDEX]
    if size > layout_index.LARGEST:
        raise archive.bad(f"its index has {size} bytes")
    archive._file.seek(offset)
    try:
        index = layout_index.parse(archive._file.read(size))
    except ValueError as error:
        raise archive.bad(f"its index {error}") from error
    found: dict[str, bytes] = {}
    named: set[str] = set()
    for tag in index.tags:
        digest, size = index.find(tag) or ("", 0)
        found[tag] = content = archive.read(digest, LARGEST_MANIFEST)
        named |= {digest, *_named(archive, tag, content, size)}
    if extra := archive.places.keys() - named:
        raise archive.bad(f"nothing in it names {min(extra)}")
    return found


def _named(archive: Archive, tag: str, content: bytes, size: int) -> Iterator[str]:
    """The digests of the blobs that a manifest names, all of which are there."""
    try:
        document = json.loads(content)
        rows = [(row["digest"], row["size"]) for row in (document["config"], *document["layers"])]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise archive.bad(f"the manifest of '{archives.shown(tag)}' is malformed") from error
    if len(content) != size:
        raise archive.bad(f"the manifest of '{archives.shown(tag)}' has {len(content)} bytes, not {size}")
    for digest, bytes_ in rows:
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise archive.bad(f"{str(digest)[:80]!r} is not a valid sha256 digest")
        there = archive._place(digest)[1]
        if bytes_ != there or isinstance(bytes_, bool):
            raise archive.bad(f"{digest} has {there} bytes, not {bytes_!r:.20}")
        yield digest
