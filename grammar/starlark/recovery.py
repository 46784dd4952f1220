"""Parsing on after a syntax error, so that independent errors are reported together.

A statement that does not parse is replaced by one that does (`pass`, or `if 1:` above a block) and
the file is parsed again. What could only give an error that follows from the first (indentation
that fits nothing, a statement that was replaced already) ends the search.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from grammar.environment import Position
from grammar.errors import MAX_ERRORS, SpecError, together
from grammar.starlark import syntax
from grammar.starlark.parser import parse

_OPEN, _CLOSE = "([{", ")]}"
_TOKEN = re.compile(
    r"""(?P<string>[rb]{0,2}(?:\"\"\"|'''|"|'))|(?P<comment>\#[^\n]*)|(?P<open>[(\[{])"""
    r"""|(?P<close>[)\]}])|(?P<joined>\\\n)|(?P<line>\n)""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class _Statement:
    """Lines `first` to `last` (from 0) of one logical line; `unclosed` is where a bracket opens
    that nothing closes."""

    first: int
    last: int
    unclosed: tuple[str, int, int] | None = None


def parse_all(text: str, filename: str) -> tuple[syntax.Node, ...]:
    """The statements of a file. Raises SpecError, or SpecErrors with one for each statement that
    does not parse."""
    try:
        return parse(text, filename)
    except SpecError as error:
        first = error
    raise together(_further(text, filename, first)).with_source(text)


def _further(text: str, filename: str, error: SpecError) -> list[SpecError]:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found: list[SpecError] = []
    replaced: set[int] = set()
    guessed = -1  # the line after a statement whose end is only a guess
    while len(found) <= MAX_ERRORS:
        number = error.position.line - 1
        statement = _statement(lines, number)
        covered = set(range(statement.first, statement.last + 1))
        if replaced & covered or (found and _follows(error, lines, number == guessed)):
            break
        found.append(_cause(error, statement))
        if "exceptions" in error.message:  # try, except and finally are one mistake
            found[-1].once = "exceptions"
        if "indentation" in error.message or number >= len(lines):
            break
        if "string" in error.message and re.search(r"\"\"\"|'''", text):
            break  # what is a string from here on, and what is not, may be the other way round
        _replace(lines, statement)
        replaced |= covered
        guessed = statement.last + 1 if statement.unclosed else -1
        try:
            parse("\n".join(lines), filename)
            break
        except SpecError as another:
            error = another
    return found


def _follows(error: SpecError, lines: list[str], guessed: bool) -> bool:
    """Whether an error may come from the one before it: it is where the end of a statement was
    guessed, or about brackets and indentation whose beginning was replaced."""
    number = error.position.line - 1
    line = lines[number].strip() if number < len(lines) else ""
    return (
        guessed
        or "indentation" in error.message
        or (line[:1] in tuple(_CLOSE) and error.message.startswith("unexpected"))
    )


def _cause(error: SpecError, statement: _Statement) -> SpecError:
    if statement.unclosed is None or not error.message.startswith(("unexpected", "two strings")):
        return error
    bracket, line, column = statement.unclosed
    if error.position.line == line + 1 and "end of the " not in error.message:
        return error
    where = Position(error.position.file, line + 1, column + 1)
    return SpecError(f"'{bracket}' is never closed", where)


def _replace(lines: list[str], statement: _Statement) -> None:
    first = lines[statement.first]
    indentation = first[: len(first) - len(first.lstrip())]
    below = next((x for x in lines[statement.last + 1 :] if x.strip()), "")
    deeper = _width(below) > _width(first)
    for number in range(statement.first, statement.last + 1):
        lines[number] = ""
    lines[statement.first] = indentation + ("if 1:" if deeper else "pass")


def _width(line: str) -> int:
    expanded = line.expandtabs(8)
    return len(expanded) - len(expanded.lstrip())


def _statement(lines: list[str], number: int) -> _Statement:
    """The logical line that the line `number` belongs to."""
    first = 0
    while True:
        statement = _one(lines, first)
        if statement.unclosed or not statement.last < min(number, len(lines) - 1):
            return statement
        first = statement.last + 1


def _one(lines: list[str], first: int) -> _Statement:
    """The logical line that begins at line `first`."""
    brackets: list[tuple[str, int, int]] = []
    line, at = first, 0
    while line < len(lines):
        match = _TOKEN.search(lines[line] + "\n", at)
        if match is None:
            break
        at = match.end()
        if match["open"]:
            brackets.append((match["open"], line, match.start()))
        elif match["close"]:
            opener = _OPEN[_CLOSE.index(match["close"])]
            if opener in (b[0] for b in brackets):  # what is open inside it was forgotten
                while brackets.pop()[0] != opener:
                    pass
        elif match["string"]:
            line, at = _after_string(lines, line, at, match["string"].lstrip("rb"))
        elif match["joined"] or match["line"]:
            if match["line"] and not brackets:
                return _Statement(first, line)
            line, at = line + 1, 0
    if not brackets:
        return _Statement(first, min(line, len(lines) - 1))
    # at least to the first bracket: a joined line before it is part of the statement
    last = max(_guessed_end(lines, first), brackets[0][1])
    return _Statement(first, last, [b for b in brackets if b[1] <= last][-1])


def _after_string(lines: list[str], line: int, at: int, quote: str) -> tuple[int, int]:
    """Where a string ends that begins before `at`: an unfinished one ends with its line."""
    triple = len(quote) == 3
    while line < len(lines):
        text = lines[line]
        while at < len(text):
            if text[at] == "\\":
                at += 2
            elif text.startswith(quote, at):
                return line, at + len(quote)
            else:
                at += 1
        if not triple and at == len(text):
            return line, at
        line, at = line + 1, 0
    return len(lines), 0


def _guessed_end(lines: list[str], first: int) -> int:
    """Where a statement with an unclosed bracket was meant to end: before the next line that is
    not further in, unless that begins with a closing bracket."""
    for number in range(first + 1, len(lines)):
        content = lines[number].strip()
        if content and content[0] not in _CLOSE and _width(lines[number]) <= _width(lines[first]):
            return number - 1
    return len(lines) - 1
