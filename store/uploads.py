"""Uploading one blob to a repository: mounted from another one, sent whole, or sent in chunks.

A blob is sent whole, in one request: the fewest for the many small ones, and what every registry takes.
One above LARGE bytes goes in chunks of CHUNK, for what broke off goes on where it stopped, while a
single request begins anew; so does one whose single request was refused as too large (413: proxies
have limits, such as 100 MB) or broke off twice. A registry that takes no chunks, or only smaller ones
(some: 4 MB), is told by its answers: then the other way is tried, or a chunk of half the size.

Protocol: OCI distribution specification 1.1, "Pushing blobs": POST, then PUT; or POST, PATCH for each
chunk, PUT; GET of an upload's location says how much of it is there. An upload belongs to one attempt
of one process: what is left of one that failed is the registry's to clean up.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from store import blobs
from store.channel import Channel
from store.errors import DeniedError, RegistryError
from store.exchange import Answer, Body, BrokenError, codes, problems
from store.retry import ATTEMPTS, TransientError

LARGE = 256 << 20
CHUNK = 64 << 20
LEAST = 1 << 20  # bytes of the smallest chunk that is tried
_BYTES = {"Content-Type": "application/octet-stream"}
_STEP = 4 << 20  # bytes between two reports of how far an upload is
Moved = Callable[[int], None]  # is told how many bytes have been sent


class _OtherWayError(Exception):
    """A registry does not take a blob in this way. `answer` is what it says."""

    def __init__(self, answer: Answer | None = None) -> None:
        super().__init__()
        self.answer = answer


@dataclass(frozen=True)
class Upload:
    """An upload that a registry has begun: where it goes on, and the least bytes of a chunk."""

    url: str
    least: int = 0


@dataclass(frozen=True)
class Blob:
    """What is uploaded."""

    digest: str
    size: int
    content: Path | bytes
    moved: Moved = lambda sent: None

    @property
    def what(self) -> str:
        """It, in a message."""
        return f"uploading {self.digest[:19]}"

    def body(self) -> Body:
        """All of it; a stored file is compared with its digest while it is read."""
        if isinstance(self.content, bytes):
            return Body(self.size, lambda: self.content)  # type: ignore[arg-type, return-value]
        opened = partial(blobs.CheckedFile, self.content, self.digest, self.size, self.digest[:19])
        return Body(self.size, lambda: _Watched(opened(), self.moved))

    def part(self, offset: int, size: int) -> Body:
        """Some of it."""

        def opened() -> _Watched:
            file: BinaryIO
            file = BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")
            file.seek(offset)
            return _Watched(file, self.moved, offset, size)

        return Body(size, opened)


class _Watched:
    """`size` bytes of a file, whose reader's progress is told."""

    def __init__(
        self, file: BinaryIO | blobs.CheckedFile, moved: Moved, sent: int = 0, size: int = 1 << 62
    ) -> None:
        self._file, self._moved, self._sent, self._left, self._told = file, moved, sent, size, sent

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(min(size, self._left) if size >= 0 else self._left)
        self._left -= len(data)
        self._sent += len(data)
        if self._sent - self._told >= _STEP:
            self._told = self._sent
            self._moved(self._sent)
        return data

    def close(self) -> None:
        self._file.close()


def begin(channel: Channel, digest: str, mount: str = "") -> Upload | None:
    """An upload, begun; None when the blob was mounted from the repository `mount` instead. Raises
    RegistryError."""
    channel.blob(digest)  # or it raises
    start = f"{channel.base}/blobs/uploads/"
    what = "starting an upload"

    def once(first: float) -> Upload | None:
        mounting = bool(mount)
        if mount:
            try:
                query = f"?mount={digest}&from={quote(mount)}"
                answer = channel.once("POST", f"{start}{query}", source=mount, first=first)
            except DeniedError:  # whom it belongs to may not be who pushes
                mounting = False
        if not mounting:
            answer = channel.once("POST", start, first=first)
        # 201: mounted; 202: it is not there (or may not be read), so upload it.
        if channel.expect(answer, what, 202, *[201] * mounting).status == 201:
            return None
        least = answer.headers.get("OCI-Chunk-Min-Length", "")
        return Upload(channel.location(answer, what), int(least) if re.fullmatch(r"\d{1,12}", least) else 0)

    return channel.tried(what, once)


def send(channel: Channel, blob: Blob, begun: Upload | None = None) -> None:
    """Upload a blob; `begun` is an upload for it that nothing was sent to yet. Raises RegistryError,
    and CorruptError for a stored file that is damaged."""
    whole = partial(_whole, channel, blob)
    if blob.size <= LARGE:
        ways = [partial(whole, begun), partial(_chunked, channel, blob, None, shrink=True)]
    else:
        first = partial(_chunked, channel, blob, begun, shrink=False)
        ways = [first, partial(whole, None), partial(_chunked, channel, blob, None, shrink=True)]
    answer = None
    for way in ways:
        try:
            way()
            return
        except _OtherWayError as error:
            answer = error.answer or answer
    if answer is None:
        raise RegistryError(f"{channel.host}: {blob.what}: the connection breaks off again and again")
    channel.expect(answer, blob.what, 201)


# -- whole ------------------------------------------------------------------------------------


def _whole(channel: Channel, blob: Blob, begun: Upload | None) -> None:
    broken = refused = 0

    def once(_: float) -> None:
        # An upload that broke off is begun anew: what is left of it is of no use.
        nonlocal begun, broken, refused
        upload, begun = begun or begin(channel, blob.digest), None
        assert upload is not None
        try:
            answer = channel.once("PUT", _named(upload.url, blob.digest), headers=_BYTES, body=blob.body())
        except TransientError as error:
            broken += isinstance(error, BrokenError)
            if broken >= 2 and blob.size > LEAST:  # it may be too much at once
                raise _OtherWayError from error
            raise
        if answer.status == 413:
            raise _OtherWayError(answer)
        if answer.status in (400, 404, 416) and not refused:
            # Docker's registry, say, mixes up uploads of one blob that end at the same time.
            refused += 1
            _check(blob)
            raise TransientError(f"HTTP status {answer.status} {problems(answer)}".rstrip())
        channel.expect(answer, blob.what, 201)

    channel.tried(blob.what, once, patient=True)


def _check(blob: Blob) -> None:
    """Raise CorruptError for a stored file that is damaged: a registry would not say what is wrong."""
    if isinstance(blob.content, Path):
        blobs.check(blob.content, blob.digest, blob.digest[:19])


def _named(url: str, digest: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}digest={digest}"


# -- in chunks --------------------------------------------------------------------------------


@dataclass
class _Progress:
    """How far an upload in chunks is. It is not `sure` after a chunk that broke off."""

    upload: Upload | None
    offset: int = 0
    sure: bool = True
    begun: int = 0
    broken: int = 0  # chunks in a row that did not get through


def _chunked(channel: Channel, blob: Blob, begun: Upload | None, *, shrink: bool) -> None:
    # What was too much at once is not tried as one chunk.
    chunk = max(LEAST, min(CHUNK, blob.size // 2)) if shrink else CHUNK
    progress = _Progress(begun)
    done = False
    while not done:
        step = partial(_step, channel, blob, progress, chunk)
        try:
            done = channel.tried(blob.what, step, patient=True)
        except _OtherWayError as error:
            least = max(LEAST, progress.upload.least if progress.upload else 0)
            if not shrink or chunk <= least or (error.answer is not None and error.answer.status != 413):
                raise
            chunk, progress.broken = max(least, chunk // 2), 0


def _step(channel: Channel, blob: Blob, progress: _Progress, chunk: int, first: float) -> bool:
    """Send the next chunk, or what ends the upload; whether that is done. One attempt."""
    if progress.upload is not None and not progress.sure:
        _resume(channel, blob, progress, first)
    if progress.upload is None:
        progress.begun += 1
        if progress.begun > ATTEMPTS:  # each got somewhere, and none to the end
            raise _OtherWayError
        progress.upload, progress.offset, progress.sure = begin(channel, blob.digest), 0, True
    assert progress.upload is not None
    progress.sure = False
    if progress.offset >= blob.size:
        _finish(channel, blob, progress)
        return True
    size = min(max(chunk, progress.upload.least), blob.size - progress.offset)
    end = progress.offset + size
    try:
        answer = channel.once(
            "PATCH",
            progress.upload.url,
            headers={**_BYTES, "Content-Range": f"{progress.offset}-{end - 1}"},
            body=blob.part(progress.offset, size),
        )
    except TransientError as error:
        progress.broken += isinstance(error, BrokenError)
        if progress.broken >= 2:  # who refuses what is too large may close before that can be heard
            raise _OtherWayError from error
        raise
    progress.broken = 0
    if answer.status in (405, 413, 501) or "UNSUPPORTED" in codes(answer):
        progress.upload = None  # what it has become is not known
        raise _OtherWayError(answer)
    _again_unless(answer, progress, 202)
    channel.expect(answer, blob.what, 202)
    there = _there(answer)
    if there is not None and not progress.offset <= there <= end:
        progress.upload = None
        raise TransientError(f"the registry says that it has {there} of {end} bytes")
    progress.upload = Upload(channel.location(answer, blob.what), progress.upload.least)
    progress.offset = end if there is None else there
    progress.sure = True
    blob.moved(progress.offset)
    return False


def _finish(channel: Channel, blob: Blob, progress: _Progress) -> None:
    assert progress.upload is not None
    answer = channel.once("PUT", _named(progress.upload.url, blob.digest))
    if answer.status == 400:
        _check(blob)
    _again_unless(answer, progress, 201)
    channel.expect(answer, blob.what, 201)


def _again_unless(answer: Answer, progress: _Progress, status: int) -> None:
    """Begin anew when a registry no longer knows the upload, or has other bytes of it."""
    if answer.status != status and answer.status in (400, 404, 416):
        progress.upload = None
        raise TransientError(f"HTTP status {answer.status} {problems(answer)}".rstrip())


def _resume(channel: Channel, blob: Blob, progress: _Progress, first: float) -> None:
    """Ask how much of a chunk that broke off is there; begin anew when that cannot be known."""
    assert progress.upload is not None
    answer = channel.once("GET", progress.upload.url, first=first)
    there = _there(answer)
    if answer.status not in (202, 204) or there is None or there > blob.size:
        progress.upload = None
        return
    url = channel.location(answer, blob.what) if "Location" in answer.headers else progress.upload.url
    progress.upload, progress.offset = Upload(url, progress.upload.least), there


def _there(answer: Answer) -> int | None:
    """How many bytes an answer's Range ("0-N", both ends included) says are there. Of nothing at all
    registries say "0-0" or "0--1"."""
    match = re.fullmatch(r"(?:bytes=)?0-(-?\d{1,18})", answer.headers.get("Range", ""))
    if match is None:
        return None
    last = int(match[1])
    return last + 1 if last > 0 else 0
