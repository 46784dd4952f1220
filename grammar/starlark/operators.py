"""Starlark's operators, indexing and slicing (spec, "Binary operators" and on).

All raise ValueProblem for operands that they do not take.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from grammar.starlark.limits import MAX_BITS, Meter
from grammar.starlark.printing import brief
from grammar.starlark.strings import percent
from grammar.starlark.text import View, decoded, encoded, joined, whole
from grammar.starlark.values import (
    Dict,
    List,
    Set,
    Value,
    ValueProblem,
    compare,
    elements,
    equal,
    iterable,
    keyed,
    mutable,
    type_name,
)

Operation = Callable[[Value, Value, Meter], Value]


def is_int(value: Value) -> bool:
    """Whether a value is an int, which a bool is not."""
    return type(value) is int


def _is_number(value: Value) -> bool:
    return type(value) is int or type(value) is float


def _refuse(operator: str, a: Value, b: Value) -> ValueProblem:
    return ValueProblem(f"unsupported binary operation: {type_name(a)} {operator} {type_name(b)}")


def _integer(value: Value, meter: Meter) -> Value:
    """An int or float that was computed, refused when it is unreasonably large."""
    if type(value) is int and (bits := value.bit_length()) > 256:
        meter.integer(bits)
    return value


def _add(a: Value, b: Value, meter: Meter) -> Value:
    if _is_number(a) and _is_number(b):
        return _integer(a + b, meter)
    if isinstance(a, str) and isinstance(b, str):
        meter.elements("string", len(a) + len(b), 1)
        made = str.__add__(a, b)
        meter.recode(made)
        return made if whole(a) or whole(b) else joined(made)
    if isinstance(a, bytes) and isinstance(b, bytes):
        meter.elements("bytes", len(a) + len(b), 1)
        return a + b
    if isinstance(a, list) and isinstance(b, list):
        meter.elements("list", len(a) + len(b))
        return List(list.__add__(a, b))
    if isinstance(a, tuple) and isinstance(b, tuple):
        meter.elements("tuple", len(a) + len(b))
        return a + b
    raise _refuse("+", a, b)


def _subtract(a: Value, b: Value, meter: Meter) -> Value:
    if _is_number(a) and _is_number(b):
        return _integer(a - b, meter)
    if isinstance(a, Set) and isinstance(b, Set):
        meter.elements("set", len(a), 100)
        return Set({k: None for k in a.table if k not in b.table})
    raise _refuse("-", a, b)


def _multiply(a: Value, b: Value, meter: Meter) -> Value:
    if _is_number(a) and _is_number(b):
        if type(a) is int and type(b) is int:
            bits, other = a.bit_length(), b.bit_length()
            if bits + other > 256:
                if bits + other > MAX_BITS + 2:
                    raise ValueProblem(f"an int of more than {MAX_BITS} bits")
                meter.quadratic(bits, other)
        return _integer(a * b, meter)
    if is_int(a):
        a, b = b, a
    if is_int(b) and isinstance(a, str | bytes | list | tuple):
        return _repeat(a, max(b, 0), meter)
    raise _refuse("*", a, b)


def _repeat(value: Value, times: int, meter: Meter) -> Value:
    size = 1 if isinstance(value, str | bytes) else 8
    times = times if len(value) else 0
    meter.elements(type_name(value), len(value) * times, size)
    if isinstance(value, str):
        made = str(value) * times
        meter.recode(made)
        return made if whole(value) else joined(made)
    return List(list.__mul__(value, times)) if isinstance(value, list) else value * times


def _nonzero(a: Value, b: Value, what: str) -> None:
    if b == 0:
        kind = "integer" if type(a) is int and type(b) is int else "floating-point"
        raise ValueProblem(f"{kind} {what}: division by zero")


def _divide(a: Value, b: Value, meter: Meter) -> Value:
    if not (_is_number(a) and _is_number(b)):
        raise _refuse("/", a, b)
    _nonzero(a, b, "division")
    return float(a) / float(b)


def _floor_divide(a: Value, b: Value, meter: Meter) -> Value:
    if not (_is_number(a) and _is_number(b)):
        raise _refuse("//", a, b)
    _nonzero(a, b, "floored division")
    if type(a) is int and type(b) is int:
        meter.quadratic(a.bit_length(), b.bit_length())
        return a // b
    quotient = float(a) / float(b)
    if not math.isfinite(quotient):
        return quotient
    return math.copysign(math.floor(quotient), quotient)


def _remainder(a: Value, b: Value, meter: Meter) -> Value:
    if isinstance(a, str):
        return percent(a, b, meter)
    if not (_is_number(a) and _is_number(b)):
        raise _refuse("%", a, b)
    _nonzero(a, b, "modulo")
    if type(a) is int and type(b) is int:
        meter.quadratic(a.bit_length(), b.bit_length())
        return a % b
    x, y = float(a), float(b)
    if math.isinf(x) or math.isnan(x) or math.isnan(y):
        return math.nan
    return x % y


def _and(a: Value, b: Value, meter: Meter) -> Value:
    if is_int(a) and is_int(b):
        return a & b
    if isinstance(a, Set) and isinstance(b, Set):
        meter.elements("set", len(a), 100)
        return Set({k: None for k in a.table if k in b.table})
    raise _refuse("&", a, b)


def _or(a: Value, b: Value, meter: Meter) -> Value:
    if is_int(a) and is_int(b):
        return _integer(a | b, meter)
    if isinstance(a, Dict) and isinstance(b, Dict):
        meter.elements("dict", len(a) + len(b), 100)
        return Dict({**a, **b})
    if isinstance(a, Set) and isinstance(b, Set):
        meter.elements("set", len(a) + len(b), 100)
        return Set({**a.table, **b.table})
    raise _refuse("|", a, b)


def _xor(a: Value, b: Value, meter: Meter) -> Value:
    if is_int(a) and is_int(b):
        return _integer(a ^ b, meter)
    if isinstance(a, Set) and isinstance(b, Set):
        meter.elements("set", len(a) + len(b), 100)
        return Set(
            {
                **{k: None for k in a.table if k not in b.table},
                **{k: None for k in b.table if k not in a.table},
            }
        )
    raise _refuse("^", a, b)


def _left(a: Value, b: Value, meter: Meter) -> Value:
    if not (is_int(a) and is_int(b)):
        raise _refuse("<<", a, b)
    if b < 0:
        raise ValueProblem(f"negative shift count: {b}")
    if a == 0:
        return 0
    if b > MAX_BITS:
        raise ValueProblem(f"shift count too large: {b}")
    meter.integer(a.bit_length() + b)
    return a << b


def _right(a: Value, b: Value, meter: Meter) -> Value:
    if not (is_int(a) and is_int(b)):
        raise _refuse(">>", a, b)
    if b < 0:
        raise ValueProblem(f"negative shift count: {b}")
    return a >> min(b, 2 * MAX_BITS)


def contains(value: Value, container: Value, meter: Meter) -> bool:
    """`value in container`."""
    if isinstance(container, str):
        if not isinstance(value, str):
            raise ValueProblem(f"'in <string>' requires string as left operand, not {type_name(value)}")
        meter.scan(len(container))
        meter.recode(container)
        return value in container if whole(value) else encoded(value) in encoded(container)
    if isinstance(container, Dict):
        return keyed(value, meter) in container
    if isinstance(container, Set):
        return keyed(value, meter) in container.table
    if isinstance(container, range):
        if not _is_number(value):
            raise ValueProblem(f"'in <range>' requires a number as left operand, not {type_name(value)}")
        return math.isfinite(value) and int(value) == value and int(value) in container
    if isinstance(container, bytes):
        meter.scan(len(container))
        if isinstance(value, bytes):
            return value in container
        if not is_int(value):
            raise ValueProblem(f"'in <bytes>' requires bytes or int as left operand, not {type_name(value)}")
        if not 0 <= value <= 255:
            raise ValueProblem(f"int in bytes: {brief(value)} out of range")
        return value in container
    if not isinstance(container, list | tuple | View):
        raise _refuse("in", value, container)
    for item in iterable(container):
        meter.work(3)
        if equal(value, item, meter):
            return True
    return False


def _ordered(operator: str, test: Callable[[int], bool]) -> Operation:
    def operate(a: Value, b: Value, meter: Meter) -> Value:
        return test(compare(a, b, meter, operator))

    return operate


BINARY: dict[str, Operation] = {
    "+": _add,
    "-": _subtract,
    "*": _multiply,
    "/": _divide,
    "//": _floor_divide,
    "%": _remainder,
    "&": _and,
    "|": _or,
    "^": _xor,
    "<<": _left,
    ">>": _right,
    "==": equal,
    "!=": lambda a, b, meter: not equal(a, b, meter),
    "<": _ordered("<", lambda order: order < 0),
    ">": _ordered(">", lambda order: order > 0),
    "<=": _ordered("<=", lambda order: order <= 0),
    ">=": _ordered(">=", lambda order: order >= 0),
    "in": contains,
    "not in": lambda a, b, meter: not contains(a, b, meter),
}


def binary(operator: str, a: Value, b: Value, meter: Meter) -> Value:
    """Apply a binary operator other than `and` and `or`."""
    try:
        return BINARY[operator](a, b, meter)
    except OverflowError:
        raise ValueProblem("int too large to convert to float") from None


def augmented(operator: str, old: Value, value: Value, meter: Meter) -> Value:
    """The new value of x in `x op= value`: lists, dicts and sets are changed in place."""
    if operator == "+" and isinstance(old, List):
        mutable(old, "append to")
        more = elements(value, meter)
        meter.elements("list", len(old) + len(more), 0)
        old.extend(more)
        return old
    if operator == "|" and isinstance(old, Dict) and isinstance(value, Dict):
        mutable(old, "insert into")
        meter.elements("dict", len(old) + len(value), 0)
        meter.elements("dict", len(value), 100)
        old.update(value)
        return old
    if operator in "|&-^" and isinstance(old, Set) and isinstance(value, Set):
        mutable(old, "change")
        old.table = binary(operator, old, value, meter).table
        return old
    return binary(operator, old, value, meter)


def unary(operator: str, value: Value) -> Value:
    """Apply + - ~ not."""
    if operator == "not":
        return not value
    if operator == "~" and is_int(value):
        return ~value
    if operator in "+-" and _is_number(value):
        return -value if operator == "-" else value
    raise ValueProblem(f"unsupported unary operation: {operator}{type_name(value)}")


def _position(value: Value, key: Value, number: int) -> int:
    if not is_int(key):
        raise ValueProblem(f"{type_name(value)} index: got {type_name(key)}, want int")
    if not -number <= key < number:
        count = f"{number} element{'s' * (number != 1)}"
        raise ValueProblem(f"index {brief(key)} out of range: {type_name(value)} has {count}")
    return int(key)


def index(value: Value, key: Value, meter: Meter) -> Value:
    """value[key]."""
    if isinstance(value, list | tuple | range):
        return value[_position(value, key, len(value))]
    if isinstance(value, Dict):
        try:
            return value[keyed(key, meter)]
        except KeyError:
            raise ValueProblem(f"key {brief(key)} not in dict") from None
    if isinstance(value, str) and not value.isascii():
        data = encoded(value)
        meter.work(len(data) >> 5)
        at = _position(value, key, len(data)) % len(data)
        return decoded(data[at : at + 1])
    if isinstance(value, str | bytes):
        return value[_position(value, key, len(value))]
    if isinstance(value, View):
        meter.work(len(value) >> 3)
        return value[_position(value, key, len(value))]
    raise ValueProblem(f"{type_name(value)} value cannot be indexed")


def store(holder: Value, key: Value, value: Value, meter: Meter) -> None:
    """holder[key] = value."""
    if isinstance(holder, Dict):
        mutable(holder, "insert into")
        made = keyed(key, meter)
        if made not in holder:
            meter.bytes(100)
        holder[made] = value
    elif isinstance(holder, List):
        mutable(holder, "assign to element of")
        holder[_position(holder, key, len(holder))] = value
    else:
        raise ValueProblem(f"{type_name(holder)} value does not support item assignment")


def part(value: Value, start: Value, stop: Value, step: Value, meter: Meter) -> Value:
    """value[start:stop:step]."""
    if not isinstance(value, list | tuple | str | range | bytes | View):
        raise ValueProblem(f"{type_name(value)} value cannot be sliced")
    for bound, what in ((start, "start"), (stop, "stop"), (step, "step")):
        if bound is not None and not is_int(bound):
            raise ValueProblem(f"slice {what}: got {type_name(bound)}, want int or None")
    if step == 0:
        raise ValueProblem("zero is not a valid slice step")
    chosen = slice(start, stop, step)
    if isinstance(value, range):
        return value[chosen]
    meter.elements(type_name(value), len(value), 1 if isinstance(value, str | bytes) else 8)
    if isinstance(value, list):
        return List(list.__getitem__(value, chosen))
    if isinstance(value, View):
        return List(list(value)[chosen])
    if isinstance(value, str) and not value.isascii():
        meter.work(len(value) >> 4)
        return decoded(encoded(value)[chosen])
    return (str(value) if isinstance(value, str) else value)[chosen]
