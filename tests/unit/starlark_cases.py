"""Tables of Starlark: what an expression is, what a program leaves behind, and what is refused.

A line `EXPRESSION -> REPR` says what repr() of the expression is, `EXPRESSION !! WORDS` what the
error says. Programs are divided by lines of `---`; each ends with such a line about an expression
in its scope, or with `!! WORDS` (and, when it is given, `@LINE:COLUMN`) about itself.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from grammar.errors import SpecError
from grammar.starlark.builtins import UNIVERSE
from grammar.starlark.interpreter import Interpreter
from grammar.starlark.limits import MAX_STEPS
from grammar.starlark.parser import parse
from grammar.starlark.printing import represent
from grammar.starlark.resolver import STANDARD, Dialect


def run(text: str, dialect: Dialect = STANDARD, max_steps: int = MAX_STEPS) -> dict[str, Any]:
    """The globals of a program."""
    interpreter = Interpreter(UNIVERSE, max_steps, dialect=dialect)
    return dict(interpreter.run(parse(text, "t.star")))


def value(expression: str) -> str:
    """repr() of an expression."""
    return represent(run(f"x = {expression}\n")["x"])


def lines(table: str) -> list[str]:
    """The lines of a table that say something."""
    return [
        line.strip()
        for line in table.strip().split("\n")
        if line.strip() and not line.strip().startswith("##")
    ]


def check(line: str) -> None:
    """One line of a table of expressions."""
    expression, arrow, expected = _divided(line)
    if arrow == "->":
        assert value(expression) == expected
        return
    with pytest.raises(SpecError) as caught:
        value(expression)
    assert expected in caught.value.message


def programs(table: str) -> list[str]:
    """The programs of a table."""
    return [block.strip("\n") for block in re.split(r"(?m)^---$", table) if block.strip()]


def check_program(block: str, dialect: Dialect = STANDARD) -> None:
    """One program of a table."""
    text, _, last = block.rpartition("\n")
    expression, arrow, expected = _divided(last)
    if arrow == "->":
        names = run(f"{text}\nresult_ = {expression}\n", dialect)
        assert represent(names["result_"]) == expected
        return
    words, _, place = expected.partition(" @")
    if expression:
        text = f"{text}\nresult_ = {expression}"
    with pytest.raises(SpecError) as caught:
        run(text + "\n", dialect)
    assert words in caught.value.message
    if place:
        position = caught.value.position
        assert f"{position.line}:{position.column}" == place


def _divided(line: str) -> tuple[str, str, str]:
    for arrow in (" -> ", " !! ", "!! "):
        before, found, after = line.rpartition(arrow)
        if found:
            return before.strip(), arrow.strip(), after.strip()
    raise ValueError(f"no arrow: {line}")
