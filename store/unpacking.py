"""From an object's compressed blob to its unpacked tree, compared with the object's id."""

from __future__ import annotations

import ctypes
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from zstandard import ZstdError

from store import blobs
from store.compression import buffers
from store.errors import CorruptError, TooLargeError
from store.hashing import object_hasher
from store.model import Object
from store.trees import unpack


def unpack_into(blob: Path, item: Object, fresh: Path) -> None:
    """Unpack the object `item`, whose compressed layer is the file `blob`, as the new directory
    `fresh`, and compare it with its id. Raises CorruptError when it is damaged."""
    fresh.mkdir(mode=0o755)
    fresh.chmod(0o755)
    identity = object_hasher()

    def checked() -> Iterator[bytes]:
        for chunk in decompressed_layer(blob, item.name):
            identity.update(chunk)
            yield bytes(chunk)

    stream = checked()
    try:
        unpack(stream, fresh)
    except CorruptError as error:
        if item.digest in str(error) or item.name in str(error):
            raise
        raise CorruptError(f"{item.name} ({item.digest}): {error}") from error
    for _ in stream:  # what lies behind the end-of-archive marker is hashed too
        pass
    if identity.hexdigest() != item.id:
        raise blobs.damaged(item.name)


def decompressed_layer(path: Path, name: str, *, foreign: bool = False) -> Iterator[bytes | bytearray]:
    """The uncompressed bytes of a layer's blob, held to limits when it is `foreign`. Raises
    CorruptError, which calls it `name`."""
    try:
        yield from buffers(path, foreign=foreign)
    except TooLargeError as error:
        raise TooLargeError(f"{name}: {error}") from error
    except (zlib.error, ZstdError, EOFError) as error:
        raise blobs.damaged(name) from error


def sync_filesystem(path: Path) -> None:
    """syncfs(2) of the file system that holds `path`."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            os.sync()
    finally:
        os.close(descriptor)
