"""Arguments of builtins: by position and, where one has a name, by name."""

from __future__ import annotations

from typing import Any

from grammar.starlark.values import Call, Value, ValueProblem, type_name

REQUIRED = object()


def quantity(number: int, what: str) -> str:
    """Such as "1 argument" or "2 arguments"."""
    return f"{number} {what}{'s' * (number != 1)}"


def _count(number: int) -> str:
    return quantity(number, "argument")


def bound(name: str, call: Call, *parameters: tuple[str, Any]) -> list[Value]:
    """The arguments of a builtin with `parameters` (name, default). A name that begins with "_" is
    by position only. Raises ValueProblem."""
    given = len(call.arguments)
    if given > len(parameters):
        raise ValueProblem(f"{name}: got {_count(given)}, want at most {len(parameters)}")
    if given == len(parameters) and not call.named:
        return list(call.arguments)
    names = [parameter for parameter, _ in parameters]
    values: dict[str, Value] = dict(zip(names, call.arguments, strict=False))
    for key, value in call.named.items():
        if key not in names or key.startswith("_"):
            raise ValueProblem(f"{name}: unexpected keyword argument '{key}'")
        if key in values:
            raise ValueProblem(f"{name}: got multiple values for argument '{key}'")
        values[key] = value
    made = []
    for parameter, default in parameters:
        value = values.get(parameter, default)
        if value is REQUIRED:
            least = sum(1 for _, other in parameters if other is REQUIRED)
            raise ValueProblem(
                f"{name}: missing argument for '{parameter.lstrip('_')}': got {_count(given)}, "
                f"want {'at least ' if least < len(parameters) else ''}{least}"
            )
        made.append(value)
    return made


def positional(name: str, call: Call, low: int, high: int) -> tuple[Value, ...]:
    """From `low` to `high` arguments, by position only. Raises ValueProblem."""
    if call.named:
        raise ValueProblem(f"{name}: unexpected keyword arguments: it takes none by name")
    given = len(call.arguments)
    if given < low:
        least = "at least " if low < high else ""
        raise ValueProblem(f"{name}: got {_count(given)}, want {least}{low}")
    if given > high:
        raise ValueProblem(f"{name}: got {_count(given)}, want at most {high}")
    return call.arguments


def string(name: str, value: Value, what: str) -> str:
    """A string. Raises ValueProblem."""
    if not isinstance(value, str):
        raise ValueProblem(f"{name}: for {what}: got {type_name(value)}, want string")
    return str(value)


def integer(name: str, value: Value, what: str) -> int:
    """An int, which a bool is not. Raises ValueProblem."""
    if type(value) is not int:
        raise ValueProblem(f"{name}: for {what}: got {type_name(value)}, want int")
    return value


def boundary(name: str, value: Value, what: str) -> int | None:
    """An index that limits a range: an int or None. Raises ValueProblem."""
    return None if value is None else integer(name, value, what)
