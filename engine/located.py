"""Errors that name the user's own line, shown with that line."""

from __future__ import annotations

import re

from grammar.environment import NOWHERE, Position
from grammar.errors import SpecError, together

_LOCATED = re.compile(r"(?P<file>[^\n:]+):(?P<line>\d+):(?P<column>\d+): (?P<what>.*)", re.DOTALL)


def located(message: str) -> SpecError | None:
    """The errors of a message that says where each is ("FILE:LINE:COLUMN: …"), with the lines of
    those files; None when it does not begin like that."""
    message = message.removeprefix(f"{NOWHERE}: ")
    found: list[SpecError] = []
    for part in re.split(r"\n(?=[^\n:]+:\d+:\d+: )", message):
        match = _LOCATED.fullmatch(part)
        if match is None:
            return None
        position = Position(match["file"], int(match["line"]), int(match["column"]))
        found.append(SpecError(match["what"], position))
    return together(found).with_files()
