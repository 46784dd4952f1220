"""Versions and version ranges as Julia's registries write them.

Versions are semantic ones (Base.VersionNumber); ranges are those of a registry's Compat.toml and
Deps.toml (Pkg.Versions): "1.2" is all of 1.2, "0.5-1" from 0.5 to before 2, "*" everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import total_ordering

_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?")
_BOUND = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?")
_Words = tuple[tuple[int, int, str], ...]


def _words(text: str) -> _Words:
    """Identifiers in their order: numbers by value and before words."""
    return tuple((0, int(w), "") if w.isdecimal() else (1, 0, w) for w in text.split(".") if w)


@total_ordering
@dataclass(frozen=True)
class Version:
    """A version: its three numbers, pre-release and build identifiers ("" for none)."""

    numbers: tuple[int, int, int]
    prerelease: str = ""
    build: str = ""

    @classmethod
    def parse(cls, text: str) -> Version:
        """Raises ValueError."""
        match = _VERSION.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"'{text}' is not a valid version")
        major, minor, patch = (int(match[n]) for n in (1, 2, 3))
        return cls((major, minor, patch), match[4] or "", match[5] or "")

    @property
    def _key(self) -> tuple[tuple[int, int, int], bool, _Words, _Words]:
        return self.numbers, not self.prerelease, _words(self.prerelease), _words(self.build)

    def __lt__(self, other: Version) -> bool:
        return self._key < other._key

    def __str__(self) -> str:
        text = ".".join(map(str, self.numbers))
        return (
            text
            + (f"-{self.prerelease}" if self.prerelease else "")
            + (f"+{self.build}" if self.build else "")
        )


@dataclass(frozen=True)
class Ranges:
    """A union of ranges; `text` is as it was written. Bounds are the leading numbers that count."""

    text: str
    bounds: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]

    @classmethod
    def parse(cls, given: str | Iterable[str]) -> Ranges:
        """The ranges that a string ("1.2, 2") or a list of such strings names. Raises ValueError."""
        texts = [given] if isinstance(given, str) else list(given)
        return cls(", ".join(texts), tuple(_range(text) for text in texts))

    def __contains__(self, version: Version) -> bool:
        numbers = version.numbers
        return any(numbers[: len(low)] >= low and numbers[: len(high)] <= high for low, high in self.bounds)

    def __str__(self) -> str:
        return self.text


def _range(text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    low, dash, high = (part.strip() for part in text.partition("-"))
    return _bound(low), _bound(high if dash else low)


def _bound(text: str) -> tuple[int, ...]:
    if text == "*":
        return ()
    match = _BOUND.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is not a valid version bound")
    return tuple(int(number) for number in match.groups() if number is not None)
