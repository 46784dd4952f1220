"""Upstream projects' own download sites: asking them, and choosing among the versions they have."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.version import InvalidVersion, Version

from engine.core.urls import redacted
from engine.errors import ResolveError
from engine.net.answers import Answer, answered, get, tried
from grammar.environment import Position

NEAREST = 4  # known versions that an error names


@dataclass(frozen=True)
class Upstream:
    """A download site. `setting` is the environment variable that names another one, a mirror of
    `default`; `name` is what errors call it."""

    name: str
    setting: str
    default: str

    @property
    def url(self) -> str:
        """Where it is, without a slash at its end."""
        return (os.environ.get(self.setting) or self.default).rstrip("/")

    def get(self, path: str, position: Position) -> Answer | None:
        """GET a path below it, None when it is not there.

        Raises ResolveError, which says how to name another site.
        """
        try:
            return get(f"{self.url}{path}", position)
        except ResolveError as error:
            raise error.advised(self.advice) from error

    def require(self, path: str, position: Position) -> Answer:
        """GET a path that has to be there. Raises ResolveError."""
        answer = self.get(path, position)
        if answer is None:
            raise ResolveError(f"{self.url}{path} is not there", position=position, advice=self.advice)
        return answer

    @property
    def advice(self) -> str:
        """What to do when it does not answer as it should."""
        return f"set {self.setting} to a mirror of {self.name}"

    def unreadable(self, path: str, position: Position) -> ResolveError:
        """The error of an answer that is not what the site gives."""
        return ResolveError(
            f"{self.url}{path} is not an answer of {self.name}", position=position, advice=self.advice
        )

    def size(self, url: str, position: Position) -> int:
        """The size in bytes that a file's headers give, 0 when they give none.

        Raises ResolveError when the file is not there.
        """

        def once() -> tuple[int, str]:
            with answered(url, position, "HEAD") as response:
                return response.status, response.headers.get("Content-Length", "")

        try:
            status, text = tried(once, url, position)
        except ResolveError as error:
            raise error.advised(self.advice) from error
        if status == 404:
            raise ResolveError(f"{redacted(url)} is not there", position=position, advice=self.advice)
        return int(text) if status == 200 and text.isdecimal() else 0


def checksums(text: str) -> dict[str, str]:
    """File name -> SHA-256, from what sha256sum(1) writes."""
    rows = (line.split() for line in text.splitlines())
    return {row[1].removeprefix("*"): row[0].lower() for row in rows if len(row) == 2 and len(row[0]) == 64}


# -- versions ---------------------------------------------------------------------------------


def choose(wanted: str, known: Iterable[str], what: str, position: Position) -> str:
    """The newest of the `known` versions that is `wanted` or begins with it ("1.22" -> "1.22.5");
    "" takes the newest of all. Only a `wanted` that names one in full gets a pre-release.

    Raises ResolveError naming the nearest ones.
    """
    parsed: dict[str, Any] = {}
    for text in known:
        try:
            parsed[text] = Version(text)
        except InvalidVersion:
            continue
    ordered = sorted(parsed, key=parsed.__getitem__)
    if wanted in parsed and wanted.count(".") >= 2:
        return wanted
    fitting = [v for v in ordered if begins(v, wanted) and not parsed[v].is_prerelease]
    if fitting:
        return fitting[-1]
    if wanted in parsed:
        return wanted
    raise ResolveError(
        f"{what} has no version {wanted or '(any)'}",
        position=position,
        subject=what,
        advice=_hint(wanted, parsed),
    )


def begins(version: str, wanted: str) -> bool:
    """Whether `version` is `wanted`, or one of the versions that it stands for."""
    return not wanted or version == wanted or version.startswith(f"{wanted}.")


def _hint(wanted: str, parsed: Mapping[str, Any]) -> str:
    """The known versions around `wanted`, and the newest."""
    ordered = [v for v in sorted(parsed, key=parsed.__getitem__) if not parsed[v].is_prerelease]
    if not ordered:
        return ""
    newest = f"the newest is {ordered[-1]}"
    try:
        target = Version(wanted)
    except InvalidVersion:
        return newest
    below = [v for v in ordered if parsed[v] < target][-NEAREST // 2 :]
    above = [v for v in ordered if parsed[v] > target][: NEAREST // 2]
    return f"near it are {', '.join(below + above)}; {newest}"
