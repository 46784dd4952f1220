"""The language: what it computes, what it refuses, and where it points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grammar.environment import Environment
from grammar.errors import SpecError
from grammar.evaluate import evaluate, load
from grammar.starlark.builtins import UNIVERSE
from grammar.starlark.interpreter import Interpreter
from grammar.starlark.parser import parse
from grammar.starlark.printing import represent


def value(expression: str) -> Any:
    return Interpreter(UNIVERSE).run(parse(f"x = {expression}\n", "t"))["x"]


def spec(*lines: str) -> Environment:
    return evaluate("def build():\n" + "".join(f"    {line}\n" for line in lines), "b.envd")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1 + 2 * 3", "7"),
        ("7 // -2", "-4"),
        ("7 % -2", "-1"),
        ("1 / 2", "0.5"),
        ("-2 - -3", "1"),
        ("~5 & 0xff", "250"),
        ("1 << 70", str(1 << 70)),
        ("'a' + 'b' * 3", '"abbb"'),
        ("[1, 2] + [3]", "[1, 2, 3]"),
        ("(1,) * 2", "(1, 1)"),
        ("'abc'[-1]", '"c"'),
        ("'abcdef'[1:5:2]", '"bd"'),
        ("[1, 2, 3][::-1]", "[3, 2, 1]"),
        ("{'a': 1}['a']", "1"),
        ("'a' in {'a': 1}", "True"),
        ("3 not in [1, 2]", "True"),
        ("1 == True", "False"),
        ("1 == 1.0", "True"),
        ("{1: 'i', True: 'b'}[True]", '"b"'),
        ("[x * y for x in range(3) for y in range(3) if x < y]", "[0, 0, 2]"),
        ("{k: v for k, v in [('a', 1)]}", '{"a": 1}'),
        ("1 if [] else 2", "2"),
        ("None or 'x'", '"x"'),
        ("0 and fail('no')", "0"),
        ("not 1", "False"),
        ("sorted([3, 1, 2], reverse=True)", "[3, 2, 1]"),
        ("sorted(['bb', 'a'], key=len)", '["a", "bb"]'),
        ("max([1, 3, 2])", "3"),
        ("min('b', 'a')", '"a"'),
        ("list(zip([1, 2], 'ab'.elems()))", '[(1, "a"), (2, "b")]'),
        ("enumerate(['a'], 5)", '[(5, "a")]'),
        ("dict([('a', 1)], b=2)", '{"a": 1, "b": 2}'),
        ("' a '.strip().upper()", '"A"'),
        ("'a,b,c'.split(',', 1)", '["a", "b,c"]'),
        ("','.join(['a', 'b'])", '"a,b"'),
        ("'{} {x} {{}}'.format(1, x=2)", '"1 2 {}"'),
        ("'%s-%d-%r' % ('a', 3, 'b')", '"a-3-\\"b\\""'),
        ("'a\\nb'.splitlines()", '["a", "b"]'),
        ("(lambda a, b=2, *c, **d: [a, b, c, d])(1, 5, 6, k=7)", '[1, 5, (6,), {"k": 7}]'),
        ("int('ff', 16)", "255"),
        ("int(3.9)", "3"),
        ("float('1.5')", "1.5"),
        ("str([1, 'a'])", '"[1, \\"a\\"]"'),
        ("type([])", '"list"'),
        ("hash('a')", "97"),
        ("bool('')", "False"),
        ("len(range(0, 10, 3))", "4"),
        ("r'\\n'", '"\\\\n"'),
        ("'\\x41\\u00e9'", '"Aé"'),
        ("'''a\nb'''", '"a\\nb"'),
        ("any([0, 1])", "True"),
        ("all([])", "True"),
        ("reversed([1, 2])", "[2, 1]"),
        ("getattr('a', 'upper')()", '"A"'),
        ("hasattr('a', 'nope')", "False"),
        ("[1, 2] < [1, 3]", "True"),
        ("1.0", "1.0"),
        ("1e30", "1e+30"),
        ("()", "()"),
        ("(1)", "1"),
    ],
)
def test_expressions(expression: str, expected: str) -> None:
    assert represent(value(expression)) == expected


def test_statements() -> None:
    text = """
def f(n):
    total = 0
    for i in range(n):
        if i % 2: continue
        if i > 6: break
        total += i
    return total

def outer(a):
    def inner(b): return a + b
    return inner
a, (b, c) = 1, (2, 3)
d = {}
d['k'] = [0]
d['k'][0] += 5
e = f(100); g = outer(1)(2)
"""
    names = Interpreter(UNIVERSE).run(parse(text, "t"))
    assert (names["a"], names["b"], names["c"], names["e"], names["g"]) == (1, 2, 3, 12, 3)
    assert names["d"] == {"k": [5]}


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("def build(:\n", 1, 11, "unexpected ':'"),
        ("import os\n", 1, 1, "Starlark has no 'import'"),
        ("x = 'a\n", 1, 5, "does not end"),
        ("def f():\nx=1\n", 2, 1, "an indented block"),
        ("def f():\n    a\n  b\n", 3, 3, "indentation"),
        ("x = 'a' 'b'\n", 1, 9, "two strings"),
        ("x = f'a'\n", 1, 6, "no f-strings"),
        ("x = 1 < 2 < 3\n", 1, 11, "chained"),
        ("x[1:2] = 3\n", 1, 1, "cannot assign"),
        ("x = [1, 2\n", 1, 5, "'[' is never closed"),
        ("def build():\n    bse()\n", 2, 5, "did you mean 'base'"),
        ("def build():\n    install.python_package(['a'])\n", 2, 13, "'python_packages'"),
        ("def build():\n    shell('zhs')\n", 2, 11, "did you mean 'zsh'"),
        ("def build():\n    base(os='debain12')\n", 2, 13, "did you mean 'debian12'"),
        ("def build():\n    base(oss='debian12')\n", 2, 10, "did you mean 'os'"),
        ("def build():\n    install.python_packages(['a', 'b =='])\n", 2, 35, "'b =='"),
        ("def build():\n    install.apt_packages('git')\n", 2, 26, "a list of strings"),
        ("def build():\n    base()\n    base('debian11')\n", 3, 5, "line 2"),
        ("def build():\n    config.jupyter(port=99999)\n", 2, 25, "65535"),
        ("def build():\n    include('x')\n", 2, 13, "not the URL of a git repository"),
        ("def f(x):\n    return f(x)\ndef build():\n    f(1)\n", 2, 12, "no recursion"),
        ("def build():\n    for x in range(99999999): pass\n", 2, 31, "steps"),
        ("x = [0] * 99999999\n", 1, 9, "elements"),
        ("x = 1 << 99999999\n", 1, 7, "too large"),
        ("x = 1 // 0\n", 1, 7, "division by zero"),
        ("def f():\n    x = [1]\n    for y in x: x.append(y)\nf()\n", 3, 17, "during iteration"),
        ("x = {'a': 1, 'a': 2}\n", 1, 14, "duplicate key"),
        ("x = {}['a']\n", 1, 5, 'key "a" not in dict'),
        ("x = '{0.a}'.format(1)\n", 1, 5, "only names"),
        ("y = 1\ndef build(): return\ndef biuld(): return\nz = q\n", 4, 5, "unknown name 'q'"),
    ],
)
def test_errors_point_at_their_place(text: str, line: int, column: int, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        evaluate(text, "b.envd")
    error = caught.value
    assert says in error.message
    assert (error.position.line, error.position.column) == (line, column)
    shown = str(error).splitlines()
    assert shown[0].startswith(f"b.envd:{line}:{column}: error: ")
    assert shown[2].index("^") - len("      | ") == column - 1


def test_a_missing_function_is_suggested() -> None:
    with pytest.raises(SpecError, match="no function 'build'; did you mean 'biuld'"):
        evaluate("def biuld():\n    pass\n", "b.envd")


def test_errors_in_functions_show_who_called() -> None:
    with pytest.raises(SpecError) as caught:
        evaluate("def f(a):\n    return a[3]\ndef build():\n    f([1])\n", "b.envd")
    assert "called from b.envd:4:5 in f()" in str(caught.value)


def test_the_environment_is_what_was_asked_for() -> None:
    made = spec(
        'base(os="debian11", language="python3")',
        'install.apt_packages(["git"])',
        'install.system_packages(name=["git", "curl"])',
        'install.python_packages(["numpy>=1"])',
        'install.cuda(version="12.9", cudnn="9")',
        'shell("fish")',
        'config.jupyter(token="t", port=9000)',
        'git_config(name="n", email="e")',
        'run(["a", "b"])',
        'io.copy("src", "/dst")',
        'runtime.environ(env={"B": "2", "A": "1"})',
        "runtime.expose(envd_port=80)",
        'runtime.daemon([["sleep", "1"]])',
    )
    assert [r.text for r in made.apt_packages] == ["git", "curl"]
    assert made.python_packages[0].position.line == 5
    assert made.cuda is not None and made.cuda.cudnn == "9"
    assert made.jupyter is not None and made.jupyter.port == 9000
    assert made.environ == (("A", "1"), ("B", "2"))
    assert [type(s).__name__ for s in made.steps] == ["Run", "Copy"]
    assert hash(made) == hash(made)


def test_requirements_files(tmp_path: Path) -> None:
    (tmp_path / "build.envd").write_text('def build():\n    install.python_packages(requirements="r.txt")\n')
    (tmp_path / "r.txt").write_text("# comment\nnumpy==2.0 ; python_version > '3'\n-r sub/s.txt\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/s.txt").write_text("six  # why\n")
    made = load(tmp_path / "build.envd")
    assert [r.text for r in made.python_packages] == ["numpy==2.0 ; python_version > '3'", "six"]
    assert made.python_packages[1].position.line == 1
    assert len(made.read_files) == 3
    (tmp_path / "r.txt").write_text("numpy\n--egg\n")
    with pytest.raises(SpecError, match="option '--egg'") as caught:
        load(tmp_path / "build.envd")
    assert caught.value.position.line == 2


@pytest.mark.parametrize("data", [b"\xff\xfe", b"x = 1\0\n", b"\x0c"])
def test_files_that_are_no_text(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "b").write_bytes(data)
    with pytest.raises(SpecError):
        load(tmp_path / "b")


def test_deep_nesting_is_one_error() -> None:
    for text in (
        "x = " + "[" * 5000 + "]" * 5000,
        "x = " + "-" * 5000 + "1",
        "x = " + "(" * 90 + ")" * 90,
        "x = " + "1+" * 20000 + "1",
    ):
        with pytest.raises(SpecError):
            evaluate(text + "\n", "b")


VALID = [
    'def build():\n    base(os="debian12", language="python3")\n    install.python_packages(["a"])\n',
    "x = [i for i in range(3) if i]\ndef f(a, *b, c=1, **d):\n    return a\ndef build():\n    f(x)\n",
    "def build():\n    for k, v in {'a': 1}.items():\n        if k == 'a': run([k % ()])\n",
]
WORDS = (
    "def build ( ) [ ] { } : , . = == + - * ** / // % if else elif for in not and or lambda return "
    "break pass x y 'a' \"b 1 2.5 0x \n \n\t # \\ r'' install base ~ | & ^ << >> ! ; é \0"
)
TOKENS = st.sampled_from([*WORDS.split(" "), "\n    "])


@settings(max_examples=300, deadline=None)
@given(st.lists(TOKENS, max_size=30), st.booleans())
def test_any_tokens_give_a_spec_error_or_a_value(tokens: list[str], spaced: bool) -> None:
    try:
        evaluate((" " if spaced else "").join(tokens), "b")
    except SpecError as error:
        assert str(error).startswith("b:")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(VALID), st.integers(0, 150), st.integers(0, 6), st.text(max_size=4))
def test_mutated_specs_give_a_spec_error_or_a_value(text: str, place: int, cut: int, insert: str) -> None:
    try:
        evaluate(text[:place] + insert + text[place + cut :], "b")
    except SpecError as error:
        assert str(error).startswith("b:")
