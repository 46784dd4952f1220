"""Starlark's universe: len, range, sorted, … (Starlark spec, "Built-in constants and functions")."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cmp_to_key
from typing import Any

from grammar.methods import methods_of, pairs_of
from grammar.values import (
    MAX_LENGTH,
    Builtin,
    Call,
    Module,
    Value,
    ValueProblem,
    checked,
    display,
    iterable,
    keyed,
    less,
    represent,
    truth,
    type_name,
)

REQUIRED = object()


def bound(name: str, call: Call, *parameters: tuple[str, Any]) -> list[Value]:
    """The arguments of a builtin with `parameters` (name, default). Raises ValueProblem."""
    if len(call.arguments) > len(parameters):
        raise ValueProblem(
            f"{name}() takes at most {len(parameters)} arguments, not {len(call.arguments)}"
        )
    values = dict(zip((p for p, _ in parameters), call.arguments, strict=False))
    for key, value in call.named.items():
        if key not in (p for p, _ in parameters) or key.startswith("_"):
            raise ValueProblem(f"{name}() has no parameter '{key}'")
        if key in values:
            raise ValueProblem(f"{name}() gets '{key}' twice")
        values[key] = value
    made = []
    for parameter, default in parameters:
        if parameter not in values and default is REQUIRED:
            raise ValueProblem(f"{name}() lacks an argument")
        made.append(values.get(parameter, default))
    return made


def _length(_: Any, call: Call) -> Value:
    (value,) = bound("len", call, ("_x", REQUIRED))
    if isinstance(value, str | bytes | list | tuple | dict | range):
        return len(value)
    raise ValueProblem(f"{type_name(value)} has no length")


def _whole(value: Value, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueProblem(f"{what} is an int, not {type_name(value)}")
    return value


def _range(_: Any, call: Call) -> Value:
    a, b, c = bound("range", call, ("_a", REQUIRED), ("_b", None), ("_c", 1))
    if b is None:
        a, b = 0, a
    if _whole(c, "range's step") == 0:
        raise ValueProblem("range's step cannot be 0")
    made = range(_whole(a, "range's start"), _whole(b, "range's end"), c)
    try:
        len(made)
    except OverflowError:
        raise ValueProblem("a range too long") from None
    return made


def _compare(a: Value, b: Value) -> int:
    return -1 if less(a, b) else 1 if less(b, a) else 0


def _key(interpreter: Any, function: Value, call: Call) -> Callable[[Value], Value]:
    if function is None:
        return lambda value: value
    return lambda value: interpreter.call(function, Call(call.position, (value,), {}))


def _sorted(interpreter: Any, call: Call) -> Value:
    items, function, descending = bound(
        "sorted", call, ("_x", REQUIRED), ("key", None), ("reverse", False)
    )
    key = _key(interpreter, function, call)
    decorated: list[tuple[Value, Value]] = [(key(x), x) for x in iterable(items)]

    def compare(a: tuple[Value, Value], b: tuple[Value, Value]) -> int:
        return _compare(a[0], b[0])

    decorated.sort(key=cmp_to_key(compare), reverse=truth(descending))
    return [x for _, x in decorated]


def _extreme(name: str, sign: int) -> Callable[[Any, Call], Value]:
    def run(interpreter: Any, call: Call) -> Value:
        function = call.named.get("key")
        for other in call.named:
            if other != "key":
                raise ValueProblem(f"{name}() has no parameter '{other}'")
        items = list(iterable(call.arguments[0]) if len(call.arguments) == 1 else call.arguments)
        if not items:
            raise ValueProblem(f"{name}() of nothing")
        key = _key(interpreter, function, call)
        best, rank = items[0], key(items[0])
        for item in items[1:]:
            other_rank = key(item)
            if sign * _compare(other_rank, rank) > 0:
                best, rank = item, other_rank
        return best

    return run


def _integer(_: Any, call: Call) -> Value:
    value, base = bound("int", call, ("_x", REQUIRED), ("base", None))
    if isinstance(value, str):
        text = value.strip().lower()
        radix = 10 if base is None else _whole(base, "the base")
        if radix != 0 and not 2 <= radix <= 36:
            raise ValueProblem("the base is 0 or from 2 to 36")
        if "_" in text or text != value.lower() or len(text) > 4000:
            raise ValueProblem(f"{represent(value)} is no int")
        try:
            return int(text, radix)
        except ValueError:
            raise ValueProblem(f"{represent(value)} is no int in base {radix}") from None
    if base is not None:
        raise ValueProblem("a base is for strings only")
    if isinstance(value, bool | int | float):
        try:
            return int(value)
        except (OverflowError, ValueError):
            raise ValueProblem(f"{represent(value)} is no int") from None
    raise ValueProblem(f"{type_name(value)} cannot become an int")


def _float(_: Any, call: Call) -> Value:
    (value,) = bound("float", call, ("_x", 0.0))
    if isinstance(value, str):
        try:
            if "_" in value:
                raise ValueError
            return float(value)
        except ValueError:
            raise ValueProblem(f"{represent(value)} is no float") from None
    if isinstance(value, bool | int | float):
        try:
            return float(value)
        except OverflowError:
            raise ValueProblem("an int too large for a float") from None
    raise ValueProblem(f"{type_name(value)} cannot become a float")


def _dict(_: Any, call: Call) -> Value:
    if len(call.arguments) > 1:
        raise ValueProblem("dict() takes at most one positional argument")
    made = dict(pairs_of(call.arguments[0])) if call.arguments else {}
    made.update({keyed(k): v for k, v in call.named.items()})
    return made


def _enumerate(_: Any, call: Call) -> Value:
    items, start = bound("enumerate", call, ("_x", REQUIRED), ("start", 0))
    return list(enumerate(iterable(items), _whole(start, "enumerate's start")))


def _zip(_: Any, call: Call) -> Value:
    if call.named:
        raise ValueProblem("zip() takes no keyword arguments")
    return list(zip(*[iterable(x) for x in call.arguments], strict=False))


def _fail(_: Any, call: Call) -> Value:
    separator = str(call.named.get("sep", " "))
    raise ValueProblem(separator.join(display(x) for x in call.arguments) or "fail()")


def _print(_: Any, call: Call) -> Value:
    separator = str(call.named.get("sep", " "))
    print(separator.join(display(x) for x in call.arguments), file=sys.stderr)


def _hasattr(_: Any, call: Call) -> Value:
    value, name = bound("hasattr", call, ("_x", REQUIRED), ("_name", REQUIRED))
    members = value.members if isinstance(value, Module) else methods_of(value)
    return isinstance(name, str) and name in members


def _getattr(interpreter: Any, call: Call) -> Value:
    value, name, default = bound(
        "getattr", call, ("_x", REQUIRED), ("_name", REQUIRED), ("_default", REQUIRED)
    ) if len(call.arguments) > 2 else [*bound("getattr", call, ("_x", REQUIRED),
                                              ("_name", REQUIRED)), REQUIRED]
    if not isinstance(name, str):
        raise ValueProblem("getattr() wants a name as a string")
    members = value.members if isinstance(value, Module) else methods_of(value)
    if name not in members and default is not REQUIRED:
        return default
    return interpreter.attribute(value, name, call.position)


def _dir(_: Any, call: Call) -> Value:
    (value,) = bound("dir", call, ("_x", REQUIRED))
    return sorted(value.members if isinstance(value, Module) else methods_of(value))


def _hash(_: Any, call: Call) -> Value:
    (value,) = bound("hash", call, ("_x", REQUIRED))
    if not isinstance(value, str):
        raise ValueProblem(f"hash() wants a string, not {type_name(value)}")
    made = 0
    for character in value:  # Java's String.hashCode, as in Bazel
        made = (31 * made + ord(character)) & 0xFFFFFFFF
    return made - (1 << 32) if made >= 1 << 31 else made


def _absolute(_: Any, call: Call) -> Value:
    (value,) = bound("abs", call, ("_x", REQUIRED))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return abs(value)
    raise ValueProblem(f"abs() wants a number, not {type_name(value)}")


def _chr(_: Any, call: Call) -> Value:
    (value,) = bound("chr", call, ("_x", REQUIRED))
    if not 0 <= _whole(value, "a code point") < 0x110000:
        raise ValueProblem("no such code point")
    return chr(value)


def _ord(_: Any, call: Call) -> Value:
    (value,) = bound("ord", call, ("_x", REQUIRED))
    if isinstance(value, str | bytes) and len(value) == 1:
        return ord(value)
    raise ValueProblem("ord() wants a string of one character")


def _bytes(_: Any, call: Call) -> Value:
    (value,) = bound("bytes", call, ("_x", REQUIRED))
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    if isinstance(value, bytes):
        return value
    items = [_whole(x, "a byte") for x in iterable(value)]
    if any(not 0 <= x <= 255 for x in items):
        raise ValueProblem("a byte is from 0 to 255")
    return bytes(items)


def _all(_: Any, call: Call) -> Value:
    (items,) = bound("all", call, ("_x", REQUIRED))
    return all(truth(x) for x in iterable(items))


def _any(_: Any, call: Call) -> Value:
    (items,) = bound("any", call, ("_x", REQUIRED))
    return any(truth(x) for x in iterable(items))


def _sequence(name: str, make: Callable[[Any], Value]) -> Callable[[Any, Call], Value]:
    def run(_: Any, call: Call) -> Value:
        (items,) = bound(name, call, ("_x", ()))
        elements = iterable(items)
        if len(elements) > MAX_LENGTH:
            raise ValueProblem(f"a {name} of more than {MAX_LENGTH} elements")
        return make(elements)

    return run


def _one(name: str, make: Callable[[Value], Value], default: Any = REQUIRED) -> Callable[
    [Any, Call], Value
]:
    def run(_: Any, call: Call) -> Value:
        (value,) = bound(name, call, ("_x", default))
        return checked(make(value))

    return run


_FUNCTIONS: dict[str, Callable[[Any, Call], Value]] = {
    "abs": _absolute, "all": _all, "any": _any, "bool": _one("bool", truth, False),
    "bytes": _bytes, "chr": _chr, "dict": _dict, "dir": _dir, "enumerate": _enumerate,
    "fail": _fail, "float": _float, "getattr": _getattr, "hasattr": _hasattr, "hash": _hash,
    "int": _integer, "len": _length, "list": _sequence("list", list),
    "max": _extreme("max", 1), "min": _extreme("min", -1), "ord": _ord, "print": _print,
    "range": _range, "repr": _one("repr", represent),
    "reversed": _sequence("reversed", lambda x: list(x)[::-1]), "sorted": _sorted,
    "str": _one("str", display), "tuple": _sequence("tuple", tuple),
    "type": _one("type", type_name), "zip": _zip,
}

UNIVERSE: dict[str, Value] = {
    "None": None, "True": True, "False": False,
    **{name: Builtin(name, run) for name, run in _FUNCTIONS.items()},
}

__all__ = ["REQUIRED", "UNIVERSE", "bound"]
