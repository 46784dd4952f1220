"""Starlark's values: Python's None, bool, int, float, str, bytes, tuple and range; our lists, dicts
and sets, which know whether they may be changed; functions and modules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isqrt
from typing import TYPE_CHECKING, Any

from grammar.starlark.limits import MAX_KEY, MAX_LENGTH, MAX_NESTING, Meter
from grammar.starlark.limits import ValueProblem as ValueProblem  # whoever computes values raises it
from grammar.starlark.text import View

if TYPE_CHECKING:
    from grammar.environment import Position
    from grammar.starlark.resolver import Code

Value = Any


class List(list[Value]):
    """A list. `iterators` are the loops that are over it right now."""

    __slots__ = ("frozen", "iterators")

    def __init__(self, items: Iterable[Value] = ()) -> None:
        super().__init__(items)
        self.frozen = False
        self.iterators = 0


class Dict(dict[Value, Value]):
    """A dict. Its keys are what `keyed` makes of them."""

    __slots__ = ("frozen", "holes", "iterators")

    def __init__(self, items: Any = ()) -> None:
        super().__init__(items)
        self.frozen = False
        self.iterators = 0
        self.holes = 0  # see `fill_holes`


class Set:
    """A set, in the order of insertion. `table` has its elements as `keyed` makes them."""

    __slots__ = ("frozen", "holes", "iterators", "table")

    def __init__(self, table: dict[Value, None]) -> None:
        self.table = table
        self.frozen = False
        self.iterators = 0
        self.holes = 0

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[Value]:
        return map(unkeyed, self.table)


def fill_holes(owner: Dict | Set, table: dict[Value, Any], *, first: bool = False) -> None:
    """Count a key that is taken out of `table`, or, with `first`, is about to be as the first one.

    Python's dicts leave a hole where a key was, and look at every hole before the first key: taking
    the first of n keys n times would take n² steps. A table of many holes is made anew.
    """
    owner.holes += 1
    bound = 4 * isqrt(len(table)) if first else len(table)
    if owner.holes > bound + 512:
        pairs = list(table.items())
        table.clear()
        table.update(pairs)
        owner.holes = 0


@dataclass(eq=False)
class Cell:
    """A local variable that inner functions share."""

    value: Value


@dataclass(eq=False)
class Function:
    """A function of the user's: its code, the defaults of its parameters and the variables that it
    took from around it. `run` evaluates its body in a frame."""

    name: str
    code: Code
    defaults: Mapping[str, Value]
    free: tuple[Cell, ...]
    run: Callable[[list[Value]], Value]


@dataclass(frozen=True, eq=False)
class Call:
    """How a builtin was called: by position, by name, and where each argument stands (and, under
    "NAME=", where its name does)."""

    position: Position
    arguments: tuple[Value, ...]
    named: Mapping[str, Value]
    places: Mapping[int | str, Position] = field(default_factory=dict)

    def place(self, key: int | str) -> Position:
        """Where an argument stands."""
        if isinstance(key, int) and key not in self.places:
            key = "*"
        return self.places.get(key, self.position)


@dataclass(frozen=True, eq=False)
class Builtin:
    """A function of ours. `run` gets the interpreter and the call; `of` is the type of the value
    that it is a method of."""

    name: str
    run: Callable[[Any, Call], Value]
    of: str = ""


@dataclass(frozen=True, eq=False)
class Module:
    """A namespace such as `install`."""

    name: str
    members: Mapping[str, Value]


_NAMES: dict[type, str] = {
    type(None): "NoneType",
    bool: "bool",
    int: "int",
    float: "float",
    bytes: "bytes",
    str: "string",
    list: "list",
    List: "list",
    dict: "dict",
    Dict: "dict",
    tuple: "tuple",
    range: "range",
    Set: "set",
    Function: "function",
    Builtin: "builtin_function_or_method",
    Module: "module",
}


def type_name(value: Value) -> str:
    """What type() says."""
    name = _NAMES.get(type(value))
    if name is not None:
        return name
    if isinstance(value, View):
        return value.type_name
    return "string" if isinstance(value, str) else type(value).__name__


def adopt(value: Value) -> Value:
    """`value` as a function outside of the language made it, with plain lists and dicts as ours."""
    if type(value) is list:
        return List(map(adopt, value))
    if type(value) is dict:
        return Dict({keyed(k): adopt(v) for k, v in value.items()})
    return value


def mutable(value: List | Dict | Set, doing: str) -> None:
    """Raise ValueProblem when `value` may not be changed now; `doing` is such as "append to"."""
    if value.frozen:
        raise ValueProblem(f"cannot {doing} frozen {type_name(value)}")
    if value.iterators:
        raise ValueProblem(f"cannot {doing} {type_name(value)} during iteration")


def grown(kind: str, value: Any) -> None:
    """Raise ValueProblem when `value` may not have one more element."""
    if len(value) >= MAX_LENGTH:
        raise ValueProblem(f"a {kind} of more than {MAX_LENGTH} elements")


def freeze(values: Iterable[Value]) -> None:
    """Make everything that can be reached from `values` immutable."""
    waiting = list(values)
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, List | Dict | Set):
            if value.frozen:
                continue
            value.frozen = True
            if not isinstance(value, Set):
                waiting.extend(value.values() if isinstance(value, Dict) else value)
        elif isinstance(value, tuple | Function):
            if id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, tuple):
                waiting.extend(value)
            else:
                waiting.extend(value.defaults.values())
                waiting.extend(cell.value for cell in value.free)


# -- keys -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _BoolKey:
    """True and 1 are different keys in Starlark, and the same in Python."""

    value: bool


_TRUE, _FALSE = _BoolKey(True), _BoolKey(False)


class _Wrapped:
    """A key that Python would compare in another way: `key` is what it compares, `value` what was
    given (NaN, a tuple with such a key in it, or a frozen list, dict or set)."""

    __slots__ = ("hash", "key", "value")

    def __init__(self, value: Value, key: Value) -> None:
        self.value = value
        self.key = key
        self.hash = hash(key)

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Wrapped) and self.hash == other.hash and bool(self.key == other.key)


_NAN = _Wrapped(float("nan"), ("float", "nan"))  # NaN equals itself in Starlark


def keyed(value: Value, meter: Meter | None = None) -> Value:
    """`value` as a dict key. Raises ValueProblem when it cannot be one."""
    kind = type(value)
    if kind is int or (isinstance(value, str) and len(value) <= MAX_KEY):
        return value
    return _Keys(meter or Meter()).key(value, 0)


class _Keys:
    """Makes one key, of a limited size: later uses of it are not counted."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._size = 0

    def _add(self, size: int) -> None:
        self._size += size
        self._meter.work(3 + (size >> 8))
        if self._size > MAX_KEY:
            raise ValueProblem(f"a key of more than {MAX_KEY} elements")

    def key(self, value: Value, depth: int) -> Value:
        """`value` as Python has to compare it."""
        kind = type(value)
        if kind is bool:
            return _TRUE if value else _FALSE
        if kind is float:
            return _NAN if math.isnan(value) else value
        if isinstance(value, str | bytes):
            self._add(len(value))
            return value
        if kind is int:
            self._add(value.bit_length() >> 3)
            return value
        if isinstance(value, Function | Builtin | Module) or value is None:
            return value
        if kind is not tuple and not (isinstance(value, List | Dict | Set) and value.frozen):
            raise ValueProblem(f"unhashable type: {type_name(value)}")
        self._add(len(value) + 1)
        _deep(depth)
        if isinstance(value, Dict):
            pairs = [(k, self.key(v, depth + 1)) for k, v in value.items()]
            return _Wrapped(value, ("dict", frozenset(pairs)))
        if isinstance(value, Set):
            return _Wrapped(value, ("set", frozenset(value.table)))
        items = tuple([self.key(x, depth + 1) for x in value])
        if isinstance(value, List):
            return _Wrapped(value, ("list", items))
        same = all(made is given for made, given in zip(items, value, strict=True))
        return value if same else _Wrapped(value, items)


def unkeyed(key: Value) -> Value:
    """The value of a dict key."""
    kind = type(key)
    return key.value if kind is _BoolKey or kind is _Wrapped else key


def _deep(depth: int) -> None:
    if depth > MAX_NESTING:
        raise ValueProblem(f"values nested more than {MAX_NESTING} deep")


# -- equality and order -----------------------------------------------------------------------

_SCALARS = (str, bytes, bool, int, float, type(None), range, View)


def equal(a: Value, b: Value, meter: Meter, depth: int = 0) -> bool:
    """==, of which True == 1 is no part."""
    if a is b:
        return True
    if isinstance(a, bool) or isinstance(b, bool):
        return False
    if isinstance(a, _SCALARS):
        if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
            return math.isnan(b)
        if isinstance(a, str | bytes):
            meter.scan(len(a))
        return isinstance(b, _SCALARS) and bool(a == b)
    if (isinstance(a, list) and isinstance(b, list)) or (isinstance(a, tuple) and isinstance(b, tuple)):
        if len(a) != len(b):
            return False
        meter.work(3 * len(a) + 3)
        _deep(depth)
        for x, y in zip(a, b, strict=True):  # noqa: SIM110 - a generator would double the stack
            if not equal(x, y, meter, depth + 1):
                return False
        return True
    if isinstance(a, dict) and isinstance(b, dict):
        if len(a) != len(b):
            return False
        meter.work(3 * len(a) + 3)
        _deep(depth)
        for key, value in a.items():
            if key not in b or not equal(value, b[key], meter, depth + 1):
                return False
        return True
    if isinstance(a, Set) and isinstance(b, Set):
        meter.work(3 * len(a) + 3)
        return a.table.keys() == b.table.keys()
    return False


def compare(a: Value, b: Value, meter: Meter, operator: str = "<", depth: int = 0) -> int:
    """Negative, 0 or positive, as `a` is less than, equal to or greater than `b`. Raises
    ValueProblem for types that have no order between them."""
    if isinstance(a, bool) and isinstance(b, bool):
        return a - b
    if isinstance(a, bool) or isinstance(b, bool):
        pass
    elif isinstance(a, int | float) and isinstance(b, int | float):
        if a != a or b != b:  # NaN is greater than every number, and equal to itself
            return (a != a) - (b != b)
        return (a > b) - (a < b)
    elif isinstance(a, str) and isinstance(b, str):
        meter.scan(len(a))
        if a.isascii() and b.isascii():
            return (a > b) - (a < b)
        meter.recode(a)
        meter.recode(b)
        x, y = a.encode("utf-8", "surrogateescape"), b.encode("utf-8", "surrogateescape")
        return (x > y) - (x < y)
    elif isinstance(a, bytes) and isinstance(b, bytes):
        meter.scan(len(a))
        return (a > b) - (a < b)
    elif (isinstance(a, list) and isinstance(b, list)) or (isinstance(a, tuple) and isinstance(b, tuple)):
        _deep(depth)
        for one, other in zip(a, b, strict=False):
            meter.work(3)
            if not equal(one, other, meter, depth + 1):
                return compare(one, other, meter, operator, depth + 1)
        return len(a) - len(b)
    raise ValueProblem(f"unsupported comparison: {type_name(a)} {operator} {type_name(b)}")


def truth(value: Value) -> bool:
    """bool()."""
    return bool(value)


# -- iteration --------------------------------------------------------------------------------


def iterable(value: Value, what: str = "") -> Any:
    """Something to loop over (once), for a value that can be. Raises ValueProblem."""
    if isinstance(value, list | tuple | range | Set | View):
        return value
    if isinstance(value, dict):
        return map(unkeyed, value)
    raise ValueProblem(f"{what}{': ' if what else ''}{type_name(value)} value is not iterable")


def elements(value: Value, meter: Meter, what: str = "") -> Sequence[Value]:
    """The elements of an iterable value, which do not change. Raises ValueProblem."""
    items = iterable(value, what)
    try:
        number = len(value)
    except OverflowError:
        raise ValueProblem("a range too long") from None
    meter.elements("list", number)
    return value if isinstance(value, tuple) else list(items)
