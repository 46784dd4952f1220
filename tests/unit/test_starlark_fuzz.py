"""Random Starlark: whatever is written, a SpecError is all that comes out; and where the language
agrees with Python's, so do the results."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from grammar.errors import SpecError
from grammar.starlark.builtins import UNIVERSE
from grammar.starlark.interpreter import Interpreter
from grammar.starlark.limits import Meter
from grammar.starlark.methods import methods_of
from grammar.starlark.parser import parse
from grammar.starlark.printing import display, represent
from grammar.starlark.resolver import Dialect
from grammar.starlark.text import decoded, encoded, joined
from grammar.starlark.values import Dict, Function, List, Set, ValueProblem, compare, equal, keyed, unkeyed

QUICK = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def survives(text: str) -> None:
    """Parse and evaluate a program, call its functions, print its values."""
    interpreter = Interpreter(
        {k: v for k, v in UNIVERSE.items() if k != "print"},
        20_000,
        dialect=Dialect(top_level_control=True, global_reassign=True),
    )
    try:
        names = interpreter.run(parse(text, "f"))
        for value in list(names.values()):
            if isinstance(value, Function):
                interpreter.enter(value)
    except SpecError as error:
        assert str(error).startswith("f:")
        assert error.position.line >= 1
        assert error.position.column >= 1
        return
    for value in names.values():
        with suppress(ValueProblem):
            represent(value)


# -- programs ---------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c", "f", "g", "len", "größe"])
METHODS = st.sampled_from(sorted({m for v in ("", b"", List(), Dict(), Set({})) for m in methods_of(v)}))
BUILTINS = st.sampled_from(sorted(set(UNIVERSE) - {"print", "None", "True", "False"}))
ATOMS = st.one_of(
    NAMES,
    st.integers(-3, 300).map(str),
    st.integers().map(str),
    st.sampled_from(
        [
            "None",
            "True",
            "False",
            "()",
            "[]",
            "{}",
            "set()",
            "''",
            "b''",
            "1 << 70",
            "float('nan')",
            "float('inf')",
            "1e308",
            "-0.0",
            "range(5)",
            "range(1 << 60)",
        ]
    ),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.text(max_size=6)
    .filter(lambda s: "\0" not in s and "\r" not in s)
    .map(lambda s: represent(s.encode("utf-8", "replace").decode())),
    st.binary(max_size=4).map(represent),
    st.sampled_from(["'%s %d %r'", "'{} {0} {x}'", "'a,b c'", "'é😀'", "'%'", "'{'", "b'\\xff'"]),
)
OPERATORS = st.sampled_from(
    [
        "+",
        "-",
        "*",
        "/",
        "//",
        "%",
        "&",
        "|",
        "^",
        "<<",
        ">>",
        "==",
        "!=",
        "<",
        ">",
        "<=",
        ">=",
        "in",
        "not in",
        "and",
        "or",
    ]
)
PARAMETERS = st.sampled_from(
    ["", "a", "a, b=1", "*a", "**a", "a, *b, c=2, **d", "*, a=1", "a=[]", "a, a", "*"]
)


def _compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    arguments = st.lists(
        st.one_of(
            inner,
            inner.map(lambda x: f"*{x}"),
            inner.map(lambda x: f"**{x}"),
            st.tuples(NAMES, inner).map("=".join),
        ),
        max_size=3,
    ).map(", ".join)
    clause = st.tuples(NAMES, inner).map(lambda t: f"for {t[0]} in ({t[1]})")
    clauses = st.lists(st.one_of(clause, inner.map(lambda x: f"if ({x})")), max_size=2).map(" ".join)
    return st.one_of(
        st.tuples(inner, OPERATORS, inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, OPERATORS, inner, OPERATORS, inner).map(" ".join).map("({})".format),
        st.tuples(st.sampled_from(["-", "+", "~", "not "]), inner).map(lambda t: f"({t[0]}{t[1]})"),
        st.lists(inner, max_size=3).map(lambda x: f"[{', '.join(x)}]"),
        st.lists(inner, max_size=3).map(lambda x: f"({', '.join(x)},)" if x else "()"),
        st.lists(st.tuples(inner, inner), max_size=3).map(
            lambda x: "{" + ", ".join(f"{k}: {v}" for k, v in x) + "}"
        ),
        st.tuples(inner, inner).map(lambda t: f"{t[0]}[{t[1]}]"),
        st.tuples(inner, inner, inner, inner).map(lambda t: f"{t[0]}[{t[1]}:{t[2]}:{t[3]}]"),
        st.tuples(inner, METHODS, arguments).map(lambda t: f"{t[0]}.{t[1]}({t[2]})"),
        st.tuples(BUILTINS, arguments).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(inner, arguments).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
        st.tuples(inner, clause, clauses).map(lambda t: f"[{' '.join(t)}]"),
        st.tuples(inner, inner, clause, clauses).map(lambda t: f"{{{t[0]}: {t[1]} {t[2]} {t[3]}}}"),
        st.tuples(PARAMETERS, inner).map(lambda t: f"(lambda {t[0]}: {t[1]})"),
    )


EXPRESSIONS = st.recursive(ATOMS, _compound, max_leaves=12)
TARGETS = st.one_of(
    NAMES,
    st.tuples(NAMES, ATOMS).map(lambda t: f"{t[0]}[{t[1]}]"),
    st.lists(NAMES, min_size=1, max_size=3).map(", ".join),
    st.lists(NAMES, min_size=1, max_size=3).map(lambda x: f"[{', '.join(x)}]"),
)


def _flat(blocks: list[list[str]]) -> list[str]:
    return [line for block in blocks for line in block]


def _statements(depth: int) -> st.SearchStrategy[list[str]]:
    """Lines of a block."""
    simple = st.one_of(
        st.tuples(TARGETS, EXPRESSIONS).map(lambda t: [f"{t[0]} = {t[1]}"]),
        st.tuples(
            TARGETS, st.sampled_from(["+", "-", "*", "/", "//", "%", "&", "|", "^", "<<", ">>"]), EXPRESSIONS
        ).map(lambda t: [f"{t[0]} {t[1]}= {t[2]}"]),
        EXPRESSIONS.map(lambda x: [x]),
        EXPRESSIONS.map(lambda x: [f"return {x}"]),
        st.sampled_from([["pass"], ["break"], ["continue"], ["return"]]),
    )
    if depth == 0:
        return st.lists(simple, min_size=1, max_size=3).map(_flat)
    block = st.deferred(lambda: _statements(depth - 1)).map(lambda x: [f"  {line}" for line in x])
    compound = st.one_of(
        st.tuples(EXPRESSIONS, block, block).map(lambda t: [f"if {t[0]}:", *t[1], "else:", *t[2]]),
        st.tuples(TARGETS, EXPRESSIONS, block).map(lambda t: [f"for {t[0]} in {t[1]}:", *t[2]]),
        st.tuples(NAMES, PARAMETERS, block).map(lambda t: [f"def {t[0]}({t[1]}):", *t[2]]),
    )
    return st.lists(st.one_of(simple, compound), min_size=1, max_size=4).map(_flat)


PROGRAMS = _statements(3).map(lambda x: "\n".join(x) + "\n")


@QUICK
@given(PROGRAMS)
@example("a = 1\na[0] = 2\n")
@example("a = [1]\nfor a[0] in a:\n  pass\n")
@example("def f(*, a=1):\n  return f\nf(**{'a': f})\n")
def test_programs(text: str) -> None:
    survives(text)


@settings(QUICK, max_examples=150)
@given(EXPRESSIONS)
@example("'%c' % 0xd800")
@example("chr(0xdfff).encode")
@example("'é'[:1].upper()")
@example("hash('é'[:1])")
@example("bytes('é'[:1])")
@example("sorted(['é'[:1], 'é'])")
@example("'{}'.format('é'[:1]) + 'é'[1:]")
@example("'\\udc80'")
@example("int('-')")
@example("range(-9223372036854775808, 9223372036854775807)[::-1]")
@example("range(0, 9223372036854775807)[9223372036854775806]")
@example("enumerate(range(3), 1 << 100)")
@example("len(range(1 << 63, 1 << 64, 1 << 62))")
def test_expressions(text: str) -> None:
    survives(f"x = {text}\n")


@QUICK
@given(PROGRAMS, st.integers(0, 400), st.integers(0, 8), st.text(max_size=4))
def test_mutated_programs(text: str, place: int, cut: int, insert: str) -> None:
    survives(text[:place] + insert + text[place + cut :])


@QUICK
@given(st.text(max_size=60))
@example("\ud800")
@example("x = '\ud800'")
@example("\\")
@example("x = \\")
@example("'")
@example("'''")
@example("\t")
@example("\n x")
@example("(\n")
@example("#")
@example("x = 0_")
@example("x = 1if 1else 2")
@example("if 1:\n\\\n x")
@example("x\\\n")
@example("\x1c")
@example("\u2028x")
def test_any_text(text: str) -> None:
    survives(text)


@QUICK
@given(
    st.lists(
        st.sampled_from(
            [
                *[
                    "def",
                    "f",
                    "(",
                    ")",
                    "[",
                    "]",
                    "{",
                    "}",
                    ":",
                    ",",
                    ".",
                    "=",
                    "==",
                    "+",
                    "-",
                    "*",
                    "**",
                    "/",
                    "//",
                    "%",
                    "if",
                    "else",
                    "elif",
                    "for",
                    "in",
                    "not",
                    "and",
                    "or",
                    "lambda",
                    "return",
                    "break",
                    "continue",
                    "pass",
                    "load",
                    "x",
                    "y",
                    "'a'",
                    '"b',
                    "b'c'",
                    "1",
                    "2.5",
                    "0x",
                    "~",
                    "|",
                    "&",
                    "^",
                    "<<",
                    ">>",
                    "+=",
                    "!",
                    ";",
                    "\\",
                    "#",
                    "é",
                    "import",
                    "while",
                ],
                "\n",
                "\n  ",
                "\n    ",
                "\t",
                "'''",
            ]
        ),
        max_size=40,
    ),
    st.sampled_from(["", " "]),
)
def test_any_tokens(tokens: list[str], between: str) -> None:
    survives(between.join(tokens))


# -- against Python ---------------------------------------------------------------------------


def starlark(expression: str) -> Any:
    """The value of an expression, "error" for a SpecError."""
    try:
        return Interpreter(UNIVERSE).run(parse(f"x = {expression}\n", "t"))["x"]
    except SpecError:
        return "error"


def python(expression: str) -> Any:
    """What Python makes of the same expression."""
    try:
        return eval(expression, {"__builtins__": {"int": int, "sorted": sorted, "str": str}})
    except (ArithmeticError, TypeError, ValueError, LookupError):
        return "error"


INTS = st.one_of(st.integers(-20, 20), st.integers(-(1 << 70), 1 << 70))
SMALL = st.integers(0, 70)


def _int_compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%", "&", "|", "^"]), inner).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        st.tuples(inner, st.sampled_from(["<<", ">>"]), SMALL.map(str)).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        st.tuples(inner, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), inner).map(
            lambda t: f"({t[0]} if {t[0]} {t[1]} {t[2]} else {t[2]})"
        ),
        inner.map("(-{})".format),
        inner.map("(~{})".format),
        inner.map("int(str({}))".format),
        st.tuples(inner, inner).map(lambda t: f"({t[0]} and {t[1]})"),
        st.tuples(inner, inner).map(lambda t: f"({t[0]} or {t[1]})"),
    )


@settings(QUICK, max_examples=150)
@given(st.recursive(INTS.map(str), _int_compound, max_leaves=10))
def test_integers_are_pythons(expression: str) -> None:
    assert starlark(expression) == python(expression)


@QUICK
@given(INTS, INTS)
def test_floored_division(x: int, y: int) -> None:
    if y:
        assert starlark(f"({x}) // ({y}) * ({y}) + ({x}) % ({y})") == x


@QUICK
@given(st.text("0123456789abcxyzXO_+- ", max_size=8), st.integers(-1, 38))
def test_int_of_a_string_is_pythons(text: str, base: int) -> None:
    expected = python(f"int({text!r}, {base})")
    if "_" in text or text != text.strip():
        expected = "error"
    if base == 0 and text.lstrip("+-").strip("0") == "" and len(text.lstrip("+-")) > 1:
        expected = "error"  # "00": no int literal of Starlark's
    assert starlark(f"int({represent(text)}, {base})") == expected


FLOATS = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-9, 9).map(float))


@QUICK
@given(FLOATS, FLOATS)
def test_float_arithmetic_is_pythons(x: float, y: float) -> None:
    for operator in "+-*":
        made = starlark(f"float('{x!r}') {operator} float('{y!r}')")
        expected = python(f"{x!r} {operator} {y!r}")
        assert equal(made, expected, Meter())
    if y:
        assert equal(starlark(f"float('{x!r}') / float('{y!r}')"), x / y, Meter())
        assert equal(starlark(f"float('{x!r}') % float('{y!r}')"), x % y, Meter())


@QUICK
@given(FLOATS)
def test_the_text_of_a_float_denotes_it(x: float) -> None:
    text = display(x)
    assert float(text) == x
    assert math.copysign(1, float(text)) == math.copysign(1, x)
    assert "." in text or "e" in text
    assert equal(starlark(text), x, Meter())


@QUICK
@given(st.one_of(INTS, FLOATS), st.one_of(INTS, FLOATS))
def test_numbers_compare_exactly(x: int | float, y: int | float) -> None:
    order = compare(x, y, Meter())
    assert (order < 0, order == 0, order > 0) == (x < y, x == y, x > y)
    assert equal(x, y, Meter()) == (x == y)


BOUNDS = st.one_of(st.none(), st.integers(-9, 9), st.integers(-(1 << 70), 1 << 70))
SEQUENCES = st.one_of(
    st.text("abc", max_size=7),
    st.lists(st.integers(0, 9), max_size=7),
    st.lists(st.integers(0, 9), max_size=7).map(tuple),
    st.binary(max_size=7),
)


@settings(QUICK, max_examples=150)
@given(SEQUENCES, BOUNDS, BOUNDS, BOUNDS)
def test_slices_are_pythons(value: Any, start: int | None, stop: int | None, step: int | None) -> None:
    source = represent(value)
    expected = python(f"{value!r}[{start}:{stop}:{step}]")
    assert starlark(f"{source}[{start}:{stop}:{step}]") == expected
    if start is not None:
        assert starlark(f"{source}[{start}]") == python(f"{value!r}[{start}]")


@QUICK
@given(
    st.integers(-9, 9),
    st.integers(-9, 9),
    st.integers(-4, 4).filter(bool),
    BOUNDS,
    BOUNDS,
    st.integers(-3, 3).filter(bool),
)
def test_slices_of_ranges_are_pythons(
    a: int, b: int, c: int, start: int | None, stop: int | None, step: int
) -> None:
    expected = range(a, b, c)[start:stop:step]
    assert starlark(f"list(range({a}, {b}, {c})[{start}:{stop}:{step}])") == list(expected)
    assert starlark(f"[x for x in range(-20, 20) if x in range({a}, {b}, {c})]") == sorted(range(a, b, c))


TEXTS = st.text("aAbB ,.\n\t-1é", max_size=8)


@settings(QUICK, max_examples=150)
@given(
    TEXTS,
    st.text("aAb, -", min_size=1, max_size=2),
    st.integers(-1, 3),
    st.sampled_from(
        [
            "{0}.replace({1}, '<>')",
            "{0}.replace({1}, '', {2})",
            "{0}.split({1})",
            "{0}.split({1}, {2})",
            "{0}.rsplit({1}, {2})",
            "{0}.split()",
            "{0}.split(None, {2})",
            "{0}.rsplit(None, {2})",
            "{0}.partition({1})",
            "{0}.rpartition({1})",
            "{0}.strip()",
            "{0}.lstrip({1})",
            "{0}.rstrip({1})",
            "{0}.upper()",
            "{0}.lower()",
            "{0}.title()",
            "{0}.capitalize()",
            "{0}.isupper()",
            "{0}.islower()",
            "{0}.istitle()",
            "{0}.isalpha()",
            "{0}.isalnum()",
            "{0}.isspace()",
            "{0}.isdigit()",
            "{0}.startswith({1})",
            "{0}.endswith({1})",
            "{0}.removeprefix({1})",
            "{0}.removesuffix({1})",
            "{1}.join([{0}, {0}])",
            "{1} in {0}",
            "{0} + {1} == {1} + {0}",
            "{0} * {2}",
            "{0} < {1}",
            "sorted([{0}, {1}])",
        ]
    ),
)
def test_methods_of_strings_are_pythons(text: str, part: str, number: int, form: str) -> None:
    expression = form.format(represent(text), represent(part), number)
    assert starlark(expression) == python(expression)


@QUICK
@given(
    st.text("aAb ,", max_size=8),
    st.text("aAb,", max_size=2),
    BOUNDS,
    BOUNDS,
    st.sampled_from(["find", "rfind", "index", "rindex", "count", "startswith", "endswith"]),
)
def test_searching_is_pythons(text: str, part: str, start: int | None, stop: int | None, method: str) -> None:
    expression = f"{represent(text)}.{method}({represent(part)}, {start}, {stop})"
    assert starlark(expression) == python(expression)


@QUICK
@given(
    st.text(max_size=8).filter(lambda s: "\0" not in s and "\r" not in s),
    BOUNDS,
    BOUNDS,
    st.sampled_from([-2, -1, 1, 2]),
)
def test_strings_are_sequences_of_utf_8(text: str, start: int | None, stop: int | None, step: int) -> None:
    text = text.encode("utf-8", "replace").decode()
    data = text.encode()
    literal = represent(text)
    assert starlark(f"len({literal})") == len(data)
    assert encoded(starlark(f"{literal}[{start}:{stop}:{step}]")) == data[start:stop:step]
    assert starlark(f"''.join({literal}.elems())") == text
    assert starlark(f"list({literal}.elem_ords())") == list(data)
    assert starlark(f"list({literal}.codepoint_ords())") == [ord(c) for c in text]
    assert starlark(literal) == text


@QUICK
@given(st.lists(st.binary(max_size=5), max_size=5))
def test_pieces_of_characters_join_again(pieces: list[bytes]) -> None:
    made = joined("".join(map(decoded, pieces)))
    assert encoded(made) == b"".join(pieces)
    assert made == decoded(b"".join(pieces))


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), INTS, st.floats(), st.text(max_size=3), st.binary(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3).map(List), st.lists(inner, max_size=3).map(tuple)),
    max_leaves=8,
)


@QUICK
@given(VALUES, VALUES)
def test_equality_is_an_equivalence(a: Any, b: Any) -> None:
    meter = Meter()
    assert equal(a, a, meter)
    assert equal(a, b, meter) == equal(b, a, meter)
    with suppress(ValueProblem):  # of lists, which are no keys
        assert (keyed(a) == keyed(b)) == equal(a, b, meter)
        assert represent(unkeyed(keyed(a))) == represent(a)


@QUICK
@given(st.lists(st.one_of(INTS, st.floats()), max_size=4), st.lists(st.one_of(INTS, st.floats()), max_size=4))
def test_order_is_total_with_nan(a: list[Any], b: list[Any]) -> None:
    meter = Meter()
    order, reverse = compare(a, b, meter), compare(b, a, meter)
    assert (order > 0, order < 0) == (reverse < 0, reverse > 0)
    assert (order == 0) == equal(a, b, meter)


@pytest.mark.parametrize("name", sorted(set(UNIVERSE) - {"None", "True", "False", "print"}))
def test_builtins_refuse_nonsense(name: str) -> None:
    values = [
        "None",
        "True",
        "-1",
        "1 << 70",
        "1.5",
        "float('nan')",
        "''",
        "'é'[:1]",
        "b'\\xff'",
        "[]",
        "[1, 'a']",
        "()",
        "{}",
        "{1: 2}",
        "set([1])",
        "range(3)",
        "len",
        "lambda: 0",
        "''.elems()",
        "[[]]",
    ]
    for value in values:
        survives(f"x = {name}({value})\n")
        survives(f"x = {name}(*[{value}] * 2)\n")
        survives(f"x = {name}(*[{value}] * 3)\n")
        survives(f"x = {name}({value}, key={value})\n")


@pytest.mark.parametrize("receiver", ["'a b'", "'é'[:1]", "b'a'", "[1, 2]", "{1: 2}", "set([1, 2])"])
def test_methods_refuse_nonsense(receiver: str) -> None:
    values = [
        "None",
        "True",
        "-1",
        "1 << 70",
        "1.5",
        "''",
        "'é'[:1]",
        "b'\\xff'",
        "[1]",
        "[[]]",
        "()",
        "('a', 1)",
        "{}",
        "set([1])",
        "range(3)",
        "len",
        "''.elems()",
    ]
    for name in starlark(f"dir({receiver})"):
        survives(f"x = {receiver}.{name}()\n")
        for value in values:
            survives(f"x = {receiver}.{name}({value})\n")
            survives(f"x = {receiver}.{name}('a', {value})\n")
            survives(f"x = {receiver}.{name}(1, {value})\n")
            survives(f"x = {receiver}.{name}('a', 1, {value})\n")


@pytest.mark.parametrize(
    "operator",
    [
        "+",
        "-",
        "*",
        "/",
        "//",
        "%",
        "&",
        "|",
        "^",
        "<<",
        ">>",
        "==",
        "!=",
        "<",
        ">",
        "<=",
        ">=",
        "in",
        "not in",
        "and",
        "or",
    ],
)
def test_operators_refuse_nonsense(operator: str) -> None:
    values = [
        "None",
        "True",
        "0",
        "-3",
        "1 << 70",
        "0.0",
        "1.5",
        "float('nan')",
        "'%s'",
        "'é'[:1]",
        "b'\\xff'",
        "[]",
        "[1, 'a']",
        "()",
        "(1,)",
        "{1: 2}",
        "set([1])",
        "range(3)",
        "len",
        "(lambda: 0)",
        "''.elems()",
    ]
    for left in values:
        for right in values:
            survives(f"x = ({left}) {operator} ({right})\n")
