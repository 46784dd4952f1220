"""Starlark's operators, indexing and slicing (spec, "Binary operators" and on).

All raise ValueProblem for operands that they do not take.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from grammar.values import (
    MAX_LENGTH,
    Value,
    ValueProblem,
    checked,
    equal,
    iterable,
    keyed,
    less,
    type_name,
)


def _is_int(value: Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refuse(operator: str, a: Value, b: Value) -> ValueProblem:
    return ValueProblem(
        f"unsupported operand types for {operator}: {type_name(a)} and {type_name(b)}"
    )


def _add(a: Value, b: Value) -> Value:
    same = isinstance(a, str) and isinstance(b, str)
    if same or (_is_number(a) and _is_number(b)):
        return str.__add__(a, b) if same else a + b
    if type(a) is type(b) and type(a) in (list, tuple, bytes):
        return a + b
    raise _refuse("+", a, b)


def _subtract(a: Value, b: Value) -> Value:
    if _is_number(a) and _is_number(b):
        return a - b
    raise _refuse("-", a, b)


def _multiply(a: Value, b: Value) -> Value:
    if _is_number(a) and _is_number(b):
        if _is_int(a) and _is_int(b) and a.bit_length() + b.bit_length() > 2_000_000:
            raise ValueProblem("an integer of more than a million bits")
        return a * b
    if _is_int(a):
        a, b = b, a
    if isinstance(a, str | bytes | list | tuple) and _is_int(b):
        if len(a) * max(b, 0) > MAX_LENGTH:
            raise ValueProblem(f"a {type_name(a)} of more than {MAX_LENGTH} elements")
        return (str(a) if isinstance(a, str) else a) * b
    raise _refuse("*", a, b)


def _divide(a: Value, b: Value) -> Value:
    if not (_is_number(a) and _is_number(b)):
        raise _refuse("/", a, b)
    if b == 0:
        raise ValueProblem("division by zero")
    return a / b


def _floor_divide(a: Value, b: Value) -> Value:
    if not (_is_number(a) and _is_number(b)):
        raise _refuse("//", a, b)
    if b == 0:
        raise ValueProblem("division by zero")
    return a // b


def _remainder(a: Value, b: Value) -> Value:
    if isinstance(a, str):
        from grammar.strings import percent

        return percent(a, b)
    if not (_is_number(a) and _is_number(b)):
        raise _refuse("%", a, b)
    if b == 0:
        raise ValueProblem("division by zero")
    if isinstance(b, float) and math.isinf(b) and math.isinf(a):
        return float("nan")
    return a % b


def _bits(operator: str, apply: Callable[[int, int], int]) -> Callable[[Value, Value], Value]:
    def operate(a: Value, b: Value) -> Value:
        if _is_int(a) and _is_int(b):
            return apply(a, b)
        if operator == "|" and isinstance(a, dict) and isinstance(b, dict):
            return {**a, **b}
        raise _refuse(operator, a, b)

    return operate


def _shift(operator: str) -> Callable[[Value, Value], Value]:
    def operate(a: Value, b: Value) -> Value:
        if not (_is_int(a) and _is_int(b)):
            raise _refuse(operator, a, b)
        if b < 0:
            raise ValueProblem("negative shift count")
        if operator == "<<":
            if b > 1_000_000:
                raise ValueProblem("shift count too large")
            return a << b
        return a >> min(b, 10_000_000)

    return operate


def contains(value: Value, container: Value) -> bool:
    """`value in container`."""
    if isinstance(container, str):
        if not isinstance(value, str):
            raise ValueProblem(f"'in <string>' wants a string, not {type_name(value)}")
        return value in container
    if isinstance(container, dict):
        return keyed(value) in container
    if isinstance(container, range):
        return _is_int(value) and value in container
    if isinstance(container, bytes):
        if _is_int(value) or isinstance(value, bytes):
            return value in container
        raise ValueProblem(f"'in <bytes>' wants bytes, not {type_name(value)}")
    return any(equal(value, x) for x in iterable(container))


BINARY: dict[str, Callable[[Value, Value], Value]] = {
    "+": _add, "-": _subtract, "*": _multiply, "/": _divide, "//": _floor_divide,
    "%": _remainder,
    "&": _bits("&", lambda a, b: a & b), "|": _bits("|", lambda a, b: a | b),
    "^": _bits("^", lambda a, b: a ^ b),
    "<<": _shift("<<"), ">>": _shift(">>"),
    "==": equal, "!=": lambda a, b: not equal(a, b),
    "<": less, ">": lambda a, b: less(b, a),
    "<=": lambda a, b: not less(b, a), ">=": lambda a, b: not less(a, b),
    "in": contains, "not in": lambda a, b: not contains(a, b),
}


def binary(operator: str, a: Value, b: Value) -> Value:
    """Apply a binary operator other than `and` and `or`."""
    try:
        return checked(BINARY[operator](a, b))
    except OverflowError:
        raise ValueProblem("a number too large for a float") from None


def unary(operator: str, value: Value) -> Value:
    """Apply + - ~ not."""
    if operator == "not":
        return not value
    if operator == "~" and _is_int(value):
        return ~value
    if operator in "+-" and _is_number(value):
        return -value if operator == "-" else value
    raise ValueProblem(f"unsupported operand type for {operator}: {type_name(value)}")


def index(value: Value, key: Value) -> Value:
    """value[key]."""
    if isinstance(value, dict):
        try:
            return value[keyed(key)]
        except KeyError:
            from grammar.values import represent

            raise ValueProblem(f"no key {represent(key)} in the dict") from None
    if isinstance(value, list | tuple | str | range | bytes):
        if not _is_int(key):
            raise ValueProblem(f"an index is an int, not {type_name(key)}")
        if not -len(value) <= key < len(value):
            raise ValueProblem(f"index {key} is out of range: there are {len(value)} elements")
        return value[key]
    raise ValueProblem(f"{type_name(value)} has no elements to index")


def part(value: Value, start: Value, stop: Value, step: Value) -> Value:
    """value[start:stop:step]."""
    if not isinstance(value, list | tuple | str | range | bytes):
        raise ValueProblem(f"{type_name(value)} cannot be sliced")
    for bound in (start, stop, step):
        if bound is not None and not _is_int(bound):
            raise ValueProblem(f"a slice's bound is an int, not {type_name(bound)}")
    if step == 0:
        raise ValueProblem("a slice's step cannot be 0")
    text = str(value) if isinstance(value, str) else value
    return text[start:stop:step]
