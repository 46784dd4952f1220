"""Hostile input: every program here ends with one SpecError, or is fine, in bounded time and memory."""

from __future__ import annotations

import sys
import tracemalloc
from contextlib import suppress

import pytest

from grammar.errors import SpecError
from grammar.starlark.limits import MAX_MEMORY, MAX_STEPS
from grammar.starlark.printing import represent
from tests.unit.starlark_cases import check, lines, run

DOUBLING = "def f():\n    x = {start}\n    for i in range(1000): x = {step}\n    return x\n{use}\n"
LOOP = "def f():\n    x = {start}\n    for i in range(1 << 62): {step}\nf()\n"

SIZES = r"""
"a" * 1000000000000 !! a string of more than
"a" * (1 << 62) !! a string of more than
"ab" * (1 << 200) !! a string of more than
b"ab" * (1 << 62) !! a bytes of more than
[0] * (1 << 62) !! a list of more than
(0,) * (1 << 62) !! a tuple of more than
"" * (1 << 200) -> ""
[] * (1 << 200) -> []
"a" * -(1 << 200) -> ""
1 << (1 << 62) !! shift count too large
1 << 300000 !! shift count too large
(1 << 200000) * (1 << 200000) !! an int of more than
range(1 << 63) !! too many elements
range(1 << 200) !! out of its range
list(range(1 << 62)) !! a list of more than
tuple(range(1 << 62)) !! of more than
set(range(1 << 62)) !! of more than
sorted(range(1 << 62)) !! of more than
reversed(range(1 << 62)) !! of more than
enumerate(range(1 << 62)) !! of more than
zip(range(1 << 62), range(1 << 62)) !! of more than
max(range(1 << 62)) !! of more than
bytes(range(1 << 62)) !! of more than
dict(zip(range(3), range(1 << 62))) -> {0: 0, 1: 1, 2: 2}
[x for x in range(1 << 62)] !! more than 5000000 steps
all(range(1, 1 << 62)) !! more than 5000000 steps
any([0 for i in range(1 << 62)]) !! more than 5000000 steps
(lambda *a: 0)(*range(1 << 62)) !! of more than
"".join(["a" * 1000000] * 100) !! a string of more than
("a" * 1000000).join(["b"] * 100) !! a string of more than
("a" * 1000000).replace("a", "a" * 100) !! a string of more than
("a" * 1000000).replace("", "a" * 100) !! a string of more than
("%s" * 100) % tuple(["a" * 1000000] * 100) !! a string of more than
("{0}" * 100).format("a" * 1000000) !! a string of more than
str(["a" * 1000000] * 100) !! a string of more than
("ǰ" * 3000000).upper() !! a string of more than
("{" + "9" * 5000 + "}").format(1) !! out of range
"%d" % 1e300 == "1" + "0" * 300 -> False
int("9" * 1000000) !! an int of more than
chr(1 << 200) !! out of range
[1][1 << 200] !! out of range
"a"[-(1 << 200)] !! out of range
"abc"[-(1 << 200):1 << 200:1 << 150] -> "a"
"aaa".replace("a", "b", 1 << 200) -> "bbb"
"a b".split(" ", 1 << 200) -> ["a", "b"]
"abc".find("c", -(1 << 200), 1 << 200) -> 2
enumerate(["a"], 1 << 200) == [(1 << 200, "a")] -> True
float(1 << 200000) !! too large
1.0 + (1 << 200000) !! too large
1.0 < (1 << 200000) -> True
(1 << 200000) / 2 !! too large
2.0 % (1 << 200000) !! too large
"%e" % (1 << 200000) !! out of its range
{}["a" * 1000000] !! a key of more than
{}["a" * 40000] !! key "aaa
{}[1 << 200000] !! key an int of many digits
fail("a" * 1000000) !! fail: aaa
getattr("", "a" * 1000000) !! string has no .aaa
"""


@pytest.mark.parametrize("line", lines(SIZES))
def test_sizes(line: str) -> None:
    check(line)


@pytest.mark.parametrize(
    ("start", "step", "says"),
    [
        ("'a'", "x + x", "a string of more than"),
        ("b'a'", "x + x", "a bytes of more than"),
        ("[1]", "x + x", "a list of more than"),
        ("(1,)", "x + x", "a tuple of more than"),
        ("3", "x * x", "an int of more than"),
        ("3", "x << 1000", "an int of more than"),
        ("[1]", "x * 2", "a list of more than"),
        ("'%s'", "x % (x + x)", "not enough"),
        ("'a'", "'{0}{0}'.format(x)", "a string of more than"),
        ("'a'", "x.join([x, x, x])", "a string of more than"),
        ("'a'", "x.replace('a', x + 'a')", "a string of more than"),
        ("'\"'", "repr(x)", "a string of more than"),
    ],
)
def test_doubling(start: str, step: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        run(DOUBLING.format(start=start, step=step, use="y = f()"))


NESTED = ["[x]", "(x,)", "{1: x}", "[x, x]", "(x, x)", "{1: x, 2: x}"]
USES = [
    "str(f())",
    "repr(f())",
    "'%s' % (f(),)",
    "'{}'.format(f())",
    "f() == f()",
    "[f()] == [f()]",
    "f() in [f()]",
    "[f()].index(f())",
    "fail(f())",
]


@pytest.mark.parametrize("step", NESTED)
@pytest.mark.parametrize("use", USES)
def test_values_nested_deeply_or_often(step: str, use: str) -> None:
    with pytest.raises(SpecError, match=r"nested more than 200 deep|steps|string of more than"):
        run(DOUBLING.format(start="1", step=step, use=f"y = {use}"))


@pytest.mark.parametrize("step", ["[x]", "(x,)", "[x, x]", "(x, x)"])
@pytest.mark.parametrize("use", ["f() < f()", "sorted([f(), f()])", "max(f(), f())"])
def test_the_order_of_nested_values(step: str, use: str) -> None:
    with pytest.raises(SpecError, match=r"nested more than 200 deep|steps"):
        run(DOUBLING.format(start="1", step=step, use=f"y = {use}"))


@pytest.mark.parametrize("step", ["(x,)", "(x, x)"])
@pytest.mark.parametrize("use", ["{f(): 1}", "set([f()])", "f() in {}", "{}.get(f())"])
def test_keys_nested_deeply_or_often(step: str, use: str) -> None:
    with pytest.raises(SpecError, match=r"nested more than 200 deep|steps"):
        run(DOUBLING.format(start="1", step=step, use=f"y = {use}"))


@pytest.mark.parametrize(
    "text",
    [
        "x = []\nx.append(x)\ny = []\ny.append(y)\nz = x == y\n",
        "x = {}\nx[1] = x\ny = {}\ny[1] = y\nz = x == y\n",
        "x = []\nx.append(x)\ny = []\ny.append(y)\nz = x < y\n",
        "x = []\nx.append((x,))\ny = {(x,): 1}\n",
    ],
)
def test_values_that_contain_themselves(text: str) -> None:
    with pytest.raises(SpecError):
        run(text)


def test_printing_what_contains_itself() -> None:
    made = run("x = [1]\nx.append(x)\nd = {}\nd['d'] = (d, x)\n")
    assert represent(made["x"]) == "[1, [...]]"
    assert represent(made["d"]) == '{"d": ({...}, [1, [...]])}'


def test_freezing_what_contains_itself() -> None:
    assert run("x = []\nx.append((x, {'x': x}))\ndef f(y=x): return y\n")["x"].frozen


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 5000 + "]" * 5000,
        "x = " + "(" * 5000 + ")" * 5000,
        "x = " + "{1:" * 5000 + "1" + "}" * 5000,
        "x = " + "-" * 5000 + "1",
        "x = " + "not " * 5000 + "1",
        "x = " + "lambda: " * 5000 + "1",
        "x = " + "1 if 0 else " * 5000 + "1",
        "x = ''" + ".upper()" * 5000,
        "x = [0]" + "[0]" * 5000,
        "x = " + "(" * 5000,
        "x = " + "[" * 201,
        "x = " + "f(" * 150 + ")" * 150,
        "def f():\n" + "".join(" " * i + "if 1:\n" for i in range(1, 500)) + " " * 500 + "pass",
        "def f(): return f\nx = f" + "()" * 5000,
        "x = '" + "\\q" * 100000 + "'",
        "x = " + "1," * 100000,
        "x = 0x" + "f" * 200000,
        "x = " + "9" * 200000,
        "x = 1" + "0" * 1000 + ".0",
        "a" * 100000,
        'x = """' + "a\n" * 100000,
        "#" * (1 << 20) + "\n",
        "x = " + "''" * 10001,
        "\n" * 50000 + "?",
        "x = (" + "\n" * 50000,
        "x = 1 " + "\\\n" * 50000 + "?",
        "x = " + "a." * 5000,
    ],
    ids=range(27),
)
def test_sources(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        run(text + "\n")
    assert len(caught.value.message) < 300
    assert caught.value.position.line >= 1


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 190 + "]" * 190,
        "x = " + "(" * 190 + "1" + ")" * 190,
        "x = " + "-" * 190 + "1",
        "x = ''" + ".upper()" * 100,
        "def f():\n" + "".join(" " * i + "if 1:\n" for i in range(1, 90)) + " " * 90 + "pass\nf()",
        "".join(f"def f{i}(): return f{i - 1}()\n" if i else "def f0(): return 1\n" for i in range(190))
        + "x = f189()",
        "".join(
            f"def f{i}(x): return sorted([x], key=f{i - 1})\n" if i else "def f0(x): return x\n"
            for i in range(190)
        )
        + "x = f189(1)",
        "x = " + "1 if 0 else " * 150 + "1",
        "x = " + "lambda: " * 150 + "1",
    ],
    ids=range(9),
)
def test_depth_within_the_limits(text: str) -> None:
    run(text + "\n")


@pytest.mark.parametrize("use", ["[x].pop()", "max([x])", "{1: x}.get(1)", "list([x])", "(lambda: x)()"])
def test_values_are_handed_on_as_they_are(use: str) -> None:
    for step in ("(x,)", "(x, x)", "[x, x]"):
        text = DOUBLING.format(start="1", step=step, use=f"x = f()\ny = {use}")
        made = run(text)
        assert made["y"] is made["x"] or made["y"][0] is made["x"]


def test_keys_have_a_size() -> None:
    for key in ("'a' * 60000", "(1,) * 60000", "('a' * 30000, 'b' * 30000)", "b'a' * 60000"):
        with pytest.raises(SpecError, match="a key of more than"):
            run(f"x = {{{key}: 1}}\n")
    run("x = {'a' * 40000: 1, (1,) * 40000: 2}\n")


def test_many_unknown_names() -> None:
    text = "".join(f"name{i} = 1\n" for i in range(3000))
    text += "".join(f"nmae{i}(nome{i})\n" for i in range(3000))
    with pytest.raises(SpecError, match="did you mean 'name0'") as caught:
        run(text)
    assert len(caught.value.errors) == 20


def test_calls_inside_each_other() -> None:
    text = "def f0(): return 1\n"
    text += "".join(f"def f{i}(): return f{i - 1}()\n" for i in range(1, 1000))
    with pytest.raises(SpecError, match="more than 200 calls"):
        run(text + "x = f999()\n")
    text = "def f0(): return 1\n"
    text += "".join(f"def f{i}(): return {'-' * 120}f{i - 1}()\n" for i in range(1, 190))
    with pytest.raises(SpecError, match="nested too deeply"):
        run(text + "x = f189()\n")


@pytest.mark.parametrize(
    ("start", "step"),
    [
        ("0", "pass"),
        ("0", "x += 1"),
        ("''", "x += 'abc'"),
        ("[]", "x.append('a' * 1000000)"),
        ("[0] * 3000000", "x.insert(0, 1) or x.pop()"),
        ("[0] * 3000000", "x.pop(0)"),
        ("'é' * 3000000", "x[1]"),
        ("'é' * 3000000", "len(x)"),
        ("'a' * 3000000", "x.find('b')"),
        ("'a' * 3000000", "hash(x)"),
        ("'a' * 3000000", "x + 'b' == 'c' + x"),
        ("'a' * 3000000", "x.upper()"),
        ("'a' * 3000000", "x in x + 'b'"),
        ("'a' * 3000000", "x.isalpha()"),
        ("'a ' * 1000000", "x.split()"),
        ("'a\\n' * 1000000", "x.splitlines()"),
        ("(1 << 250000) - 1", "str(x)"),
        ("(1 << 250000) - 1", "x // ((1 << 125000) - 1)"),
        ("'9' * 70000", "int(x)"),
        ("(1 << 120000) - 1", "x * x"),
        ("[i for i in range(100000)]", "sorted(x)"),
        ("list(range(100000))", "min(x)"),
        ("set(range(100000))", "x | x"),
        ("set(range(100000))", "x == set(x)"),
        ("dict(enumerate(range(100000)))", "x.items()"),
        ("[0] * 1000000", "x == list(x)"),
        ("[0] * 1000000", "1 in x"),
        ("[0] * 1000000", "any(x)"),
        ("[0] * 1000000", "x[1:]"),
        ("(0,) * 1000000", "{x: 1}"),
        ("[''] * 1000000", "''.join(x)"),
        ("b'a' * 3000000", "bytes(x.elems())"),
        ("'\\x01' * 1000000", "repr(x)"),
        ("[0] * 1000000", "zip(*[x] * 1000)"),
        ("'a' * 3000000", "x.startswith(x)"),
        ("'%s' * 100000", "x % ((1,) * 100000)"),
        ("'{}' * 100000", "x.format(*[1] * 100000)"),
        ("[[0]] * 1000", "[a for a in x for b in x for c in x]"),
        ("{}", "x.update([(i, i)])"),
        ("b'\\xff' * 1000000", "str(x)"),
        ("'a' * 4000000", "x.strip('a')"),
        ("('é'[:1]) * 1000000", "bytes(x)"),
        ("('é'[:1]) * 1000000", "x[1:] + x"),
        ("('é'[:1]) * 1000000", "x.upper()"),
        ("('é'[:1]) * 1000000", "x.replace(x[0], 'a')"),
        ("('é'[:1]) * 1000000", "x.split('é'[1:])"),
        ("('é'[:1]) * 1000000", "x in x + x"),
        ("('é'[:1]) * 1000000", "x < x + x"),
        ("('é'[:1]) * 1000000", "list(x.codepoints())"),
        ("('é'[:1]) * 1000000", "repr(x)"),
        ("('é'[:1]) * 1000000", "'%s' % x"),
        ("{'a' * 40000: 1}", "x == {'a' * 40000: 1}"),
        ("{(1,) * 40000: 1}", "x.keys()"),
        ("set(['a' * 40000])", "x | set(['a' * 40000])"),
        ("{(True,) * 9000: 1}", "x == dict(x)"),
    ],
)
def test_work_is_counted(start: str, step: str) -> None:
    """However the time is spent, it ends: here, at a tenth of the limit."""
    with pytest.raises(SpecError, match=r"steps|too much memory|of more than"):
        run(LOOP.format(start=start, step=step), max_steps=MAX_STEPS // 10)


def test_memory_stays_bounded() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(SpecError, match="too much memory"):
            run(LOOP.format(start="[]", step="x.append('a' * 4000000)"))
        assert tracemalloc.get_traced_memory()[1] < 2 * MAX_MEMORY
    finally:
        tracemalloc.stop()


def test_the_limits_leave_pythons_own_alone() -> None:
    before = sys.getrecursionlimit()
    for text in ("x = 1\n", "x = 1 // 0\n", "x = " + "[" * 5000 + "\n"):
        with suppress(SpecError):
            run(text)
        assert sys.getrecursionlimit() == before


def test_steps_are_about_nodes() -> None:
    assert MAX_STEPS == 5_000_000
    with pytest.raises(SpecError, match="more than 5000000 steps") as caught:
        run("def f():\n    for i in range(10000000):\n        x = i + 1\nf()\n")
    assert caught.value.position.line in (2, 3)
    run("def f():\n    for i in range(100000):\n        x = i + 1\nf()\n")
