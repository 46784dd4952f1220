"""Starlark spec, "Statements", "Name binding and variables", "Functions", "Module execution"."""

from __future__ import annotations

from typing import Any

import pytest

from grammar.environment import Position
from grammar.errors import SpecError
from grammar.starlark.builtins import UNIVERSE
from grammar.starlark.interpreter import Interpreter
from grammar.starlark.parser import parse
from grammar.starlark.resolver import Dialect
from grammar.starlark.values import Function
from tests.unit.starlark_cases import check_program, programs, run

ASSIGNMENTS = r"""
a, b = 2, 3
(a, b) -> (2, 3)
---
(x, y) = [1, 2]
(x, y) -> (1, 2)
---
[zero, one, two] = range(3)
[zero, one, two] -> [0, 1, 2]
---
[] = ()
1 -> 1
---
() = []
1 -> 1
---
[(a, b), (c, d)] = [(1, 2), (3, 4)]
[a, b, c, d] -> [1, 2, 3, 4]
---
(a) = 1
a -> 1
---
((a), [b, (c)]) = 1, (2, 3)
[a, b, c] -> [1, 2, 3]
---
(a,) = [1]
a -> 1
---
a, b = {"x": 1, "y": 2}
(a, b) -> ("x", "y")
---
x = [1, 2]
x[0], x[1] = x[1], x[0]
x -> [2, 1]
---
m = {}
m["k"], n = 1, 2
(m, n) -> ({"k": 1}, 2)
---
def f():
    for i, x[i] in [(0, 5), (1, 6)]: pass
x = [0, 0]
f()
x -> [5, 6]
---
a, b = 1
!! int value is not iterable @1:1
---
a, b = "ab"
!! string value is not iterable
---
a, b = 1, 2, 3
!! too many values to unpack (got 3, want 2)
---
a, b, c = 1, 2
!! too few values to unpack (got 2, want 3)
---
[] = [1]
!! too many values to unpack
---
x = 1,
!! trailing comma @1:6
---
x, = [1]
!! trailing comma @1:2
---
x = y = 1
!! unexpected '='
---
1 = x
!! cannot assign @1:1
---
f() = 1
!! cannot assign
---
x[1:2] = [1]
!! cannot assign
---
x + y = 1
!! cannot assign
---
"a" = 1
!! cannot assign
---
(a, 1) = 1, 2
!! cannot assign @1:5
---
[x for x in []] = 1
!! cannot assign
---
*a, b = [1, 2]
!! unexpected '*'
---
x = [1]
x.f = 2
!! cannot assign to .f field of list
---
x: int = 1
!! unexpected ':'
---
x = {}
x[[]] = 1
!! unhashable type: list
---
x = [1]
def f(): x[1] = 2
f()
!! index 1 out of range: list has 1 element @2:10
---
order = []
def e(x):
    order.append(x)
    return x
a = [0, 0]
a[e(1)] = e(2)
order -> [2, 1]
"""

AUGMENTED = r"""
def f():
    x = 1
    x += 2
    x *= 3
    x -= 1
    x //= 2
    x %= 3
    x <<= 4
    x >>= 1
    x |= 1
    x &= 7
    x ^= 2
    return x
f() -> 3
---
def f():
    x = 1
    x /= 2
    return x
f() -> 0.5
---
def f():
    x = "a"
    x += "b"
    x *= 2
    return x
f() -> "abab"
---
def f():
    x = "%d"
    x %= 1
    return x
f() -> "1"
---
def f():
    x = [1]
    y = x
    x += [2]
    x += (3,)
    x += range(4, 5)
    x += {5: 0}
    return x, y
f() -> ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
---
def f():
    x = [1]
    y = x
    x = x + [2]
    return x, y
f() -> ([1, 2], [1])
---
def f():
    x = [1]
    x *= 2
    y = x
    x *= 2
    return x, y
f() -> ([1, 1, 1, 1], [1, 1])
---
def f():
    x = (1,)
    y = x
    x += (2,)
    return x, y
f() -> ((1, 2), (1,))
---
def f():
    x = {1: 1}
    y = x
    x |= {2: 2}
    return y
f() -> {1: 1, 2: 2}
---
def f():
    s = set([1, 2])
    t = s
    s |= set([2, 3, 4])
    s &= set([0, 1, 2, 3])
    s -= set([0, 1])
    s ^= set([3, 4])
    return t
f() -> set([2, 4])
---
def f():
    s = set()
    s |= [1]
f()
!! set | list
---
def f():
    x = {}
    x |= [(1, 2)]
f()
!! dict | list
---
def f():
    x = [1]
    x += 1
f()
!! int value is not iterable
---
x = [[1]]
x[0] += [2]
x -> [[1, 2]]
---
x = {"a": 1}
x["a"] += 1
x -> {"a": 2}
---
x = {}
x["a"] += 1
!! key "a" not in dict @2:1
---
x = (1,)
x[0] += 1
!! tuple value does not support item assignment
---
n = []
def i():
    n.append(0)
    return 0
x = [5]
x[i()] += 1
(x, n) -> ([6], [0])
---
x, y += 1
!! one target
---
(x, y) += 1, 2
!! one target
---
[x] += [1]
!! one target
---
f() += 1
!! cannot assign
---
def f():
    x += 1
f()
!! local variable 'x' referenced before assignment @2:5
---
x += 1
!! global variable 'x' referenced before assignment
---
x = 1
x += 1
!! cannot reassign global x declared on line 1 @2:1
---
def f():
    x = 5
    x = -x
    x += - 1
    return x
f() -> -6
"""

SCOPES = r"""
def f():
    return k
k = 1
f() -> 1
---
y = "goodbye"
def hello():
    found = []
    for x in (1, 2):
        if x == 2:
            found.append(y)
        if x == 1:
            y = "hello"
    return found
(hello(), y) -> (["hello"], "goodbye")
---
def f():
    print(x)
    x = "hello"
f()
!! local variable 'x' referenced before assignment @2:11
---
x = 1
def f():
    y = x
    x = 2
f()
!! local variable 'x' referenced before assignment
---
y = x
x = "hello"
!! global variable 'x' referenced before assignment @1:5
---
def f():
    if False:
        g()
!! unknown name 'g' @3:9
---
def f(): return undefined_thing
!! unknown name 'undefined_thing'
---
def f():
    unused = lambda: nothing
!! unknown name 'nothing'
---
x = 1
x = 2
!! cannot reassign global x declared on line 1 @2:1
---
def f(): pass
f = 1
!! cannot reassign global f declared on line 1
---
def f(): pass
def f(): pass
!! cannot reassign global f
---
x, x = 1, 2
!! cannot reassign global x
---
len = 1
len -> 1
---
def f():
    len = lambda x: 42
    return len([])
f() -> 42
---
True = 0
True -> 0
---
x = len
len = 3
!! global variable 'len' referenced before assignment
---
def f():
    x = 1
    def g():
        return x
    x = 2
    return g()
f() -> 2
---
def f():
    x = 1
    def g():
        x = 2
        return x
    return g(), x
f() -> (2, 1)
---
def f(x):
    res = []
    def get_x():
        res.append(x)
    get_x()
    x = 2
    get_x()
    return res
f(1) -> [1, 2]
---
def counter():
    n = [0]
    def next():
        n[0] += 1
        return n[0]
    return next
def f():
    c, d = counter(), counter()
    return [c(), c(), d()]
f() -> [1, 2, 1]
---
def a(x):
    def b():
        def c():
            return x
        return c
    return b()()
a(7) -> 7
---
def f():
    def g():
        return later
    later = 3
    return g()
f() -> 3
---
def f():
    def g():
        return later
    g()
    later = 3
f()
!! local variable 'later' referenced before assignment
---
def f(x, y=lambda: 5):
    return y() + x
f(1) -> 6
---
def f():
    fs = []
    for i in range(3):
        fs.append(lambda: i)
    return [g() for g in fs]
f() -> [2, 2, 2]
---
def f():
    fs = []
    for i in range(3):
        fs.append(lambda i=i: i)
    return [g() for g in fs]
f() -> [0, 1, 2]
---
def outer():
    def inner(a=1, *args, k, **kw):
        return a, args, k, kw
    return inner
outer()(2, 3, k=4, z=5) -> (2, (3,), 4, {"z": 5})
---
def f():
    def f():
        return 1
    return f()
f() -> 1
---
def f(x=y): return x
y = 1
!! global variable 'y' referenced before assignment
---
def f(a, b=a): pass
!! unknown name 'a' @1:12
"""

STATIC = r"""
if True: pass
!! if statement not within a function @1:1
---
for x in [1]: pass
!! for statement not within a function @1:1
---
return 1
!! return statement not within a function @1:1
---
break
!! break statement not within a loop @1:1
---
continue
!! continue statement not within a loop
---
def f():
    break
!! break statement not within a loop @2:5
---
def f():
    for x in []:
        def g(): break
!! break statement not within a loop @3:18
---
def f():
    for x in []:
        pass
    continue
!! continue statement not within a loop
---
def f():
    if True:
        break
!! break statement not within a loop
---
def f(): load("m", "x")
!! load statement within a function
---
load("m", "x")
!! load() is not supported
---
load()
!! begins with the module
---
load("m")
!! at least one name
---
load("m", x)
!! literal strings
---
load("m", "x", 1)
!! literal strings
---
load(m, "x")
!! literal strings
---
load("m", "_x")
!! leading underscores
---
load("m", "1x")
!! is not a valid name
---
load("m", *["x"])
!! literal strings
---
load("m", "x", "x")
!! cannot reassign global x
---
x = load
!! unexpected 'load'
---
x = 1
load("m", "x")
!! cannot reassign global x
---
def f(a, a): pass
!! duplicate parameter: a @1:10
---
def f(a, *a): pass
!! duplicate parameter
---
def f(a=1, b): pass
!! required parameter may not follow optional @1:12
---
def f(*): pass
!! bare * must be followed
---
def f(*, **k): pass
!! bare * must be followed
---
def f(a, *): pass
!! bare * must be followed
---
def f(*a, *b): pass
!! may not follow another *
---
def f(**k, a): pass
!! may not follow **
---
def f(**k, *a): pass
!! may not follow **
---
def f(**a, **b): pass
!! may not follow **
---
def f(a, (b, c)): pass
!! unexpected '('
---
def f(1): pass
!! unexpected '1'
---
def f(a.b): pass
!! unexpected '.'
---
def f() pass
!! unexpected 'pass'
---
def f:
    pass
!! unexpected ':'
---
def (): pass
!! unexpected '('
---
def f() -> int: pass
!! unexpected
---
for x, in [1]: pass
!! trailing comma
---
def f():
    for 1 in [1]: pass
!! cannot assign
---
def f():
    for f() in [1]: pass
!! cannot assign
---
def f():
    for x in 1: pass
f()
!! int value is not iterable @2:14
---
def f():
    for x in "abc": pass
f()
!! string value is not iterable
---
def f():
    return 1,
!! trailing comma
---
while True: pass
!! 'while'
---
class A: pass
!! classes
---
import os
!! 'import'
---
from os import path
!! 'from
---
del x
!! 'del'
---
global x
!! 'global'
---
assert True
!! 'assert'
---
raise 1
!! exceptions
---
try:
    pass
!! exceptions
---
with x: pass
!! 'with'
---
def f(): yield 1
!! generators
---
x = await 1
!! 'await'
---
@x
def f(): pass
!! unexpected
---
else: pass
!! 'if'
---
def f():
    if True: pass
    else if False: pass
!! elif
---
pass 1
!! unexpected '1'
---
pass = 1
!! unexpected '='
"""

FUNCTIONS = r"""
def noop(): pass
noop() -> None
---
def f(x):
    if x == 0:
        return
    if x < 0:
        return -x
[f(0), f(1), f(-1)] -> [None, None, 1]
---
def f(): return 1, 2
f() -> (1, 2)
---
def f(): return (1,)
f() -> (1,)
---
def twice(x):
    return x * 2
[str(twice), twice(2), twice("two")] -> ["<function twice>", 4, "twotwo"]
---
def f(x, y=3): return x, y
[f(1, 2), f(1), f(y=1, x=2)] -> [(1, 2), (1, 3), (2, 1)]
---
def f(x, y, *args): return x, y, args
[f(1, 2), f(1, 2, 3, 4)] -> [(1, 2, ()), (1, 2, (3, 4))]
---
def f(x, y, **kwargs): return x, y, kwargs
[f(1, 2), f(x=2, y=1), f(x=2, y=1, z=3)] -> [(1, 2, {}), (2, 1, {}), (2, 1, {"z": 3})]
---
def g(a, *args, b=2, c): return a, b, c, args
[g(1, 4, c=3), g(1, c=3, *[4, 5])] -> [(1, 2, 3, (4,)), (1, 2, 3, (4, 5))]
---
def g(a, *args, b=2, c): return a, b, c, args
g(1, 3)
!! function g missing 1 argument (c)
---
def f(a, *, b=2, c): return a, b, c
f(1, c=3) -> (1, 2, 3)
---
def f(a, *, b=2, c): return a, b, c
f(1)
!! function f missing 1 argument (c)
---
def f(a, *, b=2, c): return a, b, c
f(1, 3)
!! function f accepts 1 positional argument (2 given)
---
def f(a, b, c=1, *, d=1): return [a, b, c, d]
f(1, 2, d=4) -> [1, 2, 1, 4]
---
def f(a, b=1,): return a, b
f(1) -> (1, 1)
---
def f(*args,): return args
f(1) -> (1,)
---
def f(**kw,): return kw
f(a=1) -> {"a": 1}
---
def f(x, list=[]):
    list.append(x)
    return list
[f(4, [1, 2, 3]), f(1), f(2)] -> [[1, 2, 3, 4], [1, 2], [1, 2]]
---
def f(**kw):
    kw["a"] = 2
    return kw
d = {"a": 1}
(f(**d), d) -> ({"a": 2}, {"a": 1})
---
def fib(x):
    if x < 2:
        return x
    return fib(x - 2) + fib(x - 1)
fib(5)
!! function fib called recursively @4:12
---
def f(x): return g(x)
def g(x): return f(x)
f(1)
!! function f called recursively
---
y = lambda f: f(f)
y(y)
!! called recursively
---
def make():
    def inner(f): return f
    return inner
def run():
    a, b = make(), make()
    return a(b)(1)
run() -> 1
---
def apply(f, x): return f(x)
def run():
    def inner(f):
        return apply(f, 1)
    return inner(lambda x: x + 1)
run() -> 2
---
def make(n):
    def inner(f):
        return f(None) if f else n
    return inner
x = make(1)(make(2))
!! called recursively
---
def f(n): return 0 if n == 0 else sorted([n], key=lambda x: f(n - 1))
f(2)
!! function f called recursively
---
def f():
    for x in range(10):
        if x % 2 == 1:
            continue
        if x > 7:
            break
        found.append(x)
found = []
f()
found -> [0, 2, 4, 6]
---
def f():
    found = []
    for x in range(3):
        for y in range(3):
            if y == 1:
                break
            found.append((x, y))
    return found
f() -> [(0, 0), (1, 0), (2, 0)]
---
def f():
    for x in [1, 2, 3]:
        for y in [4, 5]:
            if y == 5:
                return x, y
f() -> (1, 5)
---
def f():
    for x in []:
        pass
    return x
f()
!! local variable 'x' referenced before assignment
---
def f(x):
    if x > 0:
        r = 1
    elif x < 0:
        r = -1
    else:
        r = 0
    return r
[f(3), f(-3), f(0)] -> [1, -1, 0]
---
def f():
    for x in 1, 2:
        pass
    return x
f() -> 2
---
def f():
    for x, (y, z) in [(1, (2, 3))]:
        return x, y, z
f() -> (1, 2, 3)
---
def f():
    for x, y in [1]: pass
f()
!! int value is not iterable
---
def f():
    for x, y in [(1, 2, 3)]: pass
f()
!! too many values to unpack
---
def f(größe=1): return größe
f(größe=2) -> 2
"""

OPTIONS = r"""
x = 1
x = 2
x -> 2
---
x = []
for i in range(3):
    if i != 1:
        x.append(i)
(x, i) -> ([0, 2], 2)
---
x = 1
x += 1
x -> 2
---
def fib(x): return x if x < 2 else fib(x - 2) + fib(x - 1)
fib(10) -> 55
---
def f(): return f()
f()
!! more than 200 calls inside each other
"""


@pytest.mark.parametrize("block", programs(ASSIGNMENTS))
def test_assignments(block: str) -> None:
    check_program(block)


@pytest.mark.parametrize("block", programs(AUGMENTED))
def test_augmented_assignments(block: str) -> None:
    check_program(block)


@pytest.mark.parametrize("block", programs(SCOPES))
def test_scopes(block: str) -> None:
    check_program(block)


@pytest.mark.parametrize("block", programs(STATIC))
def test_static_errors(block: str) -> None:
    check_program(block)


@pytest.mark.parametrize("block", programs(FUNCTIONS))
def test_functions(block: str) -> None:
    check_program(block)


@pytest.mark.parametrize("block", programs(OPTIONS))
def test_what_a_dialect_may_allow(block: str) -> None:
    check_program(block, Dialect(top_level_control=True, global_reassign=True, recursion=True))


def _entered(text: str) -> Any:
    interpreter = Interpreter(UNIVERSE)
    function = interpreter.run(parse(text, "t.star"))["build"]
    assert isinstance(function, Function)
    return interpreter.enter(function)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = []\ndef build(): x.append(1)\n", "cannot append to frozen list"),
        ("x = [[1]]\ndef build(): x[0][0] = 1\n", "cannot assign to element of frozen list"),
        ("x = {}\ndef build(): x['a'] = 1\n", "cannot insert into frozen dict"),
        ("x = {}\ndef build(): x.update(a=1)\n", "cannot insert into frozen dict"),
        ("x = {}\ndef build(): x.setdefault('a')\n", "cannot insert into frozen dict"),
        ("x = {'a': 1}\ndef build(): x.pop('a')\n", "cannot delete from frozen dict"),
        ("x = {'a': 1}\ndef build(): x.popitem()\n", "cannot delete from frozen dict"),
        ("x = {'a': 1}\ndef build(): x.clear()\n", "cannot clear frozen dict"),
        ("x = set([1])\ndef build(): x.add(2)\n", "cannot insert into frozen set"),
        ("x = set([1])\ndef build(): x.discard(5)\n", "cannot delete from frozen set"),
        ("x = set([1])\ndef build():\n    y = x\n    y |= set()\n", "frozen set"),
        ("x = [1]\ndef build():\n    y = x\n    y += []\n", "cannot append to frozen list"),
        ("def build(x=[]): x.append(1)\n", "cannot append to frozen list"),
        ("def g(x=[]): x.append(1)\ny = [g]\ndef build(): y[0]()\n", "frozen list"),
        ("x = ({'a': [1]},)\ndef build(): x[0]['a'].append(1)\n", "frozen list"),
        (
            "def m():\n    x = []\n    return lambda: x.append(1)\nf = m()\ndef build(): f()\n",
            "cannot append to frozen list",
        ),
        ("x = [1]\ndef build():\n    for i in x: x.append(1)\n", "frozen list"),
    ],
)
def test_globals_are_frozen_once_the_module_is_done(text: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        _entered(text)


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ("x = [1]\ndef build():\n    y = list(x)\n    y.append(2)\n    return y\n", [1, 2]),
        ("x = [1]\ndef build(): return x + [2]\n", [1, 2]),
        ("x = {'a': [1]}\ndef build(): return x.get('a')\n", [1]),
        ("x = [1, 2]\ndef build(): return [i for i in x]\n", [1, 2]),
        ("x = [1]\ndef build(): return {x: 5}[[1]] if False else {x: 5}[x]\n", 5),
        ("x = [1]\ny = {'a': 1}\nz = [1]\ndef build(): return {x: 1, y: 2}[z]\n", 1),
        ("x = [1]\ndef build(): return list({x: 1})[0]\n", [1]),
    ],
)
def test_frozen_values_can_be_used(body: str, answer: Any) -> None:
    assert _entered(body) == answer


def test_load_with_a_loader() -> None:
    seen: list[str] = []

    def loader(module: str, position: Position) -> dict[str, Any]:
        seen.append(f"{module} at {position}")
        return {"x": 1, "y": 2}

    def loaded(text: str) -> dict[str, Any]:
        return dict(Interpreter(UNIVERSE, loader=loader).run(parse(text, "t")))

    made = loaded('load("m.star", "x", z="y",)\ndef f(): return x + z\nw = f()\n')
    assert made["w"] == 3
    assert seen == ["m.star at t:1:1"]
    with pytest.raises(SpecError, match="name 'nope' not found in module m"):
        loaded('load("m", "nope")\n')


def test_the_innermost_expression_and_the_calls() -> None:
    text = "def f(a):\n    return [\n      1,\n      a[3]]\ndef g(): return f([1])\nx = g()\n"
    with pytest.raises(SpecError) as caught:
        run(text)
    assert str(caught.value.position) == "t.star:4:7"
    assert list(caught.value.stack) == ["t.star:5:17 in f()", "t.star:6:5 in g()"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("x = 1 + (2 * 'a' // 3)\n", "1:18"),
        ("x = [1, 2 // 0]\n", "1:11"),
        ("x = {'a': 1 // 0}\n", "1:13"),
        ("x = len(1)\n", "1:5"),
        ("x = len(len(1))\n", "1:9"),
        ("x = 'a'.join([1])\n", "1:5"),
        ("x = (1).upper\n", "1:9"),
        ("x = -'a'\n", "1:5"),
        ("x = [1][5]\n", "1:5"),
        ("x = 1 if 1 // 0 else 2\n", "1:12"),
        ("x = [y // 0 for y in [1]]\n", "1:8"),
        ("x = 1 < 'a'\n", "1:7"),
        ("x = (\n  1 +\n  'a')\n", "2:5"),
        ("x = 'a' in 1\n", "1:9"),
        ("x = 'a' not in 1\n", "1:9"),
        ("x = 1 | 'a'\n", "1:7"),
        ("x = {[]: 1}\n", "1:6"),
        ("x = 1(2)\n", "1:5"),
        ("x = [0 for y in 1]\n", "1:17"),
        ("x = lambda: 0\ny = x(1)\n", "2:5"),
    ],
)
def test_errors_point_at_the_innermost_expression(text: str, place: str) -> None:
    with pytest.raises(SpecError) as caught:
        run(text)
    assert f"{caught.value.position.line}:{caught.value.position.column}" == place


def test_all_static_errors_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        run("def f():\n    return a\ndef g():\n    break\nf = 1\nreturn b\n")
    found = [(e.position.line, e.message.split(" ")[0]) for e in caught.value.errors]
    assert found == [(2, "unknown"), (4, "break"), (5, "cannot"), (6, "return"), (6, "unknown")]
