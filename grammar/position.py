"""`Position`: a place in a source file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Position:
    """A place in a source file. `line` and `column` count from 1; 0 means unknown."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        file = self.file.translate(_ESCAPES)  # of one line, whatever a directory is called
        return f"{file}:{self.line}:{self.column}"


_ESCAPES = {code: repr(chr(code))[1:-1] for code in (*range(32), 127)}
NOWHERE = Position("<default>", 0, 0)
