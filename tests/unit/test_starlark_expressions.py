"""Starlark spec, "Expressions": precedence, comprehensions, calls, interpolation."""

from __future__ import annotations

import pytest

from tests.unit.starlark_cases import check, check_program, lines, programs, run

OPERATORS = r"""
1 + 2 * 3 + 4 -> 11
(1 + 2) * (3 + 4) -> 21
2 * 3 % 4 -> 2
2 + 3 << 1 -> 10
1 << 2 + 1 -> 8
6 & 3 << 1 -> 6
1 | 2 & 2 -> 3
1 | 6 ^ 2 -> 5
5 ^ 3 & 1 -> 4
1 | 2 == 3 -> True
1 + 1 == 2 -> True
not 1 == 2 -> True
not 1 in [2] -> True
not True or True -> True
1 or 2 and 3 -> 1
0 or 2 and 3 -> 3
-1 * -2 -> 2
- 2 + 1 -> -1
-2 * 3 -> -6
~1 + 1 -> -1
10 - 2 - 3 -> 5
100 // 5 // 2 -> 10
100 / 5 / 2 -> 10.0
2 * 3 // 4 -> 1
1 in [1] == True !! cannot be chained
1 < 2 < 3 !! cannot be chained
1 == 1 == 1 !! cannot be chained
1 in [1] in [[1]] !! cannot be chained
1 < 2 not in [True] !! cannot be chained
(1 < 2) == True -> True
1 == (1 == 1) -> False
not not 1 -> True
not [] -> True
- - 1 -> 1
1 +- 1 -> 0
2 ** 3 !! unexpected '**'
1 <> 2 !! unexpected
a := 1 !! unexpected
1 is 1 !! 'is'
0 or "hello" -> "hello"
1 or fail("not evaluated") -> 1
0 and fail("not evaluated") -> 0
1 and "hello" -> "hello"
None or [] or {} -> {}
1 and 2 and 0 and fail("x") -> 0
[1 or 2, 0 and 1 or 3] -> [1, 3]
1 + 1 and 2 + 2 or fail("x") -> 4
1 not in [2] and 1 in [1] -> True
not (1 in [1]) -> False
"a" not in "b" "c" !! two strings
+ "a" !! unsupported unary operation: +string
- [] !! unsupported unary operation: -list
[] + None !! list + NoneType
None in None !! NoneType in NoneType
1 in 1 !! int in int
"a" % !! unexpected
* [1] !! unexpected
"""

CONDITIONALS = r"""
1 if True else 2 -> 1
1 if "" else 2 -> 2
1 if 0 else 2 if 0 else 3 -> 3
1 if 1 else 2 if 0 else 3 -> 1
(1 if 0 else 2) if 0 else 3 -> 3
1 if 1 if 0 else 1 else 2 !! unexpected 'if'
[1 if x else 2 for x in [0, 1]] -> [2, 1]
1 + 2 if 0 else 3 -> 3
(lambda: 1 if 0 else 2)() -> 2
(1 if 1 else lambda: 5) -> 1
(0 if 0 else lambda: 5)() -> 5
1 if fail("test") else 2 !! test
1 if True else fail("x") -> 1
fail("x") if False else 1 -> 1
1 if True !! unexpected
1 if else 2 !! unexpected
"""

COMPREHENSIONS = r"""
[x * x for x in [1, 2, 3]] -> [1, 4, 9]
[x * x for x in range(5) if x % 2 == 0] -> [0, 4, 16]
[(x, y) for x in range(5) if x % 2 == 0 for y in range(5) if y > x] -> [(0, 1), (0, 2), (0, 3), (0, 4), (2, 3), (2, 4)]
[x for x in [1, 2, 3, 4] if x > 1 if x < 4] -> [2, 3]
[x * y + z for (x, y), z in [((2, 3), 5), (("o", 2), "!")]] -> [11, "oo!"]
[x for [x, y] in [[1, 2]]] -> [1]
[x for x, in [[1]]] !! trailing comma
[x for (x,) in [[1]]] -> [1]
[[y for y in range(x)] for x in range(3)] -> [[], [0], [0, 1]]
[x for y in [[1, 2], [3]] for x in y] -> [1, 2, 3]
{x: len(x) for x in ["able", "baker"]} -> {"able": 4, "baker": 5}
{k: v for k, v in {"a": 1}.items()} -> {"a": 1}
{x: y for x in [1, 1] for y in [1, 2]} -> {1: 2}
{[]: 1 for x in [1]} !! unhashable type: list
[2 * x for x in 1, 2, 3] !! unexpected ','
[2 * x for x in lambda: 0] !! unexpected 'lambda'
[x for x in (lambda: [1])()] -> [1]
[x for x in [1] if x == 1 or x == 2] -> [1]
[x for x in ([1] if True else [2])] -> [1]
[x for x in [1] if (1 if x else 0)] -> [1]
[x if x else -1 for x in [0, 1]] -> [-1, 1]
[lambda: x for x in [1]][0]() -> 1
[f() for f in [lambda: x for x in [1, 2]]] -> [2, 2]
[] if [] else [x for x in []] -> []
[if x for x in [1]] !! unexpected 'if'
[x if x] !! unexpected ']'
[for x in [1]] !! unexpected 'for'
{for x in [1]} !! unexpected 'for'
{x for x in [1]} !! unexpected 'for'
(x for x in [1]) !! unexpected 'for'
list(x for x in [1]) !! unexpected 'for'
[1, 2 for x in [1]] !! unexpected 'for'
[*x for x in [1]] !! unexpected '*'
[x for x in [1] for y in x] !! int value is not iterable
[1 // 0 for x in [] for y in z for z in ()] -> []
[1 // 0 for x in [1] for y in z for z in ()] !! local variable 'z' referenced before assignment
[y for y in y] !! unknown name 'y'
[a for b in [1]] !! unknown name 'a'
[(a, b) for a in [1] for b in [a]] -> [(1, 1)]
[x for x in [[1], [2]] for x in x] -> [1, 2]
"""

COMPREHENSION_SCOPES = r"""
x = 1
y = [x for x in [2]]
(x, y) -> (1, [2])
---
x = [1, 2]
y = [x for x in x]
(x, y) -> ([1, 2], [1, 2])
---
def f():
    x = 1
    y = [x for x in [2, 3]]
    return x, y
f() -> (1, [2, 3])
---
def f():
    x = [[1]]
    return [x for x in x for x in x], x
f() -> ([1], [[1]])
---
def f():
    fs = []
    for i in range(2):
        fs.append([lambda: (i, j) for j in range(2)])
    return [g() for fl in fs for g in fl]
f() -> [(1, 1), (1, 1), (1, 1), (1, 1)]
---
def f():
    [x for x in [1]]
    return x
f()
!! unknown name 'x' @3:12
---
def f():
    m = [0, 0]
    [0 for m[0] in [5]]
    return m
f() -> [5, 0]
"""

INTERPOLATION = r"""
"Hello %s" % "Bob" -> "Hello Bob"
"Hello %s, your score is %d" % ("Bob", 75) -> "Hello Bob, your score is 75"
"%s" % 1 -> "1"
"%s" % None -> "None"
"%s" % [1, "a"] -> "[1, \"a\"]"
"%s" % (1,) -> "1"
"%s" % ((1, 2),) -> "(1, 2)"
"%s" % (40, -74) !! too many arguments for format string
"%s %s" % (1,) !! not enough arguments for format string
"%s %s" % 1 !! not enough arguments
"abc" % () -> "abc"
"abc" % 1 !! too many arguments
"abc" % (1,) !! too many arguments
"" % () -> ""
"%r" % "a" -> "\"a\""
"%s%r" % ("a", "b") -> "a\"b\""
"%d" % 12 -> "12"
"%d" % -12 -> "-12"
"%i" % 12 -> "12"
"%d" % 1.9 -> "1"
"%d" % -1.9 -> "-1"
"%d" % (1 << 70) -> "1180591620717411303424"
"%d" % "1" !! requires a number
"%d" % True !! requires a number: got bool
"%d" % float("inf") !! out of its range
"%x" % 255 -> "ff"
"%X" % 255 -> "FF"
"%o" % 8 -> "10"
"%x" % -255 -> "-ff"
"%o" % -8 -> "-10"
"%x" % 255.9 -> "ff"
"%e" % 1230000000000 -> "1.230000e+12"
"%E" % 1230000000000.0 -> "1.230000E+12"
"%f" % 1230000000000 -> "1230000000000.000000"
"%F" % 1.5 -> "1.500000"
"%g" % 1.2e12 -> "1.2e+12"
"%G" % 1.2e12 -> "1.2E+12"
"%g" % 1.1 -> "1.1"
"%g" % 0.0 -> "0.0"
"%g" % 1 -> "1.0"
"%g" % 1e45 -> "1e+45"
"%g" % float("inf") -> "+inf"
"%f" % float("nan") -> "nan"
"%e" % "a" !! requires a number: got string
"%e" % (1 << 2000) !! out of its range
"%c" % 65 -> "A"
"%c" % "x" -> "x"
"%c" % 0x1F600 -> "😀"
"%c" % "ab" !! single character
"%%" % () -> "%"
"%d%%" % 5 -> "5%"
"%s %% %s" % (1, 2) -> "1 % 2"
"%" % () !! incomplete format
"a%" % 1 !! incomplete format
"%y" % 1 !! unknown conversion %y
"%5d" % 1 !! unknown conversion %5
"% d" % 1 !! unknown conversion
"%(a)s-%(b)d" % {"a": "x", "b": 2} -> "x-2"
"%(c)s" % {"a": 1} !! key not found
"%(a)s" % 1 !! requires a mapping
"%s" % {} -> "{}"
"%s" % "é"[0] + "é"[1] -> "é"
"""

CALLS = r"""
def f(a, b, c=5): return a * b + c
[f(*[2, 3]), f(*[2, 3, 7]), f(**dict(b=3, a=2)), f(**dict(c=7, a=2, b=3)), f(2, b=3), f(b=2, a=3)] -> [11, 13, 11, 13, 11, 11]
---
def f(a, b, c=5): return a * b + c
f(*[2])
!! function f missing 1 argument (b) @2:1
---
def f(a, b, c=5): return a * b + c
f()
!! function f missing 2 arguments (a, b)
---
def f(a, b): return a
f(1, 2, 3)
!! function f accepts 2 positional arguments (3 given)
---
def f(): return 1
f(1)
!! function f accepts 0 positional arguments (1 given)
---
def f(a): return a
f(d=4)
!! function f got unexpected keyword argument 'd'
---
def f(alpha): return alpha
f(alfa=4)
!! did you mean 'alpha'
---
def f(a): return a
f(1, a=2)
!! function f got multiple values for parameter 'a'
---
def f(a, b): return a
f(1, **{"a": 2, "b": 3})
!! multiple values for parameter 'a'
---
def f(a): return a
f(a=1, a=2)
!! keyword argument 'a' is repeated @2:8
---
def f(**k): return k
f(x=1, **dict(x=2))
!! multiple values for keyword argument 'x'
---
def f(**k): return k
f(**{1: 2})
!! keywords must be strings
---
def f(**k): return k
f(**[("a", 1)])
!! must be a mapping, not list
---
def f(*a): return a
f(*1)
!! must be iterable
---
def f(*a): return a
[f(), f(1), f(*(1, 2)), f(1, *range(2, 4)), f(*{"a": 1}), f(*set([2]))] -> [(), (1,), (1, 2), (1, 2, 3), ("a",), (2,)]
---
def f(*a): return a
f(*[1], *[2])
!! may not follow *args @2:9
---
def f(**a): return a
f(**{}, **{})
!! may not follow **kwargs
---
def f(*a, **k): return a, k
f(*[1], 2)
!! positional argument may not follow *args
---
def f(*a, **k): return a, k
f(*[1], a=2)
!! keyword argument may not follow *args
---
def f(*a, **k): return a, k
f(a=1, 2)
!! positional argument may not follow keyword argument
---
def f(*a, **k): return a, k
f(**{}, *[])
!! *args may not follow **kwargs
---
def f(*a, **k): return a, k
[f(1, a=2, *[3], **{"b": 4}), f(1, 2,), f(a=1,), f(*[1],), f(**{"z": 0},)] -> [((1, 3), {"a": 2, "b": 4}), ((1, 2), {}), ((), {"a": 1}), ((1,), {}), ((), {"z": 0})]
---
order = []
def e(x):
    order.append(x)
    return x
def f(*a, **k): pass
f(e(1), e(2), a=e(3), b=e(4), *[e(5)], **{"c": e(6)})
order -> [1, 2, 3, 4, 5, 6]
---
order = []
def e(x):
    order.append(x)
    return x
y = e(1) + e(2) * e(3)
z = [e(4), e(5)][e(0)]
w = {e(6): e(7), e(8): e(9)}
v = e(10) if e(11) else e(12)
order -> [1, 2, 3, 4, 5, 0, 6, 7, 8, 9, 11, 10]
---
order = []
def e(x):
    order.append(x)
    return x
def f():
    order.append("called")
    return lambda x: x
f()(e(1))
order -> ["called", 1]
---
f = "banana".count
[f("a"), f("n")] -> [3, 2]
---
def f(x): return x
f (1) -> 1
"""

INDEXING = r"""
[1, 2][0,] !! got tuple, want int
{(1, 2): 3}[1, 2] -> 3
{(1,): 3}[1,] -> 3
[1][] !! unexpected ']'
[1, 2, 3][0:2:1:1] !! unexpected ':'
1[0] !! int value cannot be indexed
None[0] !! NoneType value cannot be indexed
1[0:1] !! cannot be sliced
[[1, 2], [3]][0][1] -> 2
"abc".upper()[0].lower() -> "a"
"a,b".split(",")[1] -> "b"
"a". upper() -> "A"
1.upper !! unexpected
(1).upper !! int has no .upper
"""

LAMBDAS = r"""
(lambda: 1)() -> 1
(lambda x: x)(2) -> 2
(lambda x, y=2: x + y)(1) -> 3
(lambda *a: a)(1, 2) -> (1, 2)
(lambda **k: k)(a=1) -> {"a": 1}
(lambda a, *b, c=3, **d: [a, b, c, d])(1, 2, c=4, e=5) -> [1, (2,), 4, {"e": 5}]
(lambda x: lambda y: x + y)(1)(2) -> 3
list([f(3) for f in [lambda x: 2 * x, lambda x: x]]) -> [6, 3]
(lambda x: x for x in [1]) !! unexpected 'for'
lambda x,: x !! unexpected ','
lambda x: return x !! unexpected 'return'
lambda x, x: 1 !! duplicate parameter: x
lambda: !! unexpected
(lambda *, k: k)(k=1) -> 1
(lambda x=[]: x)() -> []
type(lambda: 0) -> "function"
"""


def _params(table: str) -> list[str]:
    return lines(table)


@pytest.mark.parametrize("line", _params(OPERATORS))
def test_operators(line: str) -> None:
    check(line)


@pytest.mark.parametrize("line", _params(CONDITIONALS))
def test_conditionals(line: str) -> None:
    check(line)


@pytest.mark.parametrize("line", _params(COMPREHENSIONS))
def test_comprehensions(line: str) -> None:
    check(line)


@pytest.mark.parametrize("block", programs(COMPREHENSION_SCOPES))
def test_scopes_of_comprehensions(block: str) -> None:
    check_program(block)


@pytest.mark.parametrize("line", _params(INTERPOLATION))
def test_interpolation(line: str) -> None:
    check(line)


@pytest.mark.parametrize("block", programs(CALLS))
def test_calls(block: str) -> None:
    check_program(block)


@pytest.mark.parametrize("line", _params(INDEXING))
def test_indexing(line: str) -> None:
    check(line)


@pytest.mark.parametrize("line", _params(LAMBDAS))
def test_lambdas(line: str) -> None:
    check(line)


def test_long_chains_need_no_stack() -> None:
    assert run(f"x = {'+'.join(['1'] * 5000)}\n")["x"] == 5000
    assert run(f"x = {' and '.join(['1'] * 5000)}\n")["x"] == 1
    assert run(f"x = {' or '.join(['0'] * 5000)}\n")["x"] == 0
