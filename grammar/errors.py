"""What bad input raises: `SpecError`, and `SpecErrors` when there are several at once."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from grammar import sources
from grammar.position import Position

# Beyond this many, more errors help nobody.
MAX_ERRORS = 20
_WIDTH = 200  # of what is shown of a line
_LONGEST = 2000  # characters of a message: a spec may quote a value of millions


class SpecError(Exception):
    """What is wrong with a spec: a message, where, and the source line with a caret.

    `once` names a mistake that may be met at several places (an unknown name, say), of which only
    the first is worth an error.
    """

    exit_code = 2  # of a command that it ends

    def __init__(
        self, message: str, position: Position, source: str = "", stack: Iterable[str] = (), once: str = ""
    ) -> None:
        if len(message) > _LONGEST:
            message = f"{message[: _LONGEST // 2]}[…]{message[-_LONGEST // 4 :]}"
        super().__init__(message)
        self.message = message
        self.position = position
        self.source = source
        self.stack = tuple(stack)
        self.once = once

    @property
    def errors(self) -> tuple[SpecError, ...]:
        """The single errors: this one, or those of a group."""
        return (self,)

    def with_source(self, source: str, file: str | None = None) -> SpecError:
        """The same error, able to show the line it is about (of `file`: by default, its own)."""
        for error in self.errors:
            if not error.source and file in (None, error.position.file):
                error.source = source
        return self

    def with_files(self) -> SpecError:
        """The same error, with the lines of the files that it names, where they can be had."""
        for error in self.errors:
            if not error.source and error.position.line:
                error.source = sources.text_of(error.position.file)
        return self

    def __str__(self) -> str:
        text = f"{self.position}: error: {self.message}"
        lines = self.source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if 0 < self.position.line <= len(lines):
            line = lines[self.position.line - 1]
            shown = "".join(c if c.isprintable() else " " for c in line)
            start = max(0, self.position.column - _WIDTH // 2) if len(shown) > _WIDTH else 0
            caret = " " * _columns(shown[start : self.position.column - 1]) + "^"
            text += f"\n{self.position.line:>5} | {shown[start : start + _WIDTH]}\n      | {caret}"
        for entry in self.stack:
            text += f"\n      called from {entry}"
        return text


def _columns(text: str) -> int:
    """How wide a terminal shows a text (Unicode Standard Annex 11)."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


class SpecErrors(SpecError):
    """Several independent errors, in the order of the source. It stands for its first."""

    def __init__(self, errors: tuple[SpecError, ...], left_out: int = 0) -> None:
        first = errors[0]
        super().__init__(first.message, first.position, first.source, first.stack)
        self._errors = errors
        self.left_out = left_out

    @property
    def errors(self) -> tuple[SpecError, ...]:
        return self._errors

    def __str__(self) -> str:
        more = f"\nand {self.left_out} more errors" if self.left_out else ""
        return "\n".join(str(error) for error in self._errors) + more


def together(errors: Iterable[SpecError]) -> SpecError:
    """One error for all of `errors`: sorted by place, each mistake once."""
    single = sorted((e for error in errors for e in error.errors), key=lambda e: e.position)
    found: list[SpecError] = []
    seen: set[object] = set()
    for error in single:
        key = error.once or (error.position, error.message)
        if key not in seen:
            seen.add(key)
            found.append(error)
    if len(found) == 1:
        return found[0]
    return SpecErrors(tuple(found[:MAX_ERRORS]), len(found[MAX_ERRORS:]))


class Problems:
    """Collects errors, so that one mistake does not hide the next: `with problems: …`, then
    `problems.check()`."""

    def __init__(self) -> None:
        self.errors: list[SpecError] = []

    def __enter__(self) -> Problems:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, SpecError):
            self.errors.extend(error.errors)
            return True
        return False

    def check(self) -> None:
        """Raise what was collected, if anything."""
        if self.errors:
            raise together(self.errors)
