"""What the functions of `envd` give, as frozen records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layer:
    """One layer: the digest ("sha256:…") and size in bytes of its blob, compressed as it is pushed, and
    the digest of what is in it (its diffID)."""

    digest: str
    size: int
    diff_id: str


@dataclass(frozen=True)
class Built:
    """An image that is there. `image_id` is the digest of its configuration (what Docker calls its ID),
    `digest` that of its manifest (what a registry calls it by); `tags` are all
    its names in the store; `layers` lie from the bottom up.

    `built`, `cached`, `substituted` and `fetched` are the names of the derivations that were built, that
    the store had, that another machine has built, and of the files that were fetched, in the order of
    their end; all empty when nothing had to be done.
    `messages` is what was said, such as that no Docker engine answers.
    """

    image_id: str
    digest: str
    tags: tuple[str, ...]
    layers: tuple[Layer, ...]
    built: tuple[str, ...]
    cached: tuple[str, ...]
    substituted: tuple[str, ...]
    fetched: tuple[str, ...]
    messages: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of all layers, compressed."""
        return sum(layer.size for layer in self.layers)


@dataclass(frozen=True)
class Locked:
    """A lock: the number and the size in bytes of the files that it pins, and whether it was written
    anew."""

    path: Path
    files: int
    size: int
    changed: bool
    messages: tuple[str, ...]


@dataclass(frozen=True)
class Pushed:
    """An image in a registry: `reference` is HOST/NAME:TAG@DIGEST, `digest` its manifest's; the
    rest as in `Built`."""

    reference: str
    digest: str
    built: tuple[str, ...]
    cached: tuple[str, ...]
    substituted: tuple[str, ...]
    fetched: tuple[str, ...]
    messages: tuple[str, ...]


@dataclass(frozen=True)
class Pulled:
    """An image that was fetched; as in `Built`."""

    image_id: str
    digest: str
    tags: tuple[str, ...]
    layers: tuple[Layer, ...]
    fetched: tuple[str, ...]
    messages: tuple[str, ...]
