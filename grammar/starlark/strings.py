"""Formatting: `'…' % x` and `'…'.format(…)`, as the Starlark specification has them: without
width, precision, or access to attributes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from grammar.starlark.limits import MAX_LENGTH, Meter
from grammar.starlark.printing import brief, display, represent
from grammar.starlark.text import float_text, joined, length
from grammar.starlark.values import Dict, Value, ValueProblem, type_name

_PERCENT = re.compile(r"%(\(([^)]*)\))?(.)?", re.DOTALL)
_FIELD = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def percent(text: str, operand: Value, meter: Meter) -> str:
    """`text % operand`. Raises ValueProblem."""
    values = list(operand) if isinstance(operand, tuple) else [operand]
    used = 0
    named = False
    size = len(text)

    def replace(match: re.Match[str]) -> str:
        nonlocal used, named, size
        verb = match[3]
        if verb is None:
            raise ValueProblem("incomplete format: a lone % is written %%")
        if verb == "%" and match[1] is None:
            return "%"
        if match[1] is not None:
            named = True
            if not isinstance(operand, Dict):
                raise ValueProblem("format requires a mapping: a dict for its names")
            if match[2] not in operand:
                raise ValueProblem(f"key not found: {brief(match[2])} is not in the dict")
            value = operand[match[2]]
        elif used >= len(values):
            raise ValueProblem("not enough arguments for format string")
        else:
            value = values[used]
            used += 1
        meter.work(5)
        made = _verb(verb, value, meter)
        size += len(made)
        if size > MAX_LENGTH:
            raise ValueProblem(f"a string of more than {MAX_LENGTH} elements")
        return made

    made = _PERCENT.sub(replace, text)
    if not named and used < len(values):
        raise ValueProblem("too many arguments for format string")
    meter.bytes(len(made))
    meter.recode(made)
    return joined(made)


def _verb(verb: str, value: Value, meter: Meter) -> str:
    if verb == "s":
        return display(value, meter)
    if verb == "r":
        return represent(value, meter)
    if verb == "c":
        return _character(value)
    if verb not in "dixXoeEfFgG":
        raise ValueProblem(f"unknown conversion %{verb}")
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueProblem(f"%{verb} format requires a number: got {type_name(value)}")
    try:
        if verb in "di":
            return represent(int(value), meter)
        if verb in "xXo":
            return format(int(value), verb)
        number = float(value)
    except (OverflowError, ValueError):
        raise ValueProblem(f"%{verb}: {brief(value)} is out of its range") from None
    if verb in "gG":
        made = float_text(number)
        return made.upper() if verb == "G" else made
    if abs(number) == float("inf") or number != number:
        return float_text(number)
    return f"{number:{verb}}"


def _character(value: Value) -> str:
    if isinstance(value, str):
        if len(value) != 1:
            raise ValueProblem(f"%c format requires a single character: got {length(value)}")
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return code_point(value)
    raise ValueProblem(f"%c format requires a character or its code point: got {type_name(value)}")


def code_point(value: int) -> str:
    """The string of one code point; U+FFFD for a surrogate. Raises ValueProblem."""
    if not 0 <= value <= 0x10FFFF:
        raise ValueProblem(f"code point {brief(value)} out of range: it is from 0 to 0x10ffff")
    return "\ufffd" if 0xD800 <= value <= 0xDFFF else chr(value)


def _index(digits: str) -> int:
    """The number of a field; for one with more digits than any index has, one that there is not."""
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= 12 else 10**12


def braces(text: str, arguments: Sequence[Value], named: Mapping[str, Value], meter: Meter) -> str:
    """`text.format(…)`. Raises ValueProblem."""
    automatic = 0
    manual = False
    size = len(text)

    def field(name: str) -> Value:
        nonlocal automatic, manual
        if not name or (name.isascii() and name.isdigit()):
            if manual if not name else automatic:
                raise ValueProblem("cannot mix automatic {} and numbered {0} fields in a format")
            if not name:
                number, automatic = automatic, automatic + 1
            else:
                number, manual = _index(name), True
            if number >= len(arguments):
                raise ValueProblem(
                    f"format index {name[:20] or number} out of range: got {len(arguments)} arguments"
                )
            return arguments[number]
        if any(c in name for c in ".[],:"):
            raise ValueProblem(f"'{{{name}}}': only names and numbers are allowed in a format")
        if name not in named:
            raise ValueProblem(f"keyword '{name}' not found: format() has no such argument")
        return named[name]

    def replace(match: re.Match[str]) -> str:
        nonlocal size
        whole, inner = match[0], match[1]
        if whole in ("{{", "}}"):
            return whole[0]
        if inner is None:
            kind = "unmatched" if whole == "{" else "single"
            raise ValueProblem(f"{kind} '{whole}' in format: a lone one is written '{whole}{whole}'")
        name, bang, conversion = inner.partition("!")
        if bang and conversion not in ("s", "r"):
            raise ValueProblem(f"unknown conversion '!{conversion}' in a format")
        meter.work(5)
        value = field(name)
        made = represent(value, meter) if conversion == "r" else display(value, meter)
        size += len(made)
        if size > MAX_LENGTH:
            raise ValueProblem(f"a string of more than {MAX_LENGTH} elements")
        return made

    made = _FIELD.sub(replace, text)
    meter.bytes(len(made))
    meter.recode(made)
    return joined(made)
