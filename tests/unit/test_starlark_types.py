"""Starlark spec, "Data types" and "Value concepts": what values are and how they are compared."""

from __future__ import annotations

import pytest

from tests.unit.starlark_cases import check, check_program, lines, programs

NONE_AND_BOOL = r"""
None -> None
type(None) -> "NoneType"
bool(None) -> False
None == None -> True
None == False -> False
True -> True
type(True) -> "bool"
True == 1 -> False
True != 1 -> True
False == 0 -> False
True + 1 !! unsupported binary operation: bool + int
-True !! unsupported unary operation: -bool
~True !! unsupported unary operation: ~bool
True & False !! bool & bool
False < True -> True
True < False -> False
True <= True -> True
True < 2 !! unsupported comparison: bool < int
None < None !! unsupported comparison
[bool(x) for x in [0, 1, "", "a", [], [0], {}, {1: 1}, (), (0,), 0.0, 0.1, b"", b"0", range(0), range(1)]] -> [False, True, False, True, False, True, False, True, False, True, False, True, False, True, False, True]
[bool(x) for x in [set(), set([0]), len, lambda: 0, float("nan"), -0.0, "".elems(), "a".elems()]] -> [False, True, True, True, True, False, False, True]
[1, True, 1.0].index(True) -> 1
"""

INTEGERS = r"""
type(0) -> "int"
111111111 * 111111111 -> 12345678987654321
100 // 5 * 9 + 32 -> 212
3 // 2 -> 1
-3 // 2 -> -2
3 // -2 -> -2
-3 // -2 -> 1
3 % 2 -> 1
-3 % 2 -> 1
3 % -2 -> -1
-3 % -2 -> -1
7 / 2 -> 3.5
4 / 2 -> 2.0
1 / 3 * 3 == 1 -> True
1 // 0 !! division by zero
1 % 0 !! by zero
1 / 0 !! division by zero
0 // 5 -> 0
(1 << 100) // (1 << 50) == 1 << 50 -> True
(1 << 100) % 1000 -> 376
-(1 << 100) // 3 -> -422550200076076467165567735126
-(1 << 100) % 3 -> 2
12 & 10 -> 8
12 | 3 -> 15
12 ^ 10 -> 6
-1 & 255 -> 255
-1 | 1 -> -1
-2 ^ 1 -> -1
~0 -> -1
~1 -> -2
~-1 -> 0
~(1 << 80) -> -1208925819614629174706177
1 << 10 -> 1024
1 << 0 -> 1
1024 >> 3 -> 128
-1 >> 100 -> -1
-8 >> 1 -> -4
1 >> 1000000000000 -> 0
-1 >> 1000000000000 -> -1
0 << 1000000000000 -> 0
1 << -1 !! negative shift count
1 >> -1 !! negative shift count
1 << 1.0 !! int << float
0x12345678 & 0xFF -> 120
0x12345678 | 0xFF -> 305420031
0b01011101 ^ 0b110101101 -> 496
+5 -> 5
--5 -> 5
-5 -> -5
1 < 2 -> True
2 <= 1 -> False
(1 << 64) > (1 << 63) -> True
1 == 1.0 -> True
len(str(1 << 100000)) -> 30103
int(str(7 << 20000)) == 7 << 20000 -> True
"""

FLOATS = r"""
type(1.0) -> "float"
3.0 / 2 -> 1.5
3 / 2.0 -> 1.5
3.0 // 2.0 -> 1.0
3.5 // 2 -> 1.0
-3.5 // 2 -> -2.0
3.5 // -2 -> -2.0
1 // 0.1 -> 10.0
-0.5 // 1 -> -1.0
5.5 % 2 -> 1.5
-5.5 % 2 -> 0.5
5.5 % -2 -> -0.5
-5.5 % -2 -> -1.5
1.0 // 0 !! division by zero
1.0 / 0.0 !! division by zero
1.0 % 0 !! by zero
1.5 + 1 -> 2.5
1 + 1.5 -> 2.5
2 * 1.5 -> 3.0
1 - 0.5 -> 0.5
-1.5 -> -1.5
+1.5 -> 1.5
~1.5 !! unsupported unary operation: ~float
1.5 & 1 !! float & int
1.23e45 * 1.23e45 -> 1.5129e+90
1e308 * 10 -> +inf
-1e308 * 10 -> -inf
1e308 * 10 - 1e308 * 10 -> nan
(1 << 53) + 1 + 0.0 == (1 << 53) + 1 -> False
((1 << 53) + 1 + 0.0) - ((1 << 53) + 1) -> 0.0
(1 << 53) + 1 > (1 << 53) + 0.0 -> True
1.0 == 1 -> True
0.1 == 1 -> False
1 << 2000 > 1e308 -> True
float("inf") > 1 << 2000 -> True
float("-inf") < -(1 << 2000) -> True
(1 << 2000) + 1.0 !! too large to convert to float
(1 << 2000) / 1 !! too large to convert to float
1.0 * (1 << 2000) !! too large to convert to float
0.0 == -0.0 -> True
0.0 < -0.0 -> False
float("nan") == float("nan") -> True
float("nan") != float("nan") -> False
float("nan") == 1 -> False
float("nan") > float("inf") -> True
float("nan") > 1 << 2000 -> True
float("nan") < float("nan") -> False
float("nan") <= float("nan") -> True
float("nan") >= 1 -> True
1 < float("nan") -> True
1 > float("nan") -> False
sorted([float("nan"), 1, float("inf"), -1.5]) -> [-1.5, 1, +inf, nan]
max([1, float("nan"), 2]) -> nan
min([float("nan"), 3]) -> 3
[float("nan")] == [float("nan")] -> True
{float("nan"): 1}[float("nan")] -> 1
len({float("nan"): 1, 0.0: 2}) -> 2
len(set([float("nan"), float("nan")])) -> 1
{(1, float("nan")): 1}[(1, float("nan"))] -> 1
{(list({float("nan"): 1})[0],): 2}[(float("nan"),)] -> 2
list({(1, float("nan")): 1}) -> [(1, nan)]
{1: "a"}[1.0] -> "a"
{1.0: "a"}[1] -> "a"
{0.0: "a"}[-0.0] -> "a"
1 in {1.0: 0} -> True
str(1e45) -> "1e+45"
str(1.2e12) -> "1.2e+12"
str(100000.0) -> "100000.0"
str(123456.5) -> "123456.5"
str(1000000.0) -> "1e+06"
str(1234567.0) -> "1.234567e+06"
str(0.0001) -> "0.0001"
str(0.00001) -> "1e-05"
str(0.00012) -> "0.00012"
str(1.5e-7) -> "1.5e-07"
str(1e100) -> "1e+100"
str(0.1) -> "0.1"
str(1.0) -> "1.0"
str(-2.50) -> "-2.5"
str(float("inf")) -> "+inf"
str(float("-inf")) -> "-inf"
str(float("nan")) -> "nan"
1e308 // 1e-308 -> +inf
float("inf") % 2 -> nan
5.0 % float("inf") -> 5.0
-5.0 % float("inf") -> +inf
"""

STRINGS = r"""
type("") -> "string"
"a" + "b" -> "ab"
"ab" * 3 -> "ababab"
3 * "ab" -> "ababab"
"ab" * 0 -> ""
"ab" * -1 -> ""
"" * 1000000000000 -> ""
"a" + 1 !! string + int
"a" * "b" !! string * string
"a" * 1.5 !! string * float
"a" - "b" !! string - string
"hello"[0] -> "h"
"hello"[4] -> "o"
"hello"[-1] -> "o"
"hello"[-5] -> "h"
"hello"[5] !! index 5 out of range
"hello"[-6] !! out of range
"hello"["a"] !! got string, want int
"hello"[1.0] !! got float, want int
"hello"[True] !! got bool, want int
"hello"[1:4] -> "ell"
"hello"[1:] -> "ello"
"hello"[:4] -> "hell"
"hello"[:] -> "hello"
"hello"[-3:-1] -> "ll"
"hello"[-1000:1000] -> "hello"
"hello"[::2] -> "hlo"
"hello"[::-1] -> "olleh"
"banana"[1::2] -> "aaa"
"banana"[4::-2] -> "nnb"
"banana"[:2:-1] -> "ana"
"banana"[-2:0:-2] -> "nn"
"abc"[3:1] -> ""
"abc"[None:None:None] -> "abc"
"abc"[None:2] -> "ab"
"abc"[::0] !! zero is not a valid slice step
"abc"["a":] !! got string, want int
"abc"[:1.5] !! got float, want int
"abc"[1<<80:] -> ""
"abc"[:1<<80] -> "abc"
"abc"[:-(1<<80):-1] -> "cba"
len("") -> 0
len("abc") -> 3
len("Д") -> 2
len("界") -> 3
len("😀") -> 4
"界"[0] -> "\xe7"
"界"[0:3] -> "界"
"界"[0] + "界"[1] + "界"[2] -> "界"
"界"[:2] + "界"[2:] == "界" -> True
"aД"[1:] -> "Д"
"aД"[-1:] -> "\x94"
("界"[2:] + "界"[:2]) * 2 -> "\x8c界\xe7\x95"
"a" < "b" -> True
"a" < "B" -> False
"a" < "aa" -> True
"" < "a" -> True
"z" < "é" -> True
"\uffff" < "😀" -> True
"a" == "a" -> True
"a" == b"a" -> False
"a" < b"a" !! unsupported comparison: string < bytes
"a" in "banana" -> True
"nan" in "banana" -> True
"" in "" -> True
"x" not in "banana" -> True
1 in "abc" !! requires string as left operand, not int
"é"[0] in "é" -> True
[x for x in "abc"] !! string value is not iterable
list("abc") !! string value is not iterable
"abc".reverse() !! string has no .reverse field or method
"abc".x !! string has no .x
hash("é") -> 233
"""

BYTES = r"""
type(b"") -> "bytes"
b"abc"[0] -> 97
b"abc"[-1] -> 99
b"abc"[3] !! out of range
b"abc"[1:] -> b"bc"
b"abc"[::-1] -> b"cba"
b"a" + b"b" -> b"ab"
b"ab" * 2 -> b"abab"
2 * b"ab" -> b"abab"
b"a" + "b" !! bytes + string
b"nasty" in b"dynasty" -> True
97 in b"abc" -> True
100 in b"abc" -> False
300 in b"abc" !! out of range
-1 in b"abc" !! out of range
"a" in b"abc" !! requires bytes or int
b"a" < b"b" -> True
b"a" == b"a" -> True
len(b"abc") -> 3
bool(b"") -> False
[x for x in b"abc"] !! bytes value is not iterable
list(b"ABC".elems()) -> [65, 66, 67]
type(b"ABC".elems()) -> "bytes.elems"
b"ABC".elems() -> b"ABC".elems()
{b"a": 1}[b"a"] -> 1
str(b"abc") -> "abc"
str(b"a\xffb") -> "a�b"
str(b"\xe7\x95") -> "��"
repr(b"\xe7\x95\x8c\n") -> "b\"界\\n\""
hash(b"") -> 2166136261
hash(b"a") -> 3826002220
"""

LISTS = r"""
type([]) -> "list"
[1, 2] + [3] -> [1, 2, 3]
[1] + (2,) !! list + tuple
[1, 2] * 2 -> [1, 2, 1, 2]
2 * [0] -> [0, 0]
[0] * -1 -> []
[1, 2, 3][1] -> 2
[1, 2, 3][-1] -> 3
[1, 2, 3][3] !! index 3 out of range: list has 3 elements
[][0] !! out of range
[1, 2, 3][1:] -> [2, 3]
[1, 2, 3][::-1] -> [3, 2, 1]
[1, 2, 3, 4, 5][::2] -> [1, 3, 5]
[1, 2, 3, 4, 5][4:1:-2] -> [5, 3]
2 in [1, 2] -> True
2.0 in [1, 2] -> True
True in [1, 2] -> False
3 not in [1, 2] -> True
[1] == [1] -> True
[1] == (1,) -> False
[1] == [1.0] -> True
[1, 2] < [1, 3] -> True
[1, 2] < [1, 2, 0] -> True
[] < [1] -> True
[2] > [1, 5] -> True
[1, 2] <= [1, 2] -> True
[1, "a"] < [2, 3] -> True
[1, "a"] < [1, 3] !! unsupported comparison: string < int
[[1], [2]] < [[1], [3]] -> True
[1] < (1,) !! unsupported comparison: list < tuple
{[]: 1} !! unhashable type: list
{(1, []): 1} !! unhashable type: list
[] in {} !! unhashable type: list
[1, 2, 3,] -> [1, 2, 3]
[[1, 2], [3]][0][1] -> 2
"""

TUPLES = r"""
() -> ()
type(()) -> "tuple"
(1,) -> (1,)
(1) -> 1
(1, 2) -> (1, 2)
(1, 2,) -> (1, 2)
(1, 2) + (3,) -> (1, 2, 3)
(1, 2) * 2 -> (1, 2, 1, 2)
2 * (1,) -> (1, 1)
(1, 2, 3)[1] -> 2
(1, 2, 3)[1:] -> (2, 3)
(1, 2, 3)[::-1] -> (3, 2, 1)
(1, 2)[2] !! out of range: tuple has 2 elements
1 in (1, 2) -> True
(1, 2) < (1, 3) -> True
(1,) == (1,) -> True
(True,) == (1,) -> False
{(1, 2): "a"}[(1, 2)] -> "a"
{(1, 2): "a"}[(1.0, 2)] -> "a"
{(True,): "a", (1,): "b"} -> {(True,): "a", (1,): "b"}
{((1, (2,)),): 1}[((1, (2,)),)] -> 1
len((1, 2)) -> 2
bool(()) -> False
"""

DICTS = r"""
{} -> {}
type({}) -> "dict"
{"a": 1, "b": 2} -> {"a": 1, "b": 2}
{"a": 1,} -> {"a": 1}
{"b": 1, "a": 2} -> {"b": 1, "a": 2}
{1: 1, 1: 2} !! duplicate key: 1
{1: 1, 1.0: 2} !! duplicate key
{True: "t", 1: "i", 1.5: "f", None: "n", "s": "s"}[True] -> "t"
{"a": 1}["a"] -> 1
{"a": 1}["b"] !! key "b" not in dict
{"a": 1}[[]] !! unhashable type: list
{{}: 1} !! unhashable type: dict
{set(): 1} !! unhashable type: set
{range(1): 1} !! unhashable type: range
{len: 1}[len] -> 1
"a" in {"a": 1} -> True
1 in {"a": 1} -> False
{"a": 1} == {"a": 1} -> True
{"a": 1, "b": 2} == {"b": 2, "a": 1} -> True
{"a": 1} == {"a": 2} -> False
{"a": 1} == {"a": 1, "b": 2} -> False
{1: [2]} == {1: [2]} -> True
{1: 1} == {True: 1} -> False
{"a": 1} < {"b": 1} !! unsupported comparison: dict < dict
{"a": 1, "b": 2} | {"b": 3, "c": 4} -> {"a": 1, "b": 3, "c": 4}
{} | {} -> {}
{"a": 1} | [("b", 2)] !! dict | list
{"a": 1} + {"b": 2} !! dict + dict
list({"a": 1, "b": 2}) -> ["a", "b"]
[k for k in {"a": 1, "b": 2}] -> ["a", "b"]
len({"a": 1}) -> 1
bool({}) -> False
{"a": 1}[0:1] !! cannot be sliced
{1: 2}.foo !! dict has no .foo
{(1, 2): 3}.keys() -> [(1, 2)]
{None: 1}[None] -> 1
{1 << 100: 1}[1 << 100] -> 1
"""

SETS = r"""
set() -> set()
type(set()) -> "set"
set([3, 1, 1, 2]) -> set([3, 1, 2])
set({"k1": 1, "k2": 2}) -> set(["k1", "k2"])
set([[]]) !! unhashable type: list
set([1, True, 1.0]) -> set([1, True])
set(1) !! int value is not iterable
set("abc") !! string value is not iterable
len(set([1, 1])) -> 1
1 in set([1]) -> True
1.0 in set([1]) -> True
True in set([1]) -> False
2 not in set([1]) -> True
[] in set([1]) !! unhashable
set() == set() -> True
set() == [] -> False
set([1, 2]) == set([2, 1]) -> True
set([1, 2]) != [1, 2] -> True
set([1]) < set([1, 2]) !! unsupported comparison: set < set
set([1]) <= set([1, 2]) !! unsupported comparison: set <= set
sorted([set([1]), set([2])]) !! unsupported comparison
set([1, 2]) | set([3, 2]) -> set([1, 2, 3])
set([1, 2]) & set([2, 3]) -> set([2])
set([1, 2]) & set([3, 4]) -> set()
set([1, 2]) - set([2, 3]) -> set([1])
set([1, 2]) - set([3, 4]) -> set([1, 2])
set([1, 2]) ^ set([2, 3]) -> set([1, 3])
set([1, 2]) ^ set([3, 4]) -> set([1, 2, 3, 4])
set([1, 2]) | [3] !! set | list
set([1, 2]) & [3] !! set & list
set([1, 2]) - [3] !! set - list
set([1, 2]) ^ [3] !! set ^ list
set([1]) + set([2]) !! set + set
set([1])[0] !! cannot be indexed
list(set([3, 1, 2])) -> [3, 1, 2]
sorted(set([3, 1, 2])) -> [1, 2, 3]
set([(1, 2), (1, 2)]) -> set([(1, 2)])
[x for x in set([2, 1])] -> [2, 1]
"""

RANGES = r"""
type(range(1)) -> "range"
range(10) -> range(10)
range(0, 10) -> range(10)
range(1, 10) -> range(1, 10)
range(1, 10, 2) -> range(1, 10, 2)
range(0, 10, 2) -> range(0, 10, 2)
list(range(10)) -> [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
list(range(3, 10, 2)) -> [3, 5, 7, 9]
list(range(10, 3, -2)) -> [10, 8, 6, 4]
list(range(0)) -> []
list(range(-1)) -> []
list(range(5, 1)) -> []
range(1, 10, 0) !! must not be zero
range(1.0) !! got float, want int
range("a") !! got string, want int
range(True) !! got bool, want int
range() !! want at least 1
range(1, 2, 3, 4) !! want at most 3
range(stop=1) !! unexpected keyword
len(range(0, 10, 3)) -> 4
range(0, 10, 3)[1] -> 3
range(0, 10, 3)[-1] -> 9
range(3)[3] !! out of range
range(10)[2:5] -> range(2, 5)
range(10)[::-1] -> range(9, -1, -1)
list(range(10)[1:8:3]) -> [1, 4, 7]
range(5) == range(0, 5, 1) -> True
range(0) == range(1, 1) -> True
range(0, 5, 2) == range(0, 6, 2) -> True
range(3) == [0, 1, 2] -> False
range(1) < range(2) !! unsupported comparison
3 in range(5) -> True
5 in range(5) -> False
3.0 in range(5) -> True
3.5 in range(5) -> False
float("nan") in range(5) -> False
"a" in range(5) !! requires a number
True in range(5) !! requires a number
bool(range(0)) -> False
1000000000000000000 in range(1000000000000000001) -> True
len(range(1000000000000000000)) -> 1000000000000000000
range(1 << 200) !! out of its range
"""

FUNCTIONS = r"""
type(len) -> "builtin_function_or_method"
type("".upper) -> "builtin_function_or_method"
type(lambda: 0) -> "function"
len -> <built-in function len>
"banana".count -> <built-in method count of string value>
[].append -> <built-in method append of list value>
(lambda: 0) -> <function lambda>
len == len -> True
len == max -> False
(lambda: 0) == (lambda: 0) -> False
len < max !! unsupported comparison
1() !! int is not callable
"a"() !! string is not callable
None() !! NoneType is not callable
len.x !! has no
"""

MUTATION = r"""
x = [1]
y = x
y.append(2)
x -> [1, 2]
---
x = {}
y = x
y["a"] = 1
x -> {"a": 1}
---
def f(y):
    y.append(1)
x = []
f(x)
x -> [1]
---
x = (1, [2])
x[1].append(3)
x -> (1, [2, 3])
---
x = (1, 2)
def f(): x[0] = 3
f()
!! tuple value does not support item assignment
---
x = "abc"
def f(): x[0] = "d"
f()
!! string value does not support item assignment
---
def f():
    x = [1, 2]
    for i in x:
        x.append(3)
f()
!! cannot append to list during iteration @4:9
---
def f():
    x = [1, 2]
    for i in x:
        x[0] = 3
f()
!! cannot assign to element of list during iteration @4:9
---
def f():
    x = {"one": 1}
    for k in x:
        x[k] += 1
f()
!! cannot insert into dict during iteration
---
def f():
    x = set([1])
    for k in x:
        x.add(2)
f()
!! cannot insert into set during iteration
---
def f():
    x = [1, 2]
    for i in x:
        x += [3]
f()
!! cannot append to list during iteration
---
def f():
    x = [1, 2]
    return [x.pop() for i in x]
f()
!! cannot pop from list during iteration
---
def f():
    x = {1: 2}
    return {k: x.clear() for k in x}
f()
!! cannot clear dict during iteration
---
def f():
    x = [1, 2, 3]
    for i in x:
        if i == 2:
            break
    x.append(4)
    for i in x:
        continue
    x.append(5)
    return x
f() -> [1, 2, 3, 4, 5]
---
def f():
    x = [1]
    for i in x:
        for j in x:
            pass
        x.append(1)
f()
!! during iteration
---
def g(x):
    for i in x:
        return i
def f():
    x = [1]
    g(x)
    x.append(2)
    return x
f() -> [1, 2]
---
def f():
    x = [1, 2]
    for i in list(x):
        x.append(i)
    return x
f() -> [1, 2, 1, 2]
---
x = [1, 2]
x.extend(x)
x -> [1, 2, 1, 2]
---
def f():
    x = [3, 1, 2]
    return sorted(x, key=lambda e: x.append(e) or e), x
f() -> ([1, 2, 3], [3, 1, 2, 3, 1, 2])
---
x = []
x.append(x)
str(x) -> "[[...]]"
---
x = {}
x["x"] = x
str(x) -> "{\"x\": {...}}"
---
x = []
x.append((x, 1))
repr(x) -> "[([...], 1)]"
---
x = []
x.append(x)
x == x -> True
---
x = [1]
[x, x] -> [[1], [1]]
"""


def _all(table: str) -> list[str]:
    return lines(table)


@pytest.mark.parametrize("line", _all(NONE_AND_BOOL))
def test_none_and_bool(line: str) -> None:
    check(line)


@pytest.mark.parametrize("line", _all(INTEGERS))
def test_integers(line: str) -> None:
    check(line)


@pytest.mark.parametrize("line", _all(FLOATS))
def test_floats(line: str) -> None:
    check(line)


@pytest.mark.parametrize("line", _all(STRINGS))
def test_strings(line: str) -> None:
    check(line)


@pytest.mark.parametrize("line", _all(BYTES))
def test_bytes(line: str) -> None:
    check(line)


@pytest.mark.parametrize("line", _all(LISTS))
def test_lists(line: str) -> None:
    check(line)


@pytest.mark.parametrize("line", _all(TUPLES))
def test_tuples(line: str) -> None:
    check(line)


@pytest.mark.parametrize("line", _all(DICTS))
def test_dicts(line: str) -> None:
    check(line)


@pytest.mark.parametrize("line", _all(SETS))
def test_sets(line: str) -> None:
    check(line)


@pytest.mark.parametrize("line", _all(RANGES))
def test_ranges(line: str) -> None:
    check(line)


@pytest.mark.parametrize("line", _all(FUNCTIONS))
def test_functions(line: str) -> None:
    check(line)


@pytest.mark.parametrize("block", programs(MUTATION))
def test_mutation(block: str) -> None:
    check_program(block)
