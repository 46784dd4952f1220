"""Searches from the right, strips and first keys: what they give, also where Python's own way would
take a time that grows with the square of the size. A program here that does would not end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grammar.starlark import backwards
from tests.unit.starlark_cases import check, lines, run

LONG = r"""
("a" * 2000000).rfind("ab" + "a" * 1000000) -> -1
("a" * 2000000).rindex("ab" + "a" * 1000000) !! substring not found
len(("a" * 2000000).rsplit("ab" + "a" * 1000000)) -> 1
("a" * 2000000).rpartition("ab" + "a" * 1000000)[0] -> ""
("x" + "ab" * 2000 + "a" * 600).rfind("ab" + "a" * 600) -> 3999
("ä" * 200000).rfind("äb" + "ä" * 100000) -> -1
len(("a" * 4000000).strip("b" * 3999999 + "a")) -> 0
len(("a" * 4000000).lstrip("b" * 3999999 + "a")) -> 0
len(("a" * 4000000).rstrip("b" * 3999999 + "a")) -> 0
"{0000000000001}".format("a", "b") -> "b"
"{99999999999999999999}".format("a") !! format index 99999999999999999999 out of range: got 1 arguments
"""
FIRST = """
def f():
    x = {start}
    for i in range(200000): {step}
    return len(x)
n = f()
"""


@pytest.mark.parametrize("line", lines(LONG))
def test_long_texts(line: str) -> None:
    check(line)


@pytest.mark.parametrize(
    ("start", "step", "left"),
    [
        ("set(range(200000))", "x.pop()", 0),
        ("dict([(i, i) for i in range(200000)])", "x.popitem()", 0),
        ("dict([(i, i) for i in range(200001)])", "x.pop(i)", 1),
        ("set(range(200001))", "x.remove(i)", 1),
        ("set(range(200001))", "x.discard(i)", 1),
        ("set(range(200001))", "[x.discard(i), [k for k in x if k < 0][:0] if i % 9999 == 0 else 0]", 1),
    ],
)
def test_first_keys(start: str, step: str, left: int) -> None:
    assert run(FIRST.format(start=start, step=step), max_steps=50_000_000)["n"] == left


def test_order_survives() -> None:
    text = """
def f():
    x = dict([(i, 0) for i in range(3000)])
    for i in range(1400): x.popitem()
    x[0] = 1
    return x.keys()
keys = f()
"""
    assert list(run(text)["keys"]) == [*range(1400, 3000), 0]


TEXTS = st.text("ab", max_size=30) | st.binary(max_size=12)


@given(TEXTS, TEXTS, st.integers(-40, 40), st.integers(-40, 40), st.integers(-1, 5))
def test_backwards_is_pythons_own(text: Any, sought: Any, start: int, end: int, limit: int) -> None:
    if type(text) is not type(sought):
        return
    small, backwards._SMALL = backwards._SMALL, -1
    try:
        assert backwards.find(text, sought, start, end) == text.rfind(sought, start, end)
        if sought:
            assert backwards.split(text, sought, limit) == text.rsplit(sought, limit)
            assert backwards.partition(text, sought) == text.rpartition(sought)
    finally:
        backwards._SMALL = small
