"""Pinning a file whose source gives no SHA-256: it is fetched once, at lock time, into the store,
where the build finds it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from engine.core.command import raise_if_cancelled
from engine.core.urls import redacted
from engine.errors import ResolveError
from engine.lock.packages import LockedFile
from engine.net import answers, client
from grammar.environment import Position
from store import limits
from store.memos import read_memo
from store.threads import workers

if TYPE_CHECKING:
    from store import Store

_AT_ONCE = 8


class MissingError(ResolveError):
    """The source has no such file."""


@dataclass(frozen=True)
class Unpinned:
    """A file to pin; see `pin`. `fallback` is what to ask for where `url` is not, or ""."""

    name: str
    url: str
    position: Position
    integrity: str = ""
    fallback: str = ""


def pin_all(files: Sequence[Unpinned], store: Store) -> list[LockedFile]:
    """The pinned files, in order; some are fetched at once. Raises ResolveError."""

    def one(file: Unpinned) -> LockedFile:
        try:
            return pin(file.name, file.url, store, file.position, file.integrity)[0]
        except MissingError:
            if not file.fallback:
                raise
            return pin(file.name, file.fallback, store, file.position, file.integrity)[0]

    with workers(_AT_ONCE) as pool:
        return list(pool.map(one, files))


def pin(
    name: str, url: str, store: Store, position: Position, integrity: str = "", *, latest: bool = False
) -> tuple[LockedFile, Path]:
    """The pinned file of a URL, and where it is in the store.

    `integrity` is what the source says of it ("sha512-<base64>", Subresource Integrity); it is
    held to that. `latest` pins where the URL leads today, for one that leads elsewhere tomorrow.
    Raises ResolveError.
    """
    key = f"pin:{integrity}:{url}"
    if integrity and (text := read_memo(store.path, key)) is not None:
        sha256, size = json.loads(text)
        if (path := store.blob(f"sha256:{sha256}")) is not None:
            return LockedFile(name, url, sha256, size), path
    digest, size, path, end = _download(url, store, position, integrity)
    sha256 = digest.removeprefix("sha256:")
    if integrity:
        store.set_memo(key, json.dumps([sha256, size]))
    return LockedFile(name, end if latest else url, sha256, size), path


def _download(url: str, store: Store, position: Position, integrity: str) -> tuple[str, int, Path, str]:
    """Digest, size, place, and the URL that redirections ended at."""
    algorithm, _, wanted = integrity.partition("-")
    most = limits.current().download

    def once() -> tuple[str, int, Path, str]:
        hasher = hashlib.new(algorithm) if integrity else None
        with answers.answered(url, position) as response, store.blob_writer() as writer:
            if response.status != 200:
                kind = MissingError if response.status in (404, 410) else ResolveError
                raise kind(f"HTTP status {response.status}", position=position, subject=redacted(url))
            for chunk in client.pieces(response):
                raise_if_cancelled(redacted(url))
                writer.write(chunk)
                if writer.size > most:
                    raise ResolveError(
                        f"{redacted(url)} is larger than {limits.shown_size(most)}",
                        position=position,
                        advice=limits.advice("download", most),
                    )
                if hasher is not None:
                    hasher.update(chunk)
            if hasher is not None and base64.b64encode(hasher.digest()).decode() != wanted:
                raise ResolveError(
                    f"{redacted(url)} is not the file that its source describes: its {algorithm} "
                    "does not fit",
                    position=position,
                )
            end = urljoin(url, response.geturl() or url)
            return writer.digest, writer.size, writer.commit(), end

    return answers.tried(once, url, position)
