"""Starlark's universe: len, range, sorted, … (Starlark spec, "Built-in constants and functions")."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import cmp_to_key
from itertools import islice
from typing import Any

from grammar.starlark.arguments import REQUIRED, bound, integer, positional, string
from grammar.starlark.limits import MAX_BITS, MAX_LENGTH
from grammar.starlark.methods import methods_of, pairs_of
from grammar.starlark.printing import brief, display, represent
from grammar.starlark.set_methods import table_of
from grammar.starlark.strings import code_point
from grammar.starlark.text import View, from_digits, length, replaced, utf16
from grammar.starlark.values import (
    Builtin,
    Call,
    Dict,
    List,
    Module,
    Set,
    Value,
    ValueProblem,
    compare,
    elements,
    iterable,
    truth,
    type_name,
)

_Run = Callable[[Any, Call], Value]


def _length(interpreter: Any, call: Call) -> Value:
    (value,) = positional("len", call, 1, 1)
    if isinstance(value, str):
        if not value.isascii():
            interpreter.meter.work(len(value) >> 5)
        return length(value)
    if isinstance(value, bytes | list | tuple | dict | range | Set | View):
        try:
            return len(value)
        except OverflowError:
            raise ValueProblem("len: a range too long") from None
    raise ValueProblem(f"len: value of type {type_name(value)} has no len")


def _range(_: Any, call: Call) -> Value:
    args = positional("range", call, 1, 3)
    names = ("stop",) if len(args) == 1 else ("start", "stop", "step")
    bounds = [integer("range", value, name) for name, value in zip(names, args, strict=False)]
    if any(bound.bit_length() > 100 for bound in bounds):
        raise ValueProblem("range: an int out of its range")
    if len(bounds) == 3 and bounds[2] == 0:
        raise ValueProblem("range: step argument must not be zero")
    made = range(*bounds)
    try:
        len(made)
    except OverflowError:
        raise ValueProblem("range: too many elements") from None
    return made


def _key(interpreter: Any, function: Value, call: Call) -> Callable[[Value], Value]:
    if function is None:
        return lambda value: value
    return lambda value: interpreter.call(function, Call(call.position, (value,), {}))


def _sorted(interpreter: Any, call: Call) -> Value:
    items, function, descending = bound(
        "sorted", call, ("_iterable", REQUIRED), ("key", None), ("reverse", False)
    )
    key = _key(interpreter, function, call)
    found = elements(items, interpreter.meter)
    interpreter.meter.elements("list", len(found), 100)
    decorated = [(key(x), x) for x in found]

    def order(a: tuple[Value, Value], b: tuple[Value, Value]) -> int:
        interpreter.meter.work(3)
        return compare(a[0], b[0], interpreter.meter)

    decorated.sort(key=cmp_to_key(order), reverse=truth(descending))
    return List(x for _, x in decorated)


def _extreme(name: str, sign: int) -> _Run:
    def run(interpreter: Any, call: Call) -> Value:
        for other in call.named:
            if other != "key":
                raise ValueProblem(f"{name}: unexpected keyword argument '{other}'")
        if not call.arguments:
            raise ValueProblem(f"{name}: got 0 arguments, want at least 1")
        single = len(call.arguments) == 1
        items = elements(call.arguments[0] if single else call.arguments, interpreter.meter)
        if not items:
            raise ValueProblem(f"{name}: empty sequence")
        key = _key(interpreter, call.named.get("key"), call)
        best, rank = items[0], key(items[0])
        for item in islice(items, 1, None):
            interpreter.meter.work(3)
            other_rank = key(item)
            if sign * compare(other_rank, rank, interpreter.meter) > 0:
                best, rank = item, other_rank
        return best

    return run


_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PREFIXES = {"0b": 2, "0o": 8, "0x": 16}


def _integer(interpreter: Any, call: Call) -> Value:
    value, base = (
        bound("int", call, ("_x", REQUIRED), ("base", REQUIRED))
        if len(call.arguments) + len(call.named) > 1
        else [*bound("int", call, ("_x", REQUIRED)), None]
    )
    if isinstance(value, str):
        radix = 10 if base is None else integer("int", base, "base")
        if radix != 0 and not 2 <= radix <= 36:
            raise ValueProblem("int: invalid base: it is 0 or from 2 to 36")
        if len(value) > MAX_BITS:
            raise ValueProblem(f"int: an int of more than {MAX_BITS} bits")
        interpreter.meter.quadratic(len(value) * 4, len(value) * 4)
        return _parsed(value, radix)
    if base is not None:
        raise ValueProblem("int: can't convert non-string with explicit base")
    if isinstance(value, bool | int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueProblem(f"int: cannot convert float {represent(value)} to integer")
        return int(value)
    raise ValueProblem(f"int: got {type_name(value)}, want string, number or bool")


def _parsed(text: str, base: int) -> int:
    problem = ValueProblem(f"int: invalid literal with base {base}: {brief(text)}")
    negative = text[:1] == "-"
    digits = (text[1:] if text[:1] in ("+", "-") else text).lower()
    if _PREFIXES.get(digits[:2]) in ((base,) if base else _PREFIXES.values()):
        base, digits = _PREFIXES[digits[:2]], digits[2:]
    elif base == 0:
        if len(digits) > 1 and digits[0] == "0":
            raise problem
        base = 10
    if not digits or not set(digits) <= set(_DIGITS[:base]):
        raise problem
    if len(digits) * (base.bit_length() - 1) > MAX_BITS:
        raise ValueProblem(f"an int of more than {MAX_BITS} bits")
    made = from_digits(digits, base)
    return -made if negative else made


_INFINITE = ("inf", "infinity", "nan")


def _float(_: Any, call: Call) -> Value:
    (value,) = positional("float", call, 0, 1) or (0.0,)
    if isinstance(value, str):
        bare = value[1:] if value[:1] in ("+", "-") else value
        problem = ValueProblem(f"float: invalid float literal: {brief(value)}")
        if bare.lower() not in _INFINITE and not set(bare) <= set("0123456789.eE+-"):
            raise problem
        try:
            made = float(value)
        except ValueError:
            raise problem from None
        if bare.lower() not in _INFINITE and not math.isfinite(made):
            raise ValueProblem(f"float: floating-point number too large: {brief(value)}")
        return made
    if isinstance(value, bool | int | float):
        try:
            return float(value)
        except OverflowError:
            raise ValueProblem("float: int too large to convert to float") from None
    raise ValueProblem(f"float: got {type_name(value)}, want number, string or bool")


def _dict(interpreter: Any, call: Call) -> Value:
    if len(call.arguments) > 1:
        raise ValueProblem(f"dict: got {len(call.arguments)} arguments, want at most 1")
    made = Dict()
    for argument in call.arguments:
        made.update(pairs_of("dict", argument, interpreter.meter))
    made.update(call.named)
    return made


def _set(interpreter: Any, call: Call) -> Value:
    (value,) = positional("set", call, 0, 1) or ((),)
    return Set(dict(table_of(value, interpreter.meter)))


def _enumerate(interpreter: Any, call: Call) -> Value:
    items, start = bound("enumerate", call, ("_iterable", REQUIRED), ("start", 0))
    first = integer("enumerate", start, "start")
    found = elements(items, interpreter.meter)
    interpreter.meter.elements("list", len(found), 100)
    return List((first + number, item) for number, item in enumerate(found))


def _zip(interpreter: Any, call: Call) -> Value:
    args = positional("zip", call, 0, MAX_LENGTH)
    sources = [iterable(x) for x in args]
    number = min((len(x) for x in args), default=0)
    interpreter.meter.elements("list", number, 60 + 8 * len(sources))
    interpreter.meter.work(number * len(sources) >> 3)
    return List(islice(zip(*sources, strict=False), number))


def _shown(call: Call, interpreter: Any, *special: str) -> list[str]:
    texts = [display(x, interpreter.meter) for x in call.arguments]
    return texts + [
        f"{name}={display(x, interpreter.meter)}" for name, x in call.named.items() if name not in special
    ]


def _fail(interpreter: Any, call: Call) -> Value:
    separator = string("fail", call.named.get("sep", " "), "sep")
    first = [display(call.named["msg"], interpreter.meter)] if "msg" in call.named else []
    message = separator.join(first + _shown(call, interpreter, "sep", "msg"))
    raise ValueProblem(f"fail: {message[:2000]}".rstrip())


def _print(interpreter: Any, call: Call) -> Value:
    separator = string("print", call.named.get("sep", " "), "sep")
    text = replaced(separator.join(_shown(call, interpreter, "sep")))
    interpreter.meter.bytes(16 * len(text))
    print(text, file=sys.stderr)


def attributes(value: Value) -> list[str]:
    """The names that dir() lists."""
    return sorted(value.members if isinstance(value, Module) else methods_of(value))


def _hasattr(_: Any, call: Call) -> Value:
    value, name = positional("hasattr", call, 2, 2)
    return string("hasattr", name, "name") in attributes(value)


def _getattr(interpreter: Any, call: Call) -> Value:
    value, name, *default = positional("getattr", call, 2, 3)
    name = string("getattr", name, "name")
    if default and name not in attributes(value):
        return default[0]
    return interpreter.attribute(value, name, call.position)


def _dir(_: Any, call: Call) -> Value:
    (value,) = positional("dir", call, 1, 1)
    return List(attributes(value))


def _hash(interpreter: Any, call: Call) -> Value:
    (value,) = positional("hash", call, 1, 1)
    made = 0
    if isinstance(value, bytes):  # FNV-1a, 32 bits
        interpreter.meter.work(len(value) >> 1)
        made = 0x811C9DC5
        for byte in value:
            made = ((made ^ byte) * 0x01000193) & 0xFFFFFFFF
        return made
    if not isinstance(value, str):
        raise ValueProblem(f"hash: got {type_name(value)}, want string or bytes")
    units = utf16(value)  # Java's String.hashCode, over UTF-16
    interpreter.meter.work(len(units) >> 1)
    for low, high in zip(units[::2], units[1::2], strict=True):
        made = (31 * made + (high << 8 | low)) & 0xFFFFFFFF
    return made - (1 << 32) if made >= 1 << 31 else made


def _absolute(_: Any, call: Call) -> Value:
    (value,) = positional("abs", call, 1, 1)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return abs(value)
    raise ValueProblem(f"abs: got {type_name(value)}, want int or float")


def _chr(_: Any, call: Call) -> Value:
    (value,) = positional("chr", call, 1, 1)
    return code_point(integer("chr", value, "i"))


def _ord(_: Any, call: Call) -> Value:
    (value,) = positional("ord", call, 1, 1)
    if not isinstance(value, str | bytes):
        raise ValueProblem(f"ord: got {type_name(value)}, want string or bytes")
    if len(value) != 1:
        kind = "string encodes" if isinstance(value, str) else "bytes has"
        unit = "Unicode code points" if isinstance(value, str) else "elements"
        raise ValueProblem(f"ord: {kind} {len(value)} {unit}, want 1")
    return ord(replaced(value) if isinstance(value, str) else value)


def _bytes(interpreter: Any, call: Call) -> Value:
    (value,) = positional("bytes", call, 1, 1)
    if isinstance(value, str):
        interpreter.meter.elements("bytes", 3 * len(value), 1)
        if not value.isascii():
            interpreter.meter.work(len(value) >> 1)
        return replaced(value).encode()
    if isinstance(value, bytes):
        return value
    if not isinstance(value, list | tuple | dict | range | Set | View):
        raise ValueProblem(f"bytes: got {type_name(value)}, want string, bytes, or iterable of ints")
    items = elements(value, interpreter.meter)
    interpreter.meter.work(len(items) >> 2)
    for number, item in enumerate(items):
        if type(item) is not int:
            raise ValueProblem(f"bytes: at index {number}, got {type_name(item)}, want int")
        if not 0 <= item <= 255:
            raise ValueProblem(f"bytes: at index {number}, {brief(item)} out of range [0, 255]")
    return bytes(items)


def _quantifier(name: str, wanted: bool) -> _Run:
    def run(interpreter: Any, call: Call) -> Value:
        (items,) = positional(name, call, 1, 1)
        for item in iterable(items):
            interpreter.meter.work(2)
            if truth(item) is wanted:
                return wanted
        return not wanted

    return run


def _sequence(name: str, make: Callable[[Any], Value], least: int = 0) -> _Run:
    def run(interpreter: Any, call: Call) -> Value:
        args = positional(name, call, least, 1)
        return make(elements(args[0], interpreter.meter)) if args else make(())

    return run


def _bool(_: Any, call: Call) -> Value:
    return truth(*positional("bool", call, 0, 1) or (False,))


def _type(_: Any, call: Call) -> Value:
    return type_name(*positional("type", call, 1, 1))


def _str(interpreter: Any, call: Call) -> Value:
    return display(positional("str", call, 1, 1)[0], interpreter.meter)


def _repr(interpreter: Any, call: Call) -> Value:
    return represent(positional("repr", call, 1, 1)[0], interpreter.meter)


_FUNCTIONS: dict[str, _Run] = {
    "abs": _absolute,
    "all": _quantifier("all", False),
    "any": _quantifier("any", True),
    "bool": _bool,
    "bytes": _bytes,
    "chr": _chr,
    "dict": _dict,
    "dir": _dir,
    "enumerate": _enumerate,
    "fail": _fail,
    "float": _float,
    "getattr": _getattr,
    "hasattr": _hasattr,
    "hash": _hash,
    "int": _integer,
    "len": _length,
    "list": _sequence("list", List),
    "max": _extreme("max", 1),
    "min": _extreme("min", -1),
    "ord": _ord,
    "print": _print,
    "range": _range,
    "repr": _repr,
    "reversed": _sequence("reversed", lambda x: List(x[::-1]), 1),
    "set": _set,
    "sorted": _sorted,
    "str": _str,
    "tuple": _sequence("tuple", tuple),
    "type": _type,
    "zip": _zip,
}

UNIVERSE: dict[str, Value] = {
    "None": None,
    "True": True,
    "False": False,
    **{name: Builtin(name, run) for name, run in _FUNCTIONS.items()},
}
