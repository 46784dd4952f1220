"""Signatures of envd's functions: names, types and defaults, and how a call is checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from grammar.api.state import State
from grammar.environment import Position
from grammar.errors import SpecError, suggest
from grammar.literals import SpecStr
from grammar.values import Builtin, Call, Value, ValueProblem, type_name, unkeyed

REQUIRED = object()
KINDS = {
    "str": "a string", "bool": "True or False", "int": "an int", "list[str]": "a list of strings",
    "dict[str]": "a dict of strings", "list[list[str]]": "a list of lists of strings",
    "str|list[str]": "a string or a list of strings", "any": "anything",
}


@dataclass(frozen=True)
class Parameter:
    """One parameter. `kind` is a key of KINDS; None is taken where it is the default."""

    name: str
    kind: str = "str"
    default: Any = REQUIRED
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Given:
    """A checked call: values by parameter, and where each stands."""

    position: Position
    values: dict[str, Any]
    places: dict[str, Position]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def at(self, name: str) -> Position:
        """Where an argument stands (the call, when it was not given)."""
        return self.places.get(name, self.position)

    def where(self, name: str, text: str) -> Position:
        """Where a string was written: its literal, else its argument."""
        return text.position if isinstance(text, SpecStr) else self.at(name)


# What a call does; what it returns is the call's value (None for nearly all).
Run = Callable[[State, Given], Any]


@dataclass(frozen=True)
class Api:
    """One function of the vocabulary: "install.python_packages" and its parameters."""

    name: str
    parameters: tuple[Parameter, ...]
    run: Run
    about: str = ""

    def bind(self, state: State) -> Builtin:
        """The function for one evaluation."""

        def call(_: Any, call: Call) -> Value:
            return self.run(state, self._check(call))

        return Builtin(self.name, call)

    def _check(self, call: Call) -> Given:
        names = [p.name for p in self.parameters]
        if len(call.arguments) > len(names):
            raise ValueProblem(
                f"{self.name}() takes at most {len(names)} arguments, not {len(call.arguments)}"
            )
        values: dict[str, Any] = {}
        places: dict[str, Position] = {}
        for number, value in enumerate(call.arguments):
            values[names[number]], places[names[number]] = value, call.place(number)
        aliases = {alias: p.name for p in self.parameters for alias in p.aliases}
        for key, value in call.named.items():
            name = aliases.get(key, key)
            if name not in names:
                raise SpecError(
                    f"{self.name}() has no parameter '{key}'{suggest(key, [*names, *aliases])}",
                    call.place(key),
                )
            if name in values:
                raise SpecError(f"{self.name}() gets '{name}' twice", call.place(key))
            values[name], places[name] = value, call.place(key)
        for parameter in self.parameters:
            if parameter.name not in values:
                if parameter.default is REQUIRED:
                    raise ValueProblem(f"{self.name}() lacks the argument '{parameter.name}'")
                values[parameter.name] = parameter.default
            else:
                values[parameter.name] = self._typed(
                    parameter, values[parameter.name], places[parameter.name]
                )
        return Given(call.position, values, places)

    def _typed(self, parameter: Parameter, value: Value, place: Position) -> Any:
        if value is None and parameter.default is None:
            return None
        kind = parameter.kind
        if kind == "str|list[str]" and isinstance(value, str):
            value = [value]
        problem = SpecError(
            f"{self.name}(): '{parameter.name}' is {KINDS[kind]}, not {type_name(value)}", place
        )
        if kind == "any":
            return value
        if kind in ("str", "bool", "int"):
            wanted = {"str": str, "bool": bool, "int": int}[kind]
            if not isinstance(value, wanted) or (kind == "int" and isinstance(value, bool)):
                raise problem
            return value
        if kind == "dict[str]":
            if not isinstance(value, dict):
                raise problem
            pairs = {unkeyed(k): v for k, v in value.items()}
            for item in (*pairs, *pairs.values()):
                self._element(parameter, item, place)
            return pairs
        if not isinstance(value, list | tuple):
            raise problem
        for item in value:
            if kind == "list[list[str]]":
                if not isinstance(item, list | tuple) or not item:
                    raise problem
                for word in item:
                    self._element(parameter, word, place)
            else:
                self._element(parameter, item, place)
        return list(value)

    def _element(self, parameter: Parameter, item: Value, place: Position) -> None:
        if not isinstance(item, str):
            raise SpecError(
                f"{self.name}(): '{parameter.name}' is {KINDS[parameter.kind]}; it holds "
                f"{type_name(item)}", place,
            )
        if "\n" in item and parameter.kind == "list[str]" and parameter.name != "commands":
            raise SpecError(f"{self.name}(): a line break inside a name", place)


def later(name: str, advice: str = "") -> Api:
    """A function of envd's language that this engine does not have yet: it says so."""

    def run(state: State, given: Given) -> None:
        hint = f"; {advice}" if advice else ""
        raise SpecError(f"{name}() is not supported yet{hint}", given.position)

    class _AnyCall(Api):
        def _check(self, call: Call) -> Given:
            return Given(call.position, {}, {})

    return _AnyCall(name, (), run, "not supported yet")
