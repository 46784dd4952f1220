"""`index.json` of a directory of packs, and the lock under which it is written.

Format: OCI image specification, image-index.md and image-layout.md.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from engine.core.command import pause
from store.errors import RegistryError

INDEX, LOCK, HELD = "index.json", ".envd.lock", ".envd.held"
LARGEST = 8 << 20  # bytes: 30 000 entries
_TYPE = "application/vnd.oci.image.index.v1+json"
_REF = "org.opencontainers.image.ref.name"
_PATIENCE = 30.0  # seconds that others may write
_ABANDONED = 600.0  # seconds after which who made a file instead of a lock is no more
_POLL = (0.002, 0.05)  # seconds between two tries: the first, the longest
_NO_LOCKS = frozenset(
    {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EBADF, errno.EPERM}
)

Entry = dict[str, Any]


@dataclass(frozen=True)
class Index:
    """What the file says: `document` is all of it, `entries` its descriptors."""

    document: dict[str, Any]
    entries: tuple[Entry, ...]

    @property
    def tags(self) -> list[str]:
        """The tags, sorted."""
        return sorted({tag for entry in self.entries if (tag := tag_of(entry))})

    def find(self, tag: str) -> tuple[str, int] | None:
        """The digest and the size of what has the tag; None when nothing has."""
        for entry in self.entries:
            if tag_of(entry) == tag:
                return str(entry["digest"]), int(entry["size"])
        return None

    def with_entries(self, new: Sequence[Entry]) -> Index:
        """This index with `new` in the place of what has their tags; itself when it has them."""
        if all(entry in self.entries for entry in new):
            return self
        tags = {tag_of(entry) for entry in new}
        return Index(self.document, (*(e for e in self.entries if tag_of(e) not in tags), *new))

    def written(self) -> bytes:
        """The file's content."""
        document = {**self.document, "manifests": list(self.entries)}
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


EMPTY = Index({"mediaType": _TYPE, "schemaVersion": 2}, ())


def parse(content: bytes) -> Index:
    """The index of a file's content. Raises ValueError, which says what is wrong."""
    if len(content) > LARGEST:
        raise ValueError(f"is larger than {LARGEST} bytes")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError("is not JSON") from error
    entries = document.get("manifests") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(map(_is_entry, entries)):
        raise ValueError("is not an OCI image index")
    return Index(document, tuple(entries))


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict):
        return False
    size, annotations = entry.get("size"), entry.get("annotations") or {}
    return (
        isinstance(entry.get("digest"), str)
        and isinstance(size, int)
        and not isinstance(size, bool)
        and isinstance(annotations, dict)
    )


def tag_of(entry: Entry) -> str:
    """The tag of an entry, "" when it has none."""
    tag = (entry.get("annotations") or {}).get(_REF)
    return tag if isinstance(tag, str) else ""


def entry(tag: str, manifest: bytes, digest: str) -> Entry:
    """The descriptor of a manifest that has a tag."""
    document = json.loads(manifest)
    found = {
        "annotations": {_REF: tag},
        "digest": digest,
        "mediaType": document["mediaType"],
        "size": len(manifest),
    }
    return {**found, **({"artifactType": kind} if (kind := document.get("artifactType")) else {})}


@contextmanager
def locked(directory: int, mode: int, name: str) -> Iterator[None]:
    """Hold the lock of a directory (its descriptor): flock, and where that cannot be had a file that only
    one can make. `name` is what the directory is called. Raises RegistryError when others hold it too
    long, OSError."""
    flags = os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(LOCK, os.O_RDWR | flags, mode, dir_fd=directory)
    except PermissionError:  # another user's, who lets others read it
        descriptor = os.open(LOCK, os.O_RDONLY | flags & ~os.O_CREAT, dir_fd=directory)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
        raise RegistryError(f"{name}: {LOCK}: is not a regular file; remove it") from error
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise RegistryError(f"{name}: {LOCK}: is not a regular file; remove it")
        if info.st_uid == os.geteuid():
            with suppress(PermissionError):  # of a FAT file system
                os.fchmod(descriptor, mode)
        try:
            _wait(lambda: _flock(descriptor), LOCK, name)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            with _made(directory, mode, name):
                yield
        else:
            yield
    finally:
        os.close(descriptor)


def _flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _made(directory: int, mode: int, name: str) -> Iterator[None]:
    """Hold the file that only one can make."""

    def make() -> bool:
        try:
            os.close(
                os.open(HELD, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=directory)
            )
        except FileExistsError:
            with suppress(FileNotFoundError):
                since = os.stat(HELD, dir_fd=directory, follow_symlinks=False).st_mtime
                if time.time() - since > _ABANDONED:
                    os.unlink(HELD, dir_fd=directory)
            return False
        return True

    _wait(make, HELD, name)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            os.unlink(HELD, dir_fd=directory)


def _wait(take: Callable[[], bool], file: str, name: str) -> None:
    """Try until it is taken. Raises RegistryError."""
    end, seconds = time.monotonic() + _PATIENCE, _POLL[0]
    while not take():
        if time.monotonic() > end:
            raise RegistryError(
                f"{name}: another has locked it for {_PATIENCE:.0f} seconds ({file}); try again later"
            )
        pause(seconds * random.uniform(0.5, 1.0), name)
        seconds = min(seconds * 2, _POLL[1])
