"""Fetching one file that the lock pins by its SHA-256 into the store.

The bytes are hashed while they stream into `tmp/partial-<sha256>`; a broken transfer leaves
that file and the next attempt (of this or a later process) continues it with a Range request
(RFC 9110, section 14).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote, urlsplit

from engine.core.command import pause as pause_for
from engine.core.command import raise_if_cancelled
from engine.core.derivation import Fetch
from engine.core.events import Event, Sink, silent
from engine.core.urls import MARK, UNCHECKED, redacted
from engine.errors import FetchError, OfflineError
from engine.net import client
from store import Store, limits, offline, pull, redirects, retry
from store.errors import RegistryError
from store.libraries import urllib3
from store.retry import ATTEMPTS, TransientError

CONNECTIONS = client.CONNECTIONS
_CHUNK = 1 << 18
_PROGRESS_STEP = 1 << 21  # bytes between two progress events

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse


class _GoneError(FetchError):
    """The source has no such file, or no longer."""


class _ShortError(TransientError):
    """Fewer bytes came than the lock says: a connection that broke off, or another file."""


class _RangeError(TransientError):
    """What an earlier attempt left is of no use."""


def fetch(wanted: Fetch, store: Store, emit: Sink = silent, *, pause: float = retry.PAUSE) -> Path:
    """The file's path in the store, fetched when it is not there yet.

    `pause` is the first wait before a retry, in seconds; it doubles. Raises FetchError, which
    names the package and the URL.
    """
    if (path := store.checked_blob(wanted.output)) is not None:
        return path
    with store.lock(
        f"fetch-{wanted.sha256}", f"fetches {wanted.name}", lambda: raise_if_cancelled(wanted.name)
    ):
        if (path := store.checked_blob(wanted.output)) is not None:  # another one was quicker
            return path
        return _fetch(wanted, store, emit, pause)


def _fetch(wanted: Fetch, store: Store, emit: Sink, pause: float) -> Path:
    if not is_local(wanted.url) and offline.is_on():
        raise OfflineError(
            f"is not in the store, and {redacted(wanted.url)} must not be asked for it offline",
            subject=wanted.name,
            advice=offline.ADVICE,
        )
    begin = time.monotonic()
    emit(Event("fetch-start", wanted.name, id=wanted.drv_id, total=wanted.size))
    partial = store.path / "tmp" / f"partial-{wanted.sha256}"
    stuck = 0  # attempts in a row that brought no byte
    for attempt in range(1, ATTEMPTS + 1):
        raise_if_cancelled(wanted.name)
        before = _size(partial)
        try:
            # Some servers break off, again and again, when they are asked for a part.
            size = _attempt(wanted, partial, emit, whole=stuck >= 2, first=attempt == 1)
            break
        except _GoneError:
            if not wanted.fallback:
                raise
            wanted = replace(wanted, url=wanted.fallback, fallback="")
        except TransientError as error:
            raise_if_cancelled(wanted.name)
            stuck = 0 if _size(partial) != before else stuck + 1
            if isinstance(error, _RangeError):
                partial.unlink(missing_ok=True)
            seconds = retry.wait(attempt, error, pause)
            if seconds is None:
                again = (
                    "run this again: it continues where it stopped" if _size(partial) else "run this again"
                )
                if isinstance(error, _ShortError):
                    raise FetchError(
                        f"{redacted(wanted.url)} is not the file that the lock pins, or is cut off on "
                        f"its way: {error} ({retry.tried(attempt, error)}), expected sha256 "
                        f"{wanted.sha256}",
                        subject=wanted.name,
                        advice=f"check the network and {again}; if the source changed it on purpose, "
                        "run `envd lock` again",
                    ) from error
                raise FetchError(
                    f"cannot fetch {redacted(wanted.url)}: {error} ({retry.tried(attempt, error)})",
                    subject=wanted.name,
                    advice=f"check the network and {again}",
                ) from error
            emit(Event("message", wanted.name, id=wanted.drv_id, text=retry.said(attempt, seconds, error)))
            pause_for(seconds, wanted.name)
    path = store.adopt_blob(partial, wanted.output)
    seconds = time.monotonic() - begin
    emit(Event("fetch-finish", wanted.name, id=wanted.drv_id, bytes=size, seconds=seconds))
    return path


def is_local(url: str) -> bool:
    """Whether a file is fetched from this machine's own file system."""
    return urlsplit(url).scheme == "file"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _attempt(wanted: Fetch, partial: Path, emit: Sink, *, whole: bool, first: bool) -> int:
    """Bring `partial` to its end, verified and synced; returns its size. With `whole` the source
    is asked for all of it again; what is there is kept until it answers."""
    with partial.open("a+b") as file:
        file.seek(0)
        hasher = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
        offset = file.tell()
        resumed = offset > 0
        if not (wanted.size and offset == wanted.size):
            with _open(wanted, 0 if whole else offset) as (start, chunks):
                if start == 0 and offset:  # the server sends the whole file again
                    resumed, offset = False, 0
                    hasher = hashlib.sha256()
                    file.truncate(0)
                offset = _stream(wanted, chunks, file, hasher, offset, emit)
        found = hasher.hexdigest()
        if found != wanted.sha256:
            if wanted.size and offset < wanted.size:
                raise _ShortError(f"the body ended after {offset} of {wanted.size} bytes")
            file.truncate(0)
            if resumed:
                raise TransientError("what an earlier attempt left does not fit")
            if first and not wanted.size:  # as many indexes give none, it may be a broken-off body
                raise TransientError(f"{offset} bytes came that are not what the lock pins")
            raise FetchError(
                f"{redacted(wanted.url)} is not the file that the lock pins: its sha256 is {found} "
                f"({offset} bytes), expected {wanted.sha256}; if the source changed it on purpose, "
                "run `envd lock` again",
                subject=wanted.name,
            )
        file.flush()
        os.fsync(file.fileno())
    return offset


def _stream(
    wanted: Fetch, chunks: Iterator[bytes], file: BinaryIO, hasher: hashlib._Hash, offset: int, emit: Sink
) -> int:
    announced = offset
    most = limits.current().download
    for chunk in chunks:
        raise_if_cancelled(wanted.name)
        file.write(chunk)
        hasher.update(chunk)
        offset += len(chunk)
        if wanted.size and offset > wanted.size:  # the hash cannot fit any more
            break
        if not wanted.size and offset > most:
            file.truncate(0)
            raise FetchError(
                f"{redacted(wanted.url)} is larger than {limits.shown_size(most)}",
                subject=wanted.name,
                advice=limits.advice("download", most),
            )
        if offset - announced >= _PROGRESS_STEP:
            announced = offset
            emit(Event("fetch-progress", wanted.name, id=wanted.drv_id, bytes=offset, total=wanted.size))
    return offset


@contextmanager
def _open(wanted: Fetch, offset: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Open the source: where its bytes begin (0 or `offset`), and the bytes."""
    scheme = urlsplit(wanted.url).scheme
    if scheme == "file":
        with _open_file(wanted) as file:
            file.seek(offset)
            yield offset, iter(lambda: file.read(_CHUNK), b"")
    elif scheme in ("http", "https", UNCHECKED):
        with _open_http(wanted, offset) as opened:
            yield opened
    elif scheme == "oci":
        with _open_registry(wanted, offset) as opened:
            yield opened
    else:
        raise FetchError(
            f"cannot fetch {redacted(wanted.url)}: only http, https, oci and file URLs", subject=wanted.name
        )


@contextmanager
def _open_registry(wanted: Fetch, offset: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    """A blob of a registry's: the URL is oci://HOST/NAME."""
    image = pull.parse_image(wanted.url.removeprefix("oci://"))
    opened = False
    try:
        with pull.blob(image, f"sha256:{wanted.sha256}", offset, wanted.size) as found:
            opened = True
            yield found
    except RegistryError as error:
        if opened:
            raise TransientError(str(error)) from error
        raise FetchError(f"cannot fetch it: {error}", subject=wanted.name) from error


def _open_file(wanted: Fetch) -> BinaryIO:
    path = Path(unquote(urlsplit(wanted.url).path))
    try:
        return path.open("rb")
    except OSError as error:
        raise FetchError(f"{path}: {error.strerror}", subject=wanted.name) from error


@contextmanager
def _open_http(wanted: Fetch, offset: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    response = None
    try:
        response = client.send(wanted.url, offset)
        start = _start(wanted, response, offset)
        yield start, client.pieces(response)
        response.release_conn()
    except (urllib3.exceptions.HTTPError, redirects.RedirectError, OSError) as error:
        if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
            raise  # of our own disk
        if client.hopeless(error):
            raise FetchError(
                f"cannot fetch {redacted(wanted.url)}: {retry.reason(error)}",
                subject=wanted.name,
                advice=client.advice(error),
            ) from error
        raise TransientError(retry.reason(error)) from error
    finally:
        if response is not None:
            response.close()


def _start(wanted: Fetch, response: BaseHTTPResponse, offset: int) -> int:
    """Where the bytes of an answer begin. Raises when it is not an answer to use."""
    status = response.status
    if status == 206:
        given = response.headers.get("Content-Range", "")
        if given.startswith(f"bytes {offset}-"):
            return offset
        raise _RangeError(f"the server sent '{given}' for a range from {offset}")
    if status == 200:
        return 0
    if status == 416:
        raise _RangeError(f"the server has no byte {offset}")
    if status in retry.STATUSES:
        raise retry.refused(status, response.headers)
    advice = {
        401: "give a user name and password in the index's URL",
        403: "the source refuses access",
        404: "the source no longer has it; run `envd lock` again",
        410: "the source no longer has it; run `envd lock` again",
    }.get(status, "the source cannot be used")
    if MARK in wanted.url and status < 500:
        # The spec and this machine's settings put back what they have of it (`engine.net.origins`).
        advice = (
            "its address held a secret, which is in no lock; give it with the index's or the file's "
            "own address in the spec or in this machine's settings"
        )
    kind = _GoneError if status in (404, 410) else FetchError
    raise kind(
        f"cannot fetch {redacted(wanted.url)}: HTTP status {status}", subject=wanted.name, advice=advice
    )
