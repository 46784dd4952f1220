"""Starlark spec, "Built-in constants and functions"."""

from __future__ import annotations

import pytest

from grammar.starlark.builtins import UNIVERSE
from tests.unit.starlark_cases import check, lines, run

FUNCTIONS = r"""
abs(-1) -> 1
abs(1) -> 1
abs(-1.5) -> 1.5
abs(-(1 << 70)) -> 1180591620717411303424
abs("a") !! got string, want int or float
abs(True) !! got bool
abs() !! got 0 arguments, want 1
abs(1, 2) !! got 2 arguments
abs(x=1) !! unexpected keyword
all([]) -> True
all([1, True, "x"]) -> True
all([1, 0]) -> False
all({"": 1}) -> False
all(range(1, 5)) -> True
all("abc") !! not iterable
all(1) !! not iterable
all() !! got 0 arguments
any([]) -> False
any([0, "", 1]) -> True
any([0, None]) -> False
any(range(3)) -> True
any(1) !! not iterable
bool() -> False
bool(1) -> True
bool([]) -> False
bool(1, 2) !! want at most 1
bool(x=1) !! unexpected keyword
bytes("hello 😃") -> b"hello 😃"
bytes(b"hello") -> b"hello"
bytes("hello 😃"[:-1]) -> b"hello ���"
bytes([65, 66, 67]) -> b"ABC"
bytes((65,)) -> b"A"
bytes(range(3)) -> b"\x00\x01\x02"
bytes(b"AB".elems()) -> b"AB"
bytes([]) -> b""
bytes([256]) !! out of range
bytes([-1]) !! out of range
bytes(["a"]) !! at index 0, got string, want int
bytes([True]) !! got bool, want int
bytes(65) !! got int, want string, bytes, or iterable of ints
bytes() !! got 0 arguments
chr(65) -> "A"
chr(0x416) -> "Ж"
chr(0x1F600) -> "😀"
chr(0) -> "\x00"
chr(-1) !! out of range
chr(0x110000) !! out of range
chr("a") !! got string, want int
dict() -> {}
dict([(1, 2), (3, 4)]) -> {1: 2, 3: 4}
dict([(1, 2), ["a", "b"]]) -> {1: 2, "a": "b"}
dict(one=1, two=2) -> {"one": 1, "two": 2}
dict([(1, 2)], x=3) -> {1: 2, "x": 3}
dict([("x", 1)], x=3) -> {"x": 3}
dict({"a": 1}) -> {"a": 1}
dict({"a": 1}, a=2) -> {"a": 2}
dict([(1, 2), (1, 3)]) -> {1: 3}
dict(((1, 2),)) -> {1: 2}
dict([set([1, 2])]) -> {1: 2}
dict([(1,)]) !! has length 1; 2 is required
dict([(1, 2, 3)]) !! has length 3; 2 is required
dict([1]) !! is not a pair
dict(["ab"]) !! is not a pair
dict(1) !! not iterable
dict({}, {}) !! want at most 1
dict([([], 1)]) !! unhashable
dir([]) -> ["append", "clear", "extend", "index", "insert", "pop", "remove"]
dir({}) -> ["clear", "get", "items", "keys", "pop", "popitem", "setdefault", "update", "values"]
dir(1) -> []
dir(b"") -> ["elems"]
"split" in dir("") -> True
len(dir(set())) -> 16
dir() !! got 0 arguments
enumerate(["zero", "one"]) -> [(0, "zero"), (1, "one")]
enumerate(["one", "two"], 1) -> [(1, "one"), (2, "two")]
enumerate(["a"], start=-5) -> [(-5, "a")]
enumerate({"a": 1}) -> [(0, "a")]
enumerate([]) -> []
enumerate("abc") !! not iterable
enumerate([], "a") !! got string, want int
enumerate() !! missing argument
fail("oops") !! fail: oops
fail("oops", 1, False) !! fail: oops 1 False
fail("a", "b", sep="-") !! fail: a-b
fail([1, "x"]) !! fail: [1, "x"]
fail() !! fail:
fail(msg="why") !! fail: why
float() -> 0.0
float(1) -> 1.0
float(1.5) -> 1.5
float(True) -> 1.0
float(False) -> 0.0
float("1.5") -> 1.5
float("1") -> 1.0
float("-1e3") -> -1000.0
float("+.5") -> 0.5
float("1.") -> 1.0
float("1e400") !! too large
float("inf") -> +inf
float("Inf") -> +inf
float("+Infinity") -> +inf
float("-iNf") -> -inf
float("nan") -> nan
float("NaN") -> nan
float("-nan") -> nan
float("") !! invalid float literal
float("a") !! invalid float literal
float("1_0") !! invalid float literal
float(" 1") !! invalid float literal
float("1 ") !! invalid float literal
float("0x1") !! invalid float literal
float("infinit") !! invalid float literal
float("١") !! invalid float literal
float(1 << 1023) -> 8.98846567431158e+307
float(1 << 1024) !! too large
float(None) !! got NoneType
float([]) !! got list
float(1, 2) !! want at most 1
getattr("banana", "split")("a") -> ["b", "n", "n", ""]
getattr("banana", "myattr", "mydefault") -> "mydefault"
getattr("banana", "upper", "mydefault")() -> "BANANA"
getattr("banana", "myattr") !! string has no .myattr
getattr("banana", 1) !! got int, want string
getattr(1, "x", None) -> None
getattr("a") !! got 1 argument
hasattr("", "split") -> True
hasattr("", "nope") -> False
hasattr({}, "get") -> True
hasattr(1, "real") -> False
hasattr("", 1) !! want string
hash("") -> 0
hash("a") -> 97
hash("abc") -> 96354
hash("Hello, World!") -> 1498789909
hash("😀") -> 1772899
hash("é") -> 233
hash("a" * 100) == hash("a" * 100) -> True
hash(b"") -> 2166136261
hash(b"hello") -> 1335831723
hash(1) !! got int, want string or bytes
hash(None) !! want string or bytes
hash((1,)) !! want string or bytes
int("21") -> 21
int("1234", 16) -> 4660
int("0x1234", 16) -> 4660
int("0x1234", 0) -> 4660
int("0b0", 16) -> 176
int("0b111", 0) -> 7
int("0o17", 0) -> 15
int("0o17", 8) -> 15
int("0b11", 2) -> 3
int("0X1F", 16) -> 31
int("-0x10", 0) -> -16
int("+10") -> 10
int("-10") -> -10
int("z", 36) -> 35
int("Z", 36) -> 35
int("11", base=2) -> 3
int("11", 2) -> 3
int("007") -> 7
int("0", 0) -> 0
int("10", 0) -> 10
int("-0", 0) -> 0
int("010", 0) !! invalid literal
int("00", 0) !! invalid literal
int("0x1234") !! invalid literal with base 10
int("0x", 16) !! invalid literal
int("0o8", 8) !! invalid literal
int("2", 2) !! invalid literal
int("") !! invalid literal
int("-") !! invalid literal
int("--1") !! invalid literal
int("+-1") !! invalid literal
int("- 1") !! invalid literal
int(" 1") !! invalid literal
int("1 ") !! invalid literal
int("1_000") !! invalid literal
int("1.5") !! invalid literal
int("١") !! invalid literal
int("a") !! invalid literal
int("1", 1) !! invalid base
int("1", 37) !! invalid base
int("1", -2) !! invalid base
int("1", "a") !! got string, want int
int("1", True) !! got bool, want int
int(1, 10) !! can't convert non-string with explicit base
int("1", None) -> 1
int(3.99) -> 3
int(-3.99) -> -3
int(1e20) -> 100000000000000000000
int(float("nan")) !! cannot convert float nan
int(float("inf")) !! cannot convert float +inf
int(True) -> 1
int(False) -> 0
int(5) -> 5
int(1 << 100) -> 1267650600228229401496703205376
int(None) !! got NoneType
int([]) !! got list
int() !! missing argument
int(b"1") !! got bytes
len("abc") -> 3
len([1, 2]) -> 2
len((1,)) -> 1
len({1: 2}) -> 1
len(set([1])) -> 1
len(range(5)) -> 5
len(b"ab") -> 2
len("ab".elems()) -> 2
len(1) !! value of type int has no len
len(None) !! has no len
len() !! got 0 arguments
list() -> []
list((1, 2)) -> [1, 2]
list(range(3)) -> [0, 1, 2]
list({"a": 1}) -> ["a"]
list("ab".elems()) -> ["a", "b"]
list([1], [2]) !! want at most 1
list(1) !! not iterable
list(x=[]) !! unexpected keyword
max([3, 1, 4, 1, 5, 9]) -> 9
max("two", "three", "four") -> "two"
max("two", "three", "four", key=len) -> "three"
max([1], [2]) -> [2]
max({"a": 1, "b": 0}) -> "b"
max(1, 1.0) -> 1
max(1.0, 1) -> 1.0
max([1, 2, 3], key=lambda x: -x) -> 1
max([]) !! empty sequence
max() !! got 0 arguments
max(1) !! not iterable
max([1, "a"]) !! unsupported comparison
max([{}]) -> {}
max([{}, {}]) !! unsupported comparison
max(1, 2, key=None) -> 2
max(1, 2, k=None) !! unexpected keyword argument 'k'
min([3, 1, 4, 1, 5, 9]) -> 1
min("two", "three", "four") -> "four"
min("two", "three", "four", key=len) -> "two"
min([]) !! empty sequence
min("abc".elems()) -> "a"
min(2, 1, key=lambda x: 0) -> 2
min([1], key=1) !! int is not callable
ord("A") -> 65
ord("Ж") -> 1046
ord("😀") -> 128512
ord(b"a") -> 97
ord("") !! encodes 0 Unicode code points, want 1
ord("ab") !! encodes 2 Unicode code points, want 1
ord(b"ab") !! has 2 elements, want 1
ord(1) !! got int, want string or bytes
ord("😀"[:1]) -> 65533
repr(1) -> "1"
repr("x") -> "\"x\""
repr([1, "x"]) -> "[1, \"x\"]"
repr(None) -> "None"
repr(("a",)) -> "(\"a\",)"
repr("\u0001\u007f\u200b\U000e0001") -> "\"\\x01\\x7f\\u200b\\U000e0001\""
repr("🙂"[:1]) -> "\"\\xf0\""
repr() !! got 0 arguments
reversed(range(5)) -> [4, 3, 2, 1, 0]
reversed({"one": 1, "two": 2}.keys()) -> ["two", "one"]
reversed([]) -> []
reversed({"a": 1, "b": 2}) -> ["b", "a"]
reversed("abc".elems()) -> ["c", "b", "a"]
reversed("abc") !! not iterable
reversed() !! got 0 arguments
sorted([3, 1, 4, 1, 5, 9]) -> [1, 1, 3, 4, 5, 9]
sorted([3, 1, 4, 1, 5, 9], reverse=True) -> [9, 5, 4, 3, 1, 1]
sorted(["two", "three", "four"], key=len) -> ["two", "four", "three"]
sorted(["two", "three", "four"], key=len, reverse=True) -> ["three", "four", "two"]
sorted([(1, "b"), (1, "a"), (0, "c")], key=lambda x: x[0]) -> [(0, "c"), (1, "b"), (1, "a")]
sorted({"b": 1, "a": 2}) -> ["a", "b"]
sorted([]) -> []
sorted([[2], [1, 5], []]) -> [[], [1, 5], [2]]
sorted([True, False]) -> [False, True]
sorted([1, "a"]) !! unsupported comparison
sorted([1, None]) !! unsupported comparison
sorted([None]) -> [None]
sorted("abc") !! not iterable
sorted(1) !! not iterable
sorted([1], key=1) !! int is not callable
sorted([1], foo=1) !! unexpected keyword argument 'foo'
sorted() !! missing argument
str(1) -> "1"
str("x") -> "x"
str([1, "x"]) -> "[1, \"x\"]"
str(0.0) -> "0.0"
str(b"abc") -> "abc"
str(None) -> "None"
str(True) -> "True"
str([b"a"]) -> "[b\"a\"]"
str({"a": (1,)}) -> "{\"a\": (1,)}"
str() !! got 0 arguments
tuple() -> ()
tuple([1, 2]) -> (1, 2)
tuple({"a": 1}) -> ("a",)
tuple((1,)) -> (1,)
tuple(1) !! not iterable
type(1) -> "int"
type(type) -> "builtin_function_or_method"
type("".elems()) -> "string.elems"
type("".elem_ords()) -> "string.elems"
type("".codepoints()) -> "string.codepoints"
type("".codepoint_ords()) -> "string.codepoints"
type() !! got 0 arguments
type(1, 2) !! want at most 1
zip() -> []
zip(range(5)) -> [(0,), (1,), (2,), (3,), (4,)]
zip(range(10), ["a", "b", "c"]) -> [(0, "a"), (1, "b"), (2, "c")]
zip([], [1]) -> []
zip({"a": 1}, set([2])) -> [("a", 2)]
zip([1], 1) !! not iterable
zip([1], x=1) !! unexpected keyword
zip(range(1 << 60), "ab".elems()) -> [(0, "a"), (1, "b")]
"""


@pytest.mark.parametrize("line", lines(FUNCTIONS))
def test_functions(line: str) -> None:
    check(line)


def test_the_universe_is_the_specifications() -> None:
    assert set(UNIVERSE) == {
        "None",
        "True",
        "False",
        "abs",
        "any",
        "all",
        "bool",
        "bytes",
        "chr",
        "dict",
        "dir",
        "enumerate",
        "fail",
        "float",
        "getattr",
        "hasattr",
        "hash",
        "int",
        "len",
        "list",
        "max",
        "min",
        "ord",
        "print",
        "range",
        "repr",
        "reversed",
        "set",
        "sorted",
        "str",
        "tuple",
        "type",
        "zip",
    }


@pytest.mark.parametrize(
    ("call", "printed"),
    [
        ("print(1, 'hi', x=3)", "1 hi x=3\n"),
        ("print('hello', 'world')", "hello world\n"),
        ("print('hello', 'world', sep=', ')", "hello, world\n"),
        ("print()", "\n"),
        ("print(['a', b'b'], None)", '["a", b"b"] None\n'),
        ("print('é'[:1])", "\ufffd\n"),
    ],
)
def test_print(call: str, printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"x = {call}\n")["x"] is None
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", printed)


def test_sort_keys_are_called_once_each_and_in_order() -> None:
    made = run(
        "seen = []\ndef k(x):\n    seen.append(x)\n    return -x\nr = sorted([2, 3, 1], key=k)\n"
        "s = sorted([5], key=k)\n"
    )
    assert made["r"] == [3, 2, 1]
    assert made["seen"] == [2, 3, 1, 5]


def test_the_result_of_a_builtin_is_the_callers_own() -> None:
    made = run("d = {'a': 1}\nk = d.keys()\nk.append('b')\nl = list(k)\nl.append('c')\n")
    assert (dict(made["d"]), made["k"], made["l"]) == ({"a": 1}, ["a", "b"], ["a", "b", "c"])
