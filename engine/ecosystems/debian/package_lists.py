"""An archive's package lists, read without parsing what nobody asks for.

A release's list is 50 MB of some 60,000 paragraphs, of which a lock needs a hundred: where each
begins is found once, and a paragraph is parsed when it is wanted. Format: Debian's repository
format, deb822(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_FIELD = re.compile(r"^([A-Za-z0-9_-]+):[ \t]*(.*(?:\n[ \t].*)*)", re.MULTILINE)
_START = re.compile(rb"^Package: *(\S+)", re.MULTILINE)
_PROVIDES = re.compile(rb"^Provides:(.*)$", re.MULTILINE)


def parse_stanzas(text: str) -> Iterator[dict[str, str]]:
    """Every paragraph of a control file."""
    for paragraph in re.split(r"\n[ \t]*\n", text):
        if fields := {m[1]: m[2] for m in _FIELD.finditer(paragraph)}:
            yield fields


@dataclass(frozen=True)
class Entry:
    """One paragraph: its fields, and the list that it is in."""

    fields: dict[str, str]
    source: Path


@dataclass(frozen=True)
class PackageLists:
    """`sources` are the lists, the one to be preferred first."""

    sources: Sequence[Path]

    @cached_property
    def _data(self) -> list[bytes]:
        return [path.read_bytes() for path in self.sources]

    @cached_property
    def _places(self) -> dict[str, list[tuple[int, int]]]:
        """Package name -> (number of the list, offset) of its paragraphs."""
        found: dict[bytes, list[tuple[int, int]]] = {}
        for number, data in enumerate(self._data):
            for match in _START.finditer(data):
                found.setdefault(match[1], []).append((number, match.start()))
        return {name.decode("utf-8", "replace"): places for name, places in found.items()}

    @property
    def names(self) -> list[str]:
        """Every package name."""
        return list(self._places)

    def entries(self, name: str) -> list[Entry]:
        """All paragraphs of a package."""
        found = []
        for number, start in self._places.get(name, ()):
            data = self._data[number]
            end = data.find(b"\n\n", start)
            text = data[start : end if end >= 0 else len(data)].decode("utf-8", "replace")
            found += [Entry(fields, self.sources[number]) for fields in parse_stanzas(text)]
        return found

    def holding(self, *lines: str) -> list[str]:
        """Names of the packages that have one of these lines in a paragraph, sorted."""
        found = set()
        for data in self._data:
            for line in lines:
                wanted = f"\n{line}\n".encode()
                at = data.find(wanted)
                while at >= 0:
                    match = _START.search(data, max(data.rfind(b"\n\n", 0, at), 0), at)
                    if match is not None:
                        found.add(match[1].decode("utf-8", "replace"))
                    at = data.find(wanted, at + 1)
        return sorted(found)

    def provides(self, name: str) -> bool:
        """Whether a package has that name, really or virtually."""
        if name in self._places:
            return True
        word = re.compile(rb"(?<![\w.+-])" + re.escape(name.encode()) + rb"(?![\w.+-])")
        return any(word.search(m[1]) for data in self._data for m in _PROVIDES.finditer(data))
