"""Modules, functions and signatures stay small enough to be read in one sitting."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("envd", "grammar", "store", "engine")
LINES, FUNCTION, PARAMETERS = 450, 60, 7
# One class: a statement or expression of the language is compiled by one method each.
WHOLE = {"compiler.py"}


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    given = function.args
    names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(names) + bool(given.vararg) + bool(given.kwarg) - (names[:1] in (["self"], ["cls"]))


def measured(name: str, text: str) -> Iterator[tuple[str, int, int]]:
    """What a module measures, with the limit of each: (what, measure, limit)."""
    if name not in WHOLE:
        yield name, text.count("\n"), LINES
    for function in _functions(ast.parse(text)):
        assert function.end_lineno is not None
        yield f"{name}:{function.name}", function.end_lineno - function.lineno + 1, FUNCTION
        yield f"{name}:{function.name}()", _parameters(function), PARAMETERS


def test_nothing_grows_beyond_the_limits() -> None:
    above: dict[str, int] = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for what, measure, limit in measured(path.name, path.read_text("utf-8")):
                if measure > limit:
                    above[what] = max(measure, above.get(what, 0))
    assert above == {}, "split these"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("\n" * 451, ("m.py", 451, 450)),
        ("def f():\n" + "    x = 1\n" * 60, ("m.py:f", 61, 60)),
        ("def f(a, b, c, d, /, e, *, g, **h): ...\n", ("m.py:f()", 7, 7)),
        ("class C:\n    def f(self, a, *b, **c): ...\n", ("m.py:f()", 3, 7)),
        ("async def f(a, b, c, d, e, f, g, h): ...\n", ("m.py:f()", 8, 7)),
    ],
)
def test_what_is_measured(text: str, what: tuple[str, int, int]) -> None:
    assert what in list(measured("m.py", text))
