"""Starlark's values, which are Python's own (None, bool, int, float, str, bytes, list, dict,
tuple, range) and functions; their printing, truth, equality and order."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grammar.environment import Position
    from grammar.syntax import Node, Parameter

Value = Any

MAX_LENGTH = 10_000_000  # elements or characters of one value
MAX_BITS = 1_000_000  # of an int


class ValueProblem(Exception):  # noqa: N818 - becomes a SpecError once its place is known
    """An operation that its operands do not allow."""


@dataclass(eq=False)
class Function:
    """A function of the user's: `scope` is where it was defined."""

    name: str
    parameters: tuple[Parameter, ...]
    defaults: Mapping[str, Value]
    body: tuple[Node, ...] | Node
    scope: Any
    locals: frozenset[str] = frozenset()


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
        return self.places.get(key, self.position)


@dataclass(frozen=True, eq=False)
class Builtin:
    """A function of ours. `run` gets the interpreter and the call."""

    name: str
    run: Callable[[Any, Call], Value]


@dataclass(frozen=True, eq=False)
class Module:
    """A namespace such as `install`."""

    name: str
    members: Mapping[str, Value]


def type_name(value: Value) -> str:
    """What type() says."""
    if value is None:
        return "NoneType"
    names = {bool: "bool", int: "int", float: "float", bytes: "bytes", list: "list", dict: "dict",
             tuple: "tuple", range: "range", set: "set", Function: "function",
             Builtin: "builtin_function_or_method", Module: "module"}
    return "string" if isinstance(value, str) else names.get(type(value), type(value).__name__)


_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


def _quoted(text: str) -> str:
    return '"' + "".join(
        _ESCAPES.get(c) or (c if c.isprintable() else f"\\x{ord(c):02x}" if ord(c) < 128
                            else f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}")
        for c in text
    ) + '"'


def _float_text(value: float) -> str:
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "+inf" if value > 0 else "-inf"
    text = repr(value)
    return text if any(c in text for c in ".e") else f"{text}.0"


def represent(value: Value, depth: int = 0, inside: tuple[int, ...] = ()) -> str:
    """repr()."""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, int):
        return _integer_text(value)
    if isinstance(value, bytes):
        return 'b"' + repr(value)[2:-1].replace('"', '\\"') + '"'
    if id(value) in inside:
        return "..."
    within = (*inside, id(value))
    if isinstance(value, list):
        return "[" + ", ".join(represent(x, depth + 1, within) for x in value) + "]"
    if isinstance(value, tuple):
        items = ", ".join(represent(x, depth + 1, within) for x in value)
        return f"({items},)" if len(value) == 1 else f"({items})"
    if isinstance(value, dict):
        return "{" + ", ".join(
            f"{represent(unkeyed(k), depth + 1, within)}: {represent(v, depth + 1, within)}"
            for k, v in value.items()
        ) + "}"
    if isinstance(value, range):
        step = f", {value.step}" if value.step != 1 else ""
        return f"range({value.start}, {value.stop}{step})"
    if isinstance(value, Function):
        return f"<function {value.name}>"
    if isinstance(value, Builtin):
        return f"<built-in function {value.name}>"
    return f"<{type_name(value)} {getattr(value, 'name', '')}>"


def _integer_text(value: int) -> str:
    if value.bit_length() > 14_000:  # Python itself refuses beyond 4300 digits
        raise ValueProblem("an integer too long to print")
    return str(value)


def display(value: Value) -> str:
    """str()."""
    return str(value) if isinstance(value, str) else represent(value)


@dataclass(frozen=True)
class _BoolKey:
    """True and 1 are different keys in Starlark, and the same in Python."""

    value: bool


def keyed(value: Value) -> Value:
    """`value` as a dict key. Raises ValueProblem when it cannot be one."""
    if isinstance(value, bool):
        return _BoolKey(value)
    if isinstance(value, list | dict | set):
        raise ValueProblem(f"unhashable type: {type_name(value)}")
    if isinstance(value, tuple):
        return tuple(keyed(x) for x in value)
    if isinstance(value, float) and math.isnan(value):
        return float("nan")
    return value


def unkeyed(key: Value) -> Value:
    """The value of a dict key."""
    if isinstance(key, _BoolKey):
        return key.value
    if isinstance(key, tuple):
        return tuple(unkeyed(x) for x in key)
    return key


def equal(a: Value, b: Value) -> bool:
    """==, of which True == 1 is no part."""
    if isinstance(a, bool) != isinstance(b, bool):
        return False
    if isinstance(a, list | tuple) and type(a) is type(b):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(v, b[k]) for k, v in a.items())
    return bool(a == b)


def _same_text(a: Value, b: Value) -> bool:
    return any(isinstance(a, kind) and isinstance(b, kind) for kind in (str, bytes))


def less(a: Value, b: Value) -> bool:
    """<. Raises ValueProblem for types that have no order between them."""
    numbers = (int, float)
    if isinstance(a, bool) and isinstance(b, bool):
        return a < b
    if isinstance(a, bool) or isinstance(b, bool):
        pass
    elif isinstance(a, numbers) and isinstance(b, numbers):
        if isinstance(a, float) and math.isnan(a):
            return False
        if isinstance(b, float) and math.isnan(b):
            return True  # NaN is greater than every number
        return a < b
    elif _same_text(a, b):
        return bool(a < b)
    elif isinstance(a, list | tuple) and type(a) is type(b):
        for x, y in zip(a, b, strict=False):
            if not equal(x, y):
                return less(x, y)
        return len(a) < len(b)
    raise ValueProblem(f"no order between {type_name(a)} and {type_name(b)}")


def truth(value: Value) -> bool:
    """bool()."""
    return bool(value)


def iterable(value: Value, what: str = "it") -> Any:
    """Something to loop over, for a value that can be. Raises ValueProblem."""
    if isinstance(value, dict):
        return [unkeyed(k) for k in value]
    if isinstance(value, list | tuple | range | set):
        return value
    raise ValueProblem(f"{type_name(value)} is not iterable")


def checked(value: Value) -> Value:
    """`value`, refused when it is unreasonably large."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value.bit_length() > MAX_BITS:
            raise ValueProblem("an integer of more than a million bits")
    elif isinstance(value, str | bytes | list | tuple | dict) and len(value) > MAX_LENGTH:
        raise ValueProblem(f"a {type_name(value)} of more than {MAX_LENGTH} elements")
    return value
