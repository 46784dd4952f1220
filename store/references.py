"""Names of images in a registry, and what a push to one did."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from store import redirects

_REFERENCE = re.compile(
    r"(?P<host>[\w.-]+(:\d+)?|\[[0-9a-f:]+\](:\d+)?)/(?P<name>[a-z0-9]+([._/-]+[a-z0-9]+)*)"
    r"(:(?P<tag>[\w][\w.-]{0,127}))?",
    re.ASCII,
)


@dataclass(frozen=True)
class Reference:
    """HOST/NAME:TAG."""

    host: str
    name: str
    tag: str = "latest"

    def __str__(self) -> str:
        return f"{self.host}/{self.name}:{self.tag}"

    @property
    def loopback(self) -> bool:
        """Whether the registry is on this machine."""
        return redirects.is_loopback(self.host)


@dataclass(frozen=True)
class Count:
    """Some blobs: how many, and their bytes."""

    blobs: int
    bytes: int


def count(sizes: Sequence[int]) -> Count:
    """How many blobs of these sizes, and their bytes."""
    return Count(len(sizes), sum(sizes))


@dataclass(frozen=True)
class PushReport:
    """What a push did with the blobs: sent, found there, mounted from another repository."""

    sent: Count
    skipped: Count
    mounted: Count


def parse_reference(text: str) -> Reference:
    """The parts of "HOST[:PORT]/NAME[:TAG]". Raises ValueError."""
    match = _REFERENCE.fullmatch(text)
    if match is None or not ({".", ":"} & set(match["host"]) or match["host"] == "localhost"):
        raise ValueError(
            f"'{text}' is not a valid image reference; write HOST/NAME:TAG, such as "
            "registry.example.org/team/env:v1"
        )
    return Reference(match["host"], match["name"], match["tag"] or "latest")
