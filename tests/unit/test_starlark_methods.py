"""Starlark spec, "Built-in methods"."""

from __future__ import annotations

import pytest

from tests.unit.starlark_cases import check, check_program, lines, programs

STRINGS = r"""
"hello, world!".capitalize() -> "Hello, world!"
"HELLO".capitalize() -> "Hello"
"".capitalize() -> ""
"éa".capitalize() -> "Éa"
"a".capitalize(1) !! want at most 0
"hello, world!".count("o") -> 2
"hello, world!".count("o", 7, 12) -> 1
"hello".count("l", -3) -> 2
"aaa".count("aa") -> 1
"abc".count("") -> 4
"abc".count("x") -> 0
"abc".count(1) !! got int, want string
"abc".count() !! got 0 arguments, want at least 1
"ééé".count("é") -> 3
"ééé".count("é", 2) -> 2
"Hello".elems() -> "Hello".elems()
list("Hello, 123".elems()) -> ["H", "e", "l", "l", "o", ",", " ", "1", "2", "3"]
list("é".elems()) -> ["\xc3", "\xa9"]
"".join("é".elems()) -> "é"
"é".elem_ords() -> "é".elem_ords()
list("aé".elem_ords()) -> [97, 195, 169]
list("aé😀".codepoints()) -> ["a", "é", "😀"]
"aé".codepoints() -> "aé".codepoints()
list("aé😀".codepoint_ords()) -> [97, 233, 128512]
list("é"[:1].codepoints()) -> ["�"]
list("é"[:1].codepoint_ords()) -> [65533]
[c for c in "ab".elems()] -> ["a", "b"]
"a" in "ab".elems() -> True
"ab".elems()[1] -> "b"
"filename.sky".endswith(".sky") -> True
"filename.sky".endswith(".sky", 9, 12) -> False
"filename.sky".endswith("name", 0, 8) -> True
"foo.cc".endswith((".cc", ".h")) -> True
"foo.cc".endswith(()) -> False
"foo.cc".endswith([".cc"]) !! got list, want string or tuple of strings
"foo.cc".endswith((1,)) !! got int, want string in tuple
"foo".endswith("") -> True
"foo".endswith("o", None, 2) -> True
"naïve".endswith("ve", 4) -> True
"bonbon".find("on") -> 1
"bonbon".find("on", 2) -> 4
"bonbon".find("on", 2, 5) -> -1
"bonbon".find("on", -2) -> 4
"bonbon".find("") -> 0
"bonbon".find("", 7) -> -1
"bonbon".find("", 6) -> 6
"bonbon".find("x") -> -1
"bonbon".find("on", None, None) -> 1
"bonbon".find("on", "a") !! got string, want int
"bonbon".find(1) !! got int, want string
"éon".find("on") -> 2
"é😀x".find("x") -> 6
"abc".find("c", -(1 << 80), 1 << 80) -> 2
"a{x}b{y}c{}".format(1, x=2, y=3) -> "a2b3c1"
"a{}b{}c".format(1, 2) -> "a1b2c"
"({1}, {0})".format("zero", "one") -> "(one, zero)"
"{{}}".format() -> "{}"
"{{{}}}".format(1) -> "{1}"
"{0}{0}".format("a") -> "aa"
"{}".format([1, "a"]) -> "[1, \"a\"]"
"{!r}{!s}".format("a", "b") -> "\"a\"b"
"{0!r}".format("a") -> "\"a\""
"{x!r}".format(x="a") -> "\"a\""
"{a}{}".format(1, a=2) -> "21"
"{}{0}".format(1) !! cannot mix
"{0}{}".format(1) !! cannot mix
"{}".format() !! out of range
"{1}".format(1) !! out of range
"{x}".format() !! keyword 'x' not found
"{".format() !! unmatched '{'
"}".format() !! single '}'
"{}}".format(1) !! single '}'
"{{}".format(1) !! single '}'
"{!x}".format(1) !! unknown conversion
"{0.a}".format(1) !! only names and numbers
"{0[0]}".format([1]) !! only names and numbers
"{:d}".format(1) !! only names and numbers
"{x.y}".format(x=1) !! only names and numbers
"{-1}".format(1) !! not found
"abc".format(1, x=2) -> "abc"
"{é}".format(**{"é": 1}) -> "1"
"bonbon".index("on") -> 1
"bonbon".index("on", 2) -> 4
"bonbon".index("on", 2, 5) !! substring not found
"base64".isalnum() -> True
"Catch-22".isalnum() -> False
"".isalnum() -> False
"é2".isalnum() -> True
"²".isalnum() -> False
"ABC".isalpha() -> True
"Catch-22".isalpha() -> False
"".isalpha() -> False
"Ж".isalpha() -> True
"123".isdigit() -> True
"Catch-22".isdigit() -> False
"".isdigit() -> False
"١".isdigit() -> True
"²".isdigit() -> False
"hello, world".islower() -> True
"Catch-22".islower() -> False
"123".islower() -> False
"    ".isspace() -> True
"\r\t\n".isspace() -> True
"".isspace() -> False
"\u00a0\u2003\u3000".isspace() -> True
"\x1c".isspace() -> False
" a".isspace() -> False
"Hello, World!".istitle() -> True
"Catch-22".istitle() -> True
"HAL-9000".istitle() -> False
"123".istitle() -> False
"HAL-9000".isupper() -> True
"Catch-22".isupper() -> False
"123".isupper() -> False
", ".join(["one", "two", "three"]) -> "one, two, three"
"a".join("ctmrn".elems()) -> "catamaran"
"".join([]) -> ""
"a".join({"x": 1, "y": 2}) -> "xay"
"a".join(["x"]) -> "x"
",".join([1]) !! in list: got int, want string
",".join("abc") !! not iterable
",".join(1) !! not iterable
"Hello, World!".lower() -> "hello, world!"
"ÉЖ".lower() -> "éж"
"\n hello  ".lstrip() -> "hello  "
"   hello  ".lstrip("h o") -> "ello  "
"abc".lstrip(None) -> "abc"
"one/two/three".partition("/") -> ("one", "/", "two/three")
"one".partition("/") -> ("one", "", "")
"".partition("/") -> ("", "", "")
"a".partition("") !! empty separator
"a".partition(1) !! got int, want string
"banana".removeprefix("ban") -> "ana"
"banana".removeprefix("ana") -> "banana"
"bbaa".removeprefix("b") -> "baa"
"é".removeprefix("é"[0]) -> "\xa9"
"banana".removeprefix(1) !! got int, want string
"banana".removesuffix("ana") -> "ban"
"banana".removesuffix("ban") -> "banana"
"bbaa".removesuffix("a") -> "bba"
"bbaa".removesuffix("") -> "bbaa"
"banana".replace("a", "o") -> "bonono"
"banana".replace("a", "o", 2) -> "bonona"
"banana".replace("a", "o", 0) -> "banana"
"banana".replace("a", "o", -1) -> "bonono"
"banana".replace("", "-") -> "-b-a-n-a-n-a-"
"banana".replace("", "-", 2) -> "-b-anana"
"banana".replace("x", "") -> "banana"
"é".replace("é"[0], "x") -> "x\xa9"
"banana".replace("a") !! got 1 argument
"banana".replace("a", 1) !! got int, want string
"banana".replace("a", "o", "x") !! got string, want int
"bonbon".rfind("on") -> 4
"bonbon".rfind("on", None, 5) -> 1
"bonbon".rfind("on", 2, 5) -> -1
"bonbon".rfind("") -> 6
"bonbon".rindex("on") -> 4
"bonbon".rindex("on", None, 5) -> 1
"bonbon".rindex("on", 2, 5) !! substring not found
"one/two/three".rpartition("/") -> ("one/two", "/", "three")
"one".rpartition("/") -> ("", "", "one")
"banana".rsplit("n") -> ["ba", "a", "a"]
"banana".rsplit("n", 1) -> ["bana", "a"]
"one two  three".rsplit(None, 1) -> ["one two", "three"]
"one two  three".rsplit() -> ["one", "two", "three"]
" a  b c ".rsplit(None, 1) -> [" a  b", "c"]
"é\u00a0b\u3000c ".split(None, 2) -> ["é", "b", "c "]
"  hello\r ".rstrip() -> "  hello"
"  hello   ".rstrip("h o") -> "  hell"
"one two  three".split() -> ["one", "two", "three"]
"one two  three".split(" ") -> ["one", "two", "", "three"]
"one two  three".split(None, 1) -> ["one", "two  three"]
"banana".split("n") -> ["ba", "a", "a"]
"banana".split("n", 1) -> ["ba", "ana"]
"banana".split("n", 0) -> ["banana"]
"banana".split("n", -1) -> ["ba", "a", "a"]
"food".split("o") -> ["f", "", "d"]
"".split("a") -> [""]
"".split() -> []
"   ".split() -> []
" a b ".split() -> ["a", "b"]
" a b ".split(None, 0) -> ["a b "]
" a  b  c ".split(None, 1) -> ["a", "b  c "]
"a\u00a0b\u3000c".split() -> ["a", "b", "c"]
"é\u00a0b\u3000c ".split(None, 1) -> ["é", "b\u3000c "]
"é\u00a0b\u3000c ".rsplit(None, 1) -> ["é\u00a0b", "c"]
"a\x1cb".split() -> ["a\x1cb"]
"a,b".split(sep=",") -> ["a", "b"]
"a,b,c".split(",", maxsplit=1) -> ["a", "b,c"]
"a".split("") !! empty separator
"a".split(1) !! got int, want string
"a".split(",", "b") !! got string, want int
"a--b-c".split("--") -> ["a", "b-c"]
"éaé".split("a") -> ["é", "é"]
"A\nB\rC\r\nD".splitlines() -> ["A", "B", "C", "D"]
"one\n\ntwo".splitlines() -> ["one", "", "two"]
"one\n\ntwo".splitlines(True) -> ["one\n", "\n", "two"]
"one\r\ntwo\n".splitlines() -> ["one", "two"]
"one\r\ntwo\n".splitlines(True) -> ["one\r\n", "two\n"]
"a\n\r\nb".splitlines() -> ["a", "", "b"]
"".splitlines() -> []
"\n".splitlines() -> [""]
"a\x0bb\x0cc\u2028d".splitlines() -> ["a\vb\fc\u2028d"]
"filename.sky".startswith("filename") -> True
"filename.star".startswith("name", 4) -> True
"filename.star".startswith("name", 4, 7) -> False
"abc".startswith(("a", "A")) -> True
"ABC".startswith(("a", "A")) -> True
"def".startswith(("a", "A")) -> False
"abc".startswith("") -> True
"é".startswith("é"[0]) -> True
"\rhello\t ".strip() -> "hello"
"  hello   ".strip("h o") -> "ell"
"abc".strip("") -> "abc"
"\u3000a\u00a0".strip() -> "a"
"\x1ca\x1c".strip() -> "\x1ca\x1c"
"éaé".strip("é") -> "a"
"abc".strip(1) !! got int, want string
"hElLo, WoRlD!".title() -> "Hello, World!"
"they're 3x".title() -> "They'Re 3X"
"Hello, World!".upper() -> "HELLO, WORLD!"
"é".upper() -> "É"
"a".upper(1) !! want at most 0
"a".upper(x=1) !! unexpected keyword
"a".find(sub="a") !! unexpected keyword
"""

LISTS = r"""
x = []
r = x.append(1)
(x, r) -> ([1], None)
---
x = [1, 2, 3]
r = x.clear()
(x, r) -> ([], None)
---
x = []
x.extend([1, 2, 3])
x.extend(("foo",))
x.extend({"k": 1})
x.extend(range(2))
x -> [1, 2, 3, "foo", "k", 0, 1]
---
[].extend(1)
!! int value is not iterable
---
[].extend("abc")
!! string value is not iterable
---
x = ["b", "a", "n", "a", "n", "a"]
[x.index("a"), x.index("a", 2), x.index("a", -2), x.index("a", None, 2), x.index("b", -100, 100)] -> [1, 3, 5, 1, 0]
---
["a"].index("b")
!! not in list
---
["a"].index("a", 1)
!! not in list
---
["a"].index("a", "x")
!! got string, want int
---
["a", "b"].index("b", 0, 1)
!! not in list
---
x = ["b", "c", "e"]
x.insert(0, "a")
x.insert(-1, "d")
x.insert(100, "f")
x.insert(-100, "_")
x -> ["_", "a", "b", "c", "d", "e", "f"]
---
[].insert("a", 1)
!! got string, want int
---
[].insert(1)
!! got 1 argument
---
x = [1, 2, 3, 4, 5]
r = [x.pop(), x.pop(0), x.pop(-2)]
(x, r) -> ([2, 4], [5, 1, 3])
---
[].pop()
!! out of range
---
[1].pop(1)
!! out of range
---
[1].pop(-2)
!! out of range
---
[1].pop(None)
!! got NoneType, want int
---
x = [1, 2, 3, 2]
x.remove(2)
x.remove(2)
x -> [1, 3]
---
[1, 3].remove(2)
!! element not found
---
x = [1, True, 1.0]
x.remove(True)
x -> [1, 1.0]
---
[].append()
!! got 0 arguments
---
[].append(1, 2)
!! want at most 1
---
[].append(x=1)
!! unexpected keyword
---
[].apend(1)
!! did you mean 'append'
---
a = [].append
a(1) -> None
"""

DICTS = r"""
x = {"one": 1, "two": 2}
r = x.clear()
(x, r) -> ({}, None)
---
x = {"one": 1}
[x.get("one"), x.get("three"), x.get("three", 0), x.get("one", 5)] -> [1, None, 0, 1]
---
{}.get([])
!! unhashable
---
{}.get("a", 1, 2)
!! want at most 2
---
{}.get("a", default=1)
!! unexpected keyword
---
x = {"one": 1, "two": 2}
[x.items(), x.keys(), x.values()] -> [[("one", 1), ("two", 2)], ["one", "two"], [1, 2]]
---
x = {True: 1, (1, False): 2}
[x.items(), x.keys()] -> [[(True, 1), ((1, False), 2)], [True, (1, False)]]
---
x = {"one": 1, "two": 2}
r = [x.pop("one"), x.pop("three", 0), x.pop("four", None)]
(x, r) -> ({"two": 2}, [1, 0, None])
---
{}.pop("four")
!! missing key
---
{}.pop([])
!! unhashable
---
x = {"one": 1, "two": 2}
r = [x.popitem(), x.popitem()]
(x, r) -> ({}, [("one", 1), ("two", 2)])
---
{}.popitem()
!! empty dict
---
x = {"one": 1}
r = [x.setdefault("one"), x.setdefault("three", 3), x.setdefault("three", 33), x.setdefault("four")]
(x, r) -> ({"one": 1, "three": 3, "four": None}, [1, 3, 3, None])
---
{}.setdefault({})
!! unhashable
---
x = {}
x.update([("a", 1), ("b", 2)], c=3)
x.update({"d": 4})
x.update(e=5)
x.update(None)
x.update()
x.update([["a", 6]])
x -> {"a": 6, "b": 2, "c": 3, "d": 4, "e": 5}
---
x = {"a": 1}
x.update(x)
x -> {"a": 1}
---
{}.update(1)
!! not iterable
---
{}.update([1])
!! is not a pair
---
{}.update([(1, 2, 3)])
!! has length 3
---
{}.update({}, {})
!! want at most 1
---
x = {1: "a"}
x[1.0] = "b"
x -> {1: "b"}
---
x = {"b": 1, "a": 2}
x["b"] = 3
x["c"] = 4
y = x.pop("b")
x["b"] = 5
x -> {"a": 2, "c": 4, "b": 5}
---
x = {"a": 1}
y = dict(x)
y["b"] = 2
x -> {"a": 1}
"""

SETS = r"""
s = set()
r = [s.add(1), s.add(1), s.add(True), s.add("a")]
(s, r) -> (set([1, True, "a"]), [None, None, None, None])
---
set().add([])
!! unhashable
---
s = set([1])
s.clear()
s -> set()
---
[set([1, 2, 3]).difference([2]), set([1, 2, 3]).difference([0, 1], [3, 4]), set([1]).difference()] -> [set([1, 3]), set([2]), set([1])]
---
s = set([1, 2, 3, 4])
r = [s.difference_update([2]), s.difference_update([0, 1], [4, 5]), s.difference_update()]
(s, r) -> (set([3]), [None, None, None])
---
s = set(["x", "y"])
r = [s.discard("y"), s.discard("y")]
(s, r) -> (set(["x"]), [None, None])
---
set().discard([])
!! unhashable
---
[set([1, 2]).intersection([2, 3]), set([1, 2, 3]).intersection([0, 1], [1, 2]), set([1]).intersection()] -> [set([2]), set([1]), set([1])]
---
s = set([1, 2, 3, 4])
s.intersection_update([0, 1, 2])
t = set(s)
s.intersection_update([0, 1], [1, 2])
(s, t) -> (set([1]), set([1, 2]))
---
[set([1]).isdisjoint([2]), set([1]).isdisjoint([1]), set().isdisjoint([])] -> [True, False, True]
---
[set([1]).issubset([1, 2]), set([1, 3]).issubset([1, 2]), set().issubset([])] -> [True, False, True]
---
[set([1, 2]).issuperset([1]), set([1]).issuperset([2]), set([1]).issuperset({})] -> [True, False, True]
---
set([1]).issubset([[]])
!! unhashable
---
set([1]).issubset(1)
!! not iterable
---
s = set([3, 1, 2])
r = [s.pop(), s.pop(), s.pop()]
(s, r) -> (set(), [3, 1, 2])
---
set().pop()
!! empty set
---
s = set([1, 2])
s.remove(2)
s -> set([1])
---
set([1]).remove(2)
!! element not found
---
set([1]).remove([])
!! unhashable
---
set([1, 2]).symmetric_difference([2, 3]) -> set([1, 3])
---
set([1]).symmetric_difference()
!! got 0 arguments
---
set([1]).symmetric_difference([], [])
!! want at most 1
---
s = set([1, 2])
s.symmetric_difference_update([2, 3])
s -> set([1, 3])
---
[set([1, 2]).union([2, 3]), set([1, 2]).union([2, 3], {3: "a", 4: "b"}), set([1]).union()] -> [set([1, 2, 3]), set([1, 2, 3, 4]), set([1])]
---
set([1]).union(2)
!! not iterable
---
s = set()
s.update([1, 2])
s.update([2, 3], [3, 4])
s.update()
s.update(s)
s -> set([1, 2, 3, 4])
---
s = set([1, 2])
t = s.union([3])
t.add(4)
s -> set([1, 2])
---
s = set([1, 2, 3])
s.discard(1)
s.add(1)
s -> set([2, 3, 1])
---
set().add(x=1)
!! unexpected keyword
"""


@pytest.mark.parametrize("line", lines(STRINGS))
def test_strings(line: str) -> None:
    check(line)


@pytest.mark.parametrize("block", programs(LISTS))
def test_lists(block: str) -> None:
    check_program(block)


@pytest.mark.parametrize("block", programs(DICTS))
def test_dicts(block: str) -> None:
    check_program(block)


@pytest.mark.parametrize("block", programs(SETS))
def test_sets(block: str) -> None:
    check_program(block)
