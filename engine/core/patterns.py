"""Patterns of .dockerignore files, with the meaning that Docker gives them.

Format: Docker's documentation of .dockerignore; where that is silent, what moby/patternmatcher
and BuildKit do, down to `**` without a slash and to the order in which lines that begin with "!"
count. Paths are strings relative to the project, with "/" between their parts.

Without pathlib and dataclasses: an idle build reads ignore files.
"""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class PatternError(ValueError):
    """A pattern that means nothing. Says which, and why."""


class Pattern:
    """One line. With `back` it takes back what lines before it have left out; `where` is the line's
    place, for messages; `base` is a directory that its paths are relative to, with a slash."""

    __slots__ = ("_base", "_regex", "back", "text", "where")

    def __init__(self, text: str, *, where: str = "", base: str = "") -> None:
        """Raises PatternError."""
        self.where, self._base = where, base
        self.back = text.startswith("!")
        cleaned = text[1:].strip() if self.back else text.strip()
        if not cleaned:
            raise PatternError("'!' takes nothing back; write !PATTERN")
        cleaned = re.sub(r"^//+", "/", os.path.normpath(cleaned))
        self.text = cleaned[1:] if len(cleaned) > 1 and cleaned.startswith("/") else cleaned
        self._regex = re.compile(_translated(self.text))

    def matches(self, path: str) -> bool:
        """Whether it fits this very path, whatever its parents."""
        return path.startswith(self._base) and self._regex.fullmatch(path, len(self._base)) is not None

    def may_match_below(self, directory: str) -> bool:
        """Whether it could fit something in a directory."""
        if not f"{directory}/".startswith(self._base):
            return self._base.startswith(f"{directory}/")
        names = directory[len(self._base) :].split("/")
        parts = self.text.split("/")
        for part, name in zip(parts, names, strict=False):
            if "**" in part or not name:
                return True
            if re.fullmatch(_translated(part), name) is None:
                return False
        return len(parts) > len(names)

    def __str__(self) -> str:
        return f"!{self.text}" if self.back else self.text


def parse(text: str, where: str) -> list[Pattern]:
    """The patterns of an ignore file; `where` is its name. Raises PatternError, which names the
    line."""
    found = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if line.startswith("#") or not line.strip():
            continue
        try:
            found.append(Pattern(line.strip(), where=f"{where}:{number}"))
        except PatternError as error:
            raise PatternError(f"{where}:{number}: {error}") from None
    return found


class Rules:
    """Patterns in their order: the last that fits decides."""

    __slots__ = ("patterns",)

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self.patterns = tuple(patterns)

    def match(self, path: str, above: Sequence[bool] = ()) -> tuple[bool, list[bool]]:
        """Whether a path is left out, and which patterns fit it or a directory above it; `above` is
        the latter for its parent."""
        out = False
        fits = [False] * len(self.patterns)
        for number, pattern in enumerate(self.patterns):
            if (above and above[number]) or pattern.matches(path):
                fits[number] = True
                out = not pattern.back
        return out, fits

    def takes_back_below(self, directory: str) -> bool:
        """Whether something in a directory that is left out could be in again."""
        return any(p.back and p.may_match_below(directory) for p in self.patterns)

    def reason(self, path: str) -> Pattern | None:
        """The pattern by which a path is left out, or None when it is not."""
        above: Sequence[bool] = ()
        parts = path.split("/")
        out = False
        for depth in range(1, len(parts) + 1):
            out, above = self.match("/".join(parts[:depth]), above)
        if not out:
            return None
        return [p for p, fit in zip(self.patterns, above, strict=True) if fit and not p.back][-1]


def _translated(pattern: str) -> str:
    """A regular expression for whole paths."""
    if "**" in pattern and (plain := _only_stars_at_an_end(pattern)) is not None:
        return plain
    out, at = "", 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*" and pattern[at : at + 1] == "*":
            at += 1
            if pattern[at : at + 1] == "/":
                at += 1
            out += ".*" if at == len(pattern) else "(?:.*/)?"
        elif character == "*":
            out += "[^/]*"
        elif character == "?":
            out += "[^/]"
        elif character == "[":
            members, at = _class(pattern, at)
            out += members
        elif character == "\\":
            if at == len(pattern):
                raise PatternError(f"'{pattern}': nothing follows the last backslash")
            out += re.escape(pattern[at])
            at += 1
        else:
            out += re.escape(character)
    return out


_SPECIAL = frozenset("*?[\\")


def _only_stars_at_an_end(pattern: str) -> str | None:
    """`**` before or after plain text is the end or the beginning of a path, even without a slash
    between."""
    if pattern.startswith("**") and not _SPECIAL & set(pattern[2:]):
        rest = pattern[2:]
        if rest in ("", "/"):
            return "(?s:.*)"
        if rest.startswith("/"):
            return f"(?s:(?:.*/)?{re.escape(rest[1:])})"
        return f"(?s:.*{re.escape(rest)})"
    if pattern.endswith("**") and not _SPECIAL & set(pattern[:-2]):
        return f"(?s:{re.escape(pattern[:-2])}.*)"
    return None


def _class(pattern: str, at: int) -> tuple[str, int]:
    """A character class that begins before `at`, as a regular expression, and where it ends."""
    negated = pattern[at : at + 1] == "^"
    at += negated
    members = ""
    while True:
        if pattern[at : at + 1] == "]" and members:
            break
        low, at = _member(pattern, at)
        members += re.escape(low)
        if pattern[at : at + 1] == "-":
            high, at = _member(pattern, at + 1)
            if high < low:
                raise PatternError(f"'{pattern}': '{low}-{high}' is an empty range")
            members += f"-{re.escape(high)}"
    return f"[{'^' if negated else ''}{members}]", at + 1


def _member(pattern: str, at: int) -> tuple[str, int]:
    character = pattern[at : at + 1]
    if character == "\\":
        at += 1
        character = pattern[at : at + 1]
    elif character in ("-", "]"):
        raise PatternError(f"'{pattern}': write '\\{character}' for '{character}' between [ and ]")
    if not character:
        raise PatternError(f"'{pattern}': a '[' without its ']'")
    return character, at + 1
