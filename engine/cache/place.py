"""Where packs are kept, as the rest of the cache sees it: a repository of a registry, or a directory.

A *pack* is what one build shares: OCI image manifests whose configuration lists signed realisations, and
whose layers are those of images (see `engine.cache.pack`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from store import Store


@dataclass(frozen=True)
class Blob:
    """A blob to be kept: its digest ("sha256:<hex>"), its size in bytes, and its bytes: themselves, a
    file, or who brings the file, which is asked only when the place lacks the blob."""

    digest: str
    size: int
    content: bytes | Path | Callable[[], Path]


@dataclass(frozen=True)
class Sent:
    """What publishing did: the bytes that went, those that were there, those mounted from another
    repository, and how many of each."""

    sent: int = 0
    sent_bytes: int = 0
    there: int = 0
    mounted: int = 0


class Place(Protocol):
    """Where packs are kept. Whatever comes from there is foreign until it was checked.

    Every method raises RegistryError or OSError when the place does not answer.
    """

    @property
    def name(self) -> str:
        """What it is called in messages; without a password."""

    def manifest(self, tag: str) -> bytes | None:
        """The manifest under a tag, at most 4 MiB; None when there is none."""

    def read(self, digest: str, limit: int) -> bytes | None:
        """A blob of at most `limit` bytes, held to its digest; None when it is not there."""

    def bring(self, digest: str, size: int, store: Store, progress: Callable[[int], None]) -> bool:
        """Bring a blob into the store, held to its digest and size; whether it was there. `progress`
        is told of the bytes that have come."""

    def publish(self, blobs: Sequence[Blob], manifests: Sequence[tuple[str, bytes]]) -> Sent:
        """Keep the blobs, then the manifests (tag, bytes) that name them, in that order: whoever reads
        meanwhile sees whole packs alone."""

    def tags(self) -> list[str]:
        """Every tag."""
