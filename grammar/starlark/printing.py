"""repr() and str() (Starlark spec, "repr")."""

from __future__ import annotations

from grammar.starlark import values
from grammar.starlark.limits import MAX_LENGTH, MAX_NESTING, Meter, ValueProblem
from grammar.starlark.text import View, decimal, decoded, float_text, quoted, replaced


class _Printer:
    """Collects the text of a value. `inside` are the values around the one that is printed: what
    contains itself is shown as "..."."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.parts: list[str] = []
        self.size = 0
        self.inside: set[int] = set()

    def write(self, text: str) -> None:
        self.size += len(text)
        if self.size > MAX_LENGTH:
            raise ValueProblem(f"a string of more than {MAX_LENGTH} elements")
        self.meter.work(3 + (len(text) >> 6))
        self.parts.append(text)

    def value(self, value: values.Value) -> None:
        if not isinstance(value, list | tuple | dict | values.Set):
            self.write(_plain(value, self.meter))
            return
        opening, closing = _brackets(value)
        if id(value) in self.inside:
            self.write(f"{opening}...{closing}")
            return
        if len(self.inside) > MAX_NESTING:
            raise ValueProblem(f"values nested more than {MAX_NESTING} deep")
        self.inside.add(id(value))
        self.write(opening)
        first = True
        for item in value:
            if not first:
                self.write(", ")
            first = False
            if isinstance(value, dict):
                self.value(values.unkeyed(item))
                self.write(": ")
                self.value(value[item])
            else:
                self.value(item)
        if isinstance(value, tuple) and len(value) == 1:
            self.write(",")
        self.write(closing)
        self.inside.discard(id(value))


def _brackets(value: values.Value) -> tuple[str, str]:
    if isinstance(value, list):
        return "[", "]"
    if isinstance(value, tuple):
        return "(", ")"
    if isinstance(value, dict):
        return "{", "}"
    return ("set([", "])") if len(value) else ("set(", ")")


def _plain(value: values.Value, meter: Meter) -> str:
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        meter.quadratic(value.bit_length(), value.bit_length())
        return decimal(value)
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, bytes):
        return "b" + quoted(decoded(value))
    if isinstance(value, View):
        return f"{_plain(value.of, meter)}.{value.method}()"
    if isinstance(value, range):
        if value.step != 1:
            return f"range({value.start}, {value.stop}, {value.step})"
        return f"range({value.start}, {value.stop})" if value.start else f"range({value.stop})"
    if isinstance(value, values.Function):
        return f"<function {value.name}>"
    if isinstance(value, values.Builtin):
        if value.of:
            return f"<built-in method {value.name} of {value.of} value>"
        return f"<built-in function {value.name}>"
    return f"<{values.type_name(value)} {getattr(value, 'name', '')}>"


def represent(value: values.Value, meter: Meter | None = None) -> str:
    """repr(). Raises ValueProblem when it is unreasonably long or deep."""
    printer = _Printer(meter or Meter())
    printer.value(value)
    return "".join(printer.parts)


def display(value: values.Value, meter: Meter | None = None) -> str:
    """str()."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes):
        if meter is not None and not value.isascii():
            meter.work(len(value) >> 1)
        return replaced(decoded(value))
    return represent(value, meter)


def brief(value: values.Value) -> str:
    """repr() for an error message: never long."""
    if isinstance(value, int) and value.bit_length() > 400:
        return "an int of many digits"
    if isinstance(value, str | bytes):
        value = value[:80]
    text = represent(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
