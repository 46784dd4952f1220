"""The arguments of a call -> the parameters of a function (Starlark spec, "Functions")."""

from __future__ import annotations

from grammar.nearest import suggest
from grammar.starlark.arguments import quantity
from grammar.starlark.values import Call, Dict, Function, Value, ValueProblem


def bind(function: Function, call: Call) -> list[Value]:
    """The values of the parameters, in their order. Raises ValueProblem."""
    parameters = function.code.parameters
    if not call.named and len(call.arguments) == len(parameters) == function.code.plain:
        return list(call.arguments)
    plain = parameters[: function.code.plain]
    given = call.arguments
    values: dict[str, Value] = {p.name: value for p, value in zip(plain, given, strict=False)}
    star = next((p.name for p in parameters if p.kind == "*" and p.name), None)
    keywords = next((p.name for p in parameters if p.kind == "**"), None)
    if star is not None:
        values[star] = tuple(given[len(plain) :])
    elif len(given) > len(plain):
        raise ValueProblem(
            f"function {function.name} accepts {quantity(len(plain), 'positional argument')} "
            f"({len(given)} given)"
        )
    names = {p.name for p in parameters if not p.kind}
    others = Dict()
    for name, value in call.named.items():
        if name not in names:
            others[name] = value
        elif name in values:
            raise ValueProblem(f"function {function.name} got multiple values for parameter '{name}'")
        else:
            values[name] = value
    if keywords is not None:
        values[keywords] = others
    elif others:
        name = next(iter(others))
        raise ValueProblem(
            f"function {function.name} got unexpected keyword argument '{name}'{suggest(name, names)}"
        )
    missing = [
        p.name for p in parameters if not p.kind and p.name not in values and p.name not in function.defaults
    ]
    if missing:
        raise ValueProblem(
            f"function {function.name} missing {quantity(len(missing), 'argument')} ({', '.join(missing)})"
        )
    return [values[p.name] if p.name in values else function.defaults[p.name] for p in parameters if p.name]
