"""`SpecError`: the one exception that bad input raises."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from grammar.environment import Position


class SpecError(Exception):
    """What is wrong with a spec: a message, where, and the source line with a caret."""

    def __init__(
        self, message: str, position: Position, source: str = "", stack: Iterable[str] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.source = source
        self.stack = tuple(stack)

    def with_source(self, source: str) -> SpecError:
        """The same error, able to show the line it is about."""
        if not self.source:
            self.source = source
        return self

    def __str__(self) -> str:
        text = f"{self.position}: error: {self.message}"
        lines = self.source.split("\n")
        if 0 < self.position.line <= len(lines):
            line = lines[self.position.line - 1].rstrip("\r")
            shown = line.replace("\t", " ")
            caret = " " * (self.position.column - 1) + "^"
            if len(shown) <= 400:
                text += f"\n{self.position.line:>5} | {shown}\n      | {caret}"
        for entry in self.stack:
            text += f"\n      called from {entry}"
        return text


def suggest(name: str, known: Iterable[str]) -> str:
    """ "; did you mean 'x'?" when something known is close to `name`, else ""."""
    close = get_close_matches(name, sorted(set(known)), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
