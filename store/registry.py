"""One repository of an OCI registry: what can be asked of it. How it is asked is `store.channel`'s
affair, uploads are `store.uploads`', pushes of whole images `store.pushing`'s.

Protocol: OCI distribution specification 1.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from store import bodies, pushing, ranges, retry, uploads
from store.channel import Channel, is_named
from store.errors import BrokenOffError, RegistryError
from store.exchange import Answer
from store.libraries import urllib3
from store.pushing import MANIFEST_TYPE, Known, Part, Watch
from store.references import PushReport, Reference

__all__ = ["MANIFEST_TYPE", "Known", "Part", "Registry", "Watch"]


class Registry:
    """One repository of a registry. Safe to use from many threads.

    `endpoint` ("http://127.0.0.1:5000") is a mirror that is asked in the registry's place; `patience`
    says how long it may keep silent, and how often it is asked: a cache, whose answer is not needed,
    is asked with `Patience(first=5, silent=5, attempts=1)`.
    """

    def __init__(
        self, reference: Reference, endpoint: str = "", patience: retry.Patience | None = None
    ) -> None:
        self.reference = reference
        self._channel = Channel(reference, endpoint, patience or retry.Patience())
        self._root = self._channel.root

    @property
    def place(self) -> str:
        """The host (and port) that is asked."""
        return self._channel.host

    # Writing

    def has_blob(self, digest: str) -> bool:
        """Whether the repository has a blob. Raises RegistryError."""
        return pushing.has_blob(self._channel, digest)

    def push_blob(self, digest: str, content: Path | bytes, mount: str | None = None) -> bool:
        """Upload a blob, or have it mounted from the repository `mount`; whether it was. Raises
        RegistryError, and CorruptError for a stored file that is damaged."""
        self._channel.blob(digest)  # or it raises
        begun = uploads.begin(self._channel, digest, mount) if mount else None
        if mount and begun is None:
            return True
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        uploads.send(self._channel, uploads.Blob(digest, size, content), begun)
        return False

    def push_image(
        self,
        parts: Iterable[Part],
        manifest: bytes,
        also: Sequence[str] = (),
        known: Known | None = None,
        watch: Watch | None = None,
    ) -> PushReport:
        """Push parts side by side, then the manifest that names them, under the reference's tag and
        those in `also`. Parts that the registry has are not sent, and their bytes not asked for.
        Raises RegistryError, CorruptError, and what a part's function raises."""
        tags = list(dict.fromkeys((self.reference.tag, *also)))
        return pushing.push(self._channel, parts, manifest, tags, known, watch)

    def push_tags(
        self, parts: Iterable[Part], manifests: Sequence[tuple[str, bytes]], known: Known | None = None
    ) -> PushReport:
        """Push parts side by side, then manifests (tag, bytes) that name them, in that order. Raises as
        `push_image` does."""
        return pushing.push_tags(self._channel, parts, manifests, known)

    def remove(self, tag: str, digest: str = "") -> bool:
        """Remove a tag, or, where a registry does that only by digest, the manifest and all its tags when
        its `digest` is given; whether the registry does such a thing. What is not there is removed
        already. Raises RegistryError."""
        for name in (tag, digest) if digest else (tag,):
            answer = self._channel.request("DELETE", self._channel.manifest(name))
            answer = self._channel.expect(answer, f"removing {tag}", 200, 202, 204, 400, 404, 405, 501)
            if answer.status in (200, 202, 204) or (answer.status == 404 and name == digest):
                return True
        return False

    # Reading

    def manifest(self, name: str, media_types: Sequence[str]) -> bytes | None:
        """The manifest of a tag or digest, or None when there is none. Raises RegistryError."""
        url = self._channel.manifest(name)
        answer = self._channel.request("GET", url, headers={"Accept": ", ".join(media_types)})
        answer = self._channel.expect(answer, f"manifest {name}", 200, 404)
        return None if answer.status == 404 else answer.body

    def tags(self) -> list[str]:
        """The repository's tags, the first ten thousand. Raises RegistryError."""
        answer = self._channel.request("GET", f"{self._channel.base}/tags/list?n=10000")
        answer = self._channel.expect(answer, "its tags", 200, 404)
        try:
            return [str(tag) for tag in answer.json().get("tags") or [] if is_named(str(tag))]
        except (ValueError, AttributeError, TypeError, RecursionError) as error:
            raise RegistryError(f"{self.place}: its list of tags is malformed") from error

    @contextmanager
    def blob(
        self, digest: str, offset: int = 0, length: int = 0
    ) -> Iterator[tuple[int, Iterator[bytes]] | None]:
        """Open a blob, or `length` bytes of it: where its bytes begin (`offset`; or 0, and all of it
        comes), and the bytes; None when it is not there. Raises RegistryError, also while the bytes are
        read."""
        with self._opened(digest, offset, length) as answer:
            yield None if answer is None else (offset if answer.status == 206 else 0, self._body(answer))

    @contextmanager
    def sized_blob(self, digest: str, offset: int, size: int) -> Iterator[tuple[int, Iterator[bytes]] | None]:
        """`blob` of one of `size` bytes: a large one comes through several connections, from a registry
        that gives parts."""
        part = ranges.PART if size - offset >= ranges.LARGE else 0
        with self._opened(digest, offset, part) as answer:
            if answer is None:
                yield None
                return
            found = self._body(answer)
            if part and answer.status == 206:
                found = ranges.continued(found, partial(self.blob, digest), offset, size)
            yield offset if answer.status == 206 else 0, found

    @contextmanager
    def _opened(self, digest: str, offset: int, length: int) -> Iterator[Answer | None]:
        """The answer that a blob is read from: 206 when it has what was asked for, 200 when all of it
        comes; None when the blob is not there."""
        # What lies compressed in a registry is wanted as it lies.
        headers = {"Accept-Encoding": "identity"}
        wanted = f"{offset}-{offset + length - 1 if length else ''}"
        if offset or length:
            headers["Range"] = f"bytes={wanted}"
        answer = self._channel.request("GET", self._channel.blob(digest), headers=headers, stream=True)
        try:
            answer = self._channel.expect(answer, f"blob {digest[:19]}", 200, 206, 404, 416)
            given = answer.headers.get("Content-Range", "")
            # 416: what we have is longer than the blob. Either way: from the start.
            unfit = answer.status == 206 and not given.startswith(f"bytes {wanted}")
            if answer.status == 416 or (unfit and "Range" in headers):
                answer.close()
                with self._opened(digest, 0, 0) as whole:
                    yield whole
                return
            yield None if answer.status == 404 else answer
        finally:
            answer.close()

    def _body(self, answer: Answer) -> Iterator[bytes]:
        try:
            yield from bodies.pieces(answer.raw)
            answer.raw.release_conn()
        except (urllib3.exceptions.HTTPError, retry.TransientError) as error:
            raise BrokenOffError(str(self._channel.unreachable(retry.reason(error)))) from error
