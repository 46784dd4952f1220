"""Pinning a file whose source gives no SHA-256: it is fetched once, at lock time, into the store,
where the build finds it."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import ResolveError
from engine.lock import LockedFile
from grammar.environment import Position

if TYPE_CHECKING:
    from store import Store

_CHUNK = 1 << 20


def pin(
    name: str, url: str, store: Store, position: Position, integrity: str = ""
) -> tuple[LockedFile, Path]:
    """The pinned file of a URL, and where it is in the store.

    `integrity` is what the source says of it ("sha512-<base64>", Subresource Integrity); it is
    held to that. Raises ResolveError.
    """
    from store.memos import read_memo

    key = f"pin:{integrity}:{url}"
    if integrity and (text := read_memo(store.path, key)) is not None:
        sha256, size = json.loads(text)
        if (path := store.blob(f"sha256:{sha256}")) is not None:
            return LockedFile(name, url, sha256, size), path
    digest, size, path = _download(url, store, position, integrity)
    sha256 = digest.removeprefix("sha256:")
    if integrity:
        store.set_memo(key, json.dumps([sha256, size]))
    return LockedFile(name, url, sha256, size), path


def _download(
    url: str, store: Store, position: Position, integrity: str
) -> tuple[str, int, Path]:
    import urllib3

    from engine.fetch import request, shown

    algorithm, _, wanted = integrity.partition("-")
    hasher = hashlib.new(algorithm) if integrity else None
    try:
        response = request(url)
        with response, store.blob_writer() as writer:
            if response.status != 200:
                raise ResolveError(f"{position}: {shown(url)}: HTTP status {response.status}")
            for chunk in response.stream(_CHUNK, decode_content=False):
                writer.write(chunk)
                if hasher is not None:
                    hasher.update(chunk)
            if hasher is not None and base64.b64encode(hasher.digest()).decode() != wanted:
                raise ResolveError(
                    f"{position}: {shown(url)} is not the file that its source describes: its "
                    f"{algorithm} does not fit"
                )
            return writer.digest, writer.size, writer.commit()
    except urllib3.exceptions.HTTPError as error:
        raise ResolveError(f"{position}: cannot fetch {shown(url)}: {error}") from error
