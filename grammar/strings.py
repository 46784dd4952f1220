"""Formatting: `'…' % x` and `'…'.format(…)`, as the Starlark specification has them: without
width, precision, or access to attributes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from grammar.values import Value, ValueProblem, display, represent, type_name

_PERCENT = re.compile(r"%(\(([^)]*)\))?(.)?", re.DOTALL)
_FIELD = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def percent(text: str, operand: Value) -> str:
    """`text % operand`. Raises ValueProblem."""
    values = list(operand) if isinstance(operand, tuple) else [operand]
    used = 0
    named = False

    def replace(match: re.Match[str]) -> str:
        nonlocal used, named
        verb = match[3]
        if verb is None:
            raise ValueProblem("incomplete format: a lone % is written %%")
        if verb == "%":
            return "%"
        if match[1] is not None:
            named = True
            if not isinstance(operand, dict):
                raise ValueProblem("a named format wants a dict")
            if match[2] not in operand:
                raise ValueProblem(f"no key {represent(match[2])} in the dict")
            return _verb(verb, operand[match[2]])
        if used >= len(values):
            raise ValueProblem("not enough arguments for the format")
        used += 1
        return _verb(verb, values[used - 1])

    made = _PERCENT.sub(replace, text)
    if not named and used < len(values):
        raise ValueProblem("too many arguments for the format")
    return made


def _verb(verb: str, value: Value) -> str:
    if verb == "s":
        return display(value)
    if verb == "r":
        return represent(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if verb in "dixXo":
        if not number:
            raise ValueProblem(f"%{verb} wants a number, not {type_name(value)}")
        whole = int(value)
        return represent(whole) if verb in "di" else format(whole, verb)
    if verb in "eEfFgG":
        if not number:
            raise ValueProblem(f"%{verb} wants a number, not {type_name(value)}")
        return f"{float(value):{verb}}"
    if verb == "c":
        if isinstance(value, str) and len(value) == 1:
            return value
        if isinstance(value, int) and 0 <= value < 0x110000:
            return chr(value)
        raise ValueProblem("%c wants a character or its code point")
    raise ValueProblem(f"no format %{verb}")


def braces(text: str, arguments: Sequence[Value], named: Mapping[str, Value]) -> str:
    """`text.format(…)`. Raises ValueProblem."""
    automatic = 0
    manual = False

    def replace(match: re.Match[str]) -> str:
        nonlocal automatic, manual
        whole, inner = match[0], match[1]
        if whole in ("{{", "}}"):
            return whole[0]
        if inner is None:
            raise ValueProblem(f"a lone '{whole}' is written '{whole}{whole}'")
        name, bang, conversion = inner.partition("!")
        if bang and conversion not in ("s", "r"):
            raise ValueProblem(f"no conversion '!{conversion}'")
        show = represent if conversion == "r" else display
        if not name or name.isdecimal():
            if not name:
                if manual:
                    raise ValueProblem("cannot mix {} and {0}")
                number, automatic = automatic, automatic + 1
            else:
                if automatic:
                    raise ValueProblem("cannot mix {} and {0}")
                number, manual = int(name), True
            if number >= len(arguments):
                raise ValueProblem(f"format wants more than {len(arguments)} arguments")
            return show(arguments[number])
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueProblem(f"'{{{name}}}': only names and numbers are allowed in a format")
        if name not in named:
            raise ValueProblem(f"format has no argument '{name}'")
        return show(named[name])

    return _FIELD.sub(replace, text)
