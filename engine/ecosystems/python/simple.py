"""Which versions of a package a Python index has: uv names none of those that do not fit.

Simple repository API: PEP 503 (the HTML form, which every index has), PEP 592 (yanked files).
"""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion

from engine.ecosystems.python.uv import Sources
from engine.errors import ResolveError
from engine.net import machine
from engine.net.answers import get
from engine.net.local import is_local
from engine.net.uv_settings import bare
from grammar.environment import Position


class _Files(HTMLParser):
    """The texts of a page's links, but for yanked files."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self._inside = tag == "a" and "data-yanked" not in dict(attrs)
        if self._inside:
            self.names.append("")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.names[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = False


def versions(name: str, sources: Sources, position: Position) -> list[str] | None:
    """The numbers ("12.9.1") of the released versions of `name` that the indexes have, which are those
    of `sources`, else this machine's. None when one of them does not answer."""
    here = machine.current()
    if sources.no_index or (here.no_index and not sources.index):
        return None
    indexes = (
        [sources.index, *sources.extra]
        if sources.index
        else [bare(here.index) or machine.PYPI, *map(bare, here.extra), *sources.extra]
    )
    found: set[str] = set()
    for index in indexes:
        if is_local(index):
            return None
        try:
            answer = get(f"{index.rstrip('/')}/{name}/", position)
        except ResolveError:
            return None
        page = _Files()
        page.feed(answer.text() if answer is not None else "")
        found |= set(filter(None, (_number(file.strip()) for file in page.names)))
    return sorted(found)


def _number(file: str) -> str:
    """The version of a file, "" for a pre-release and for what is no file of a package's."""
    try:
        version = parse_wheel_filename(file)[1] if file.endswith(".whl") else parse_sdist_filename(file)[1]
    except (InvalidSdistFilename, InvalidWheelFilename, InvalidVersion):
        return ""
    return "" if version.is_prerelease else ".".join(map(str, version.release))
