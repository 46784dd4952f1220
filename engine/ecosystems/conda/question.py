"""What rattler's solver is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Question:
    """`specs` are MatchSpecs, each with whether it is in the strict form; `virtual` are the virtual
    packages: name, version, build."""

    specs: Sequence[tuple[str, bool]]
    channels: Sequence[str]
    virtual: Sequence[tuple[str, str, str]]
    cache: str


@dataclass(frozen=True)
class Record:
    """One package of a solution. `sha256` is "" when its channel gives none."""

    name: str
    version: str
    build: str
    subdir: str
    file_name: str
    url: str
    sha256: str
    size: int
    depends: Sequence[str]


@dataclass(frozen=True)
class Solution:
    """`records`, or why there are none: the solver's words, and the names that the channels have."""

    records: Sequence[Record] = ()
    reason: str = ""
    known: Sequence[str] = field(default=())
