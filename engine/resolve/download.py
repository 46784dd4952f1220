"""Files whose SHA-256 no index gives: downloaded once at lock time, straight into the store.

A build needs them anyway. What an index does give (an MD5, a size) is checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from engine.errors import ResolveError
from engine.fetch import request, shown
from engine.lock import LockedFile
from grammar.environment import Position
from store import Store

_CHUNK = 1 << 20
_AT_ONCE = 8


@dataclass(frozen=True)
class Wanted:
    """A file to pin. `md5` (32 hex digits) is "" when unknown; `name` too (then the URL's last
    part); `fallback` is what to ask for where `url` is not."""

    url: str
    position: Position
    name: str = ""
    md5: str = ""
    fallback: str = ""


def pin(
    files: list[Wanted], store: Path, log: Callable[[str], None]
) -> list[LockedFile]:
    """Download `files` into the store at `store`; in order. Raises ResolveError."""
    opened = Store.open(store)
    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(lambda wanted: _pin(wanted, opened, log), files))
    finally:
        opened.close()


def path_of(file: LockedFile, store: Path) -> Path:
    """Where a pinned file lies in the store at `store`; fetched when it is gone."""
    from engine.derivation import Fetch
    from engine.fetch import fetch

    opened = Store.open(store)
    try:
        return fetch(Fetch(file.name, file.url, file.sha256, file.size), opened)
    finally:
        opened.close()


def _pin(wanted: Wanted, store: Store, log: Callable[[str], None]) -> LockedFile:
    import urllib3

    log(f"downloading {shown(wanted.url)}")
    try:
        response = request(wanted.url)
        try:
            if response.status == 404 and wanted.fallback:
                return _pin(
                    Wanted(wanted.fallback, wanted.position, wanted.name, wanted.md5), store, log
                )
            if response.status != 200:
                raise ResolveError(
                    f"{wanted.position}: {shown(wanted.url)}: HTTP status {response.status}"
                )
            # Where redirections ended: what "latest" meant today, and may not mean tomorrow.
            url = str(response.geturl() or wanted.url)
            md5 = hashlib.md5(usedforsecurity=False)
            with store.blob_writer() as blob:
                for chunk in response.stream(_CHUNK, decode_content=False):
                    blob.write(chunk)
                    md5.update(chunk)
                if wanted.md5 and md5.hexdigest() != wanted.md5.lower():
                    raise ResolveError(
                        f"{wanted.position}: {shown(url)} is not the file of its index: its MD5 is "
                        f"{md5.hexdigest()}, expected {wanted.md5}; try another mirror"
                    )
                blob.commit()
                digest, size = blob.digest.partition(":")[2], blob.size
            response.release_conn()
        finally:
            response.close()
    except urllib3.exceptions.HTTPError as error:
        raise ResolveError(f"{wanted.position}: cannot reach {shown(wanted.url)}: {error}") from error
    url = url if "://" in url else wanted.url
    name = wanted.name or unquote(urlsplit(url).path).rpartition("/")[2] or "file"
    return LockedFile(name, url, digest, size)
