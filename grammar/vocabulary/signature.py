"""Signatures of envd's functions: names, types and defaults, and how a call is checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from grammar.environment import Position
from grammar.errors import Problems, SpecError
from grammar.nearest import suggest
from grammar.starlark.literals import SpecStr
from grammar.starlark.values import Builtin, Call, Function, Module, Value, type_name, unkeyed
from grammar.vocabulary.state import DataSource, State

REQUIRED = object()
KINDS = {
    "str": "a string",
    "bool": "True or False",
    "int": "an int",
    "list[str]": "a list of strings",
    "dict[str]": "a dict of strings",
    "list[list[str]]": "a list of lists of strings",
    "str|list[str]": "a string or a list of strings",
    "str|data": "a string or data.envd(...)",
}


@dataclass(frozen=True)
class Parameter:
    """One parameter. `kind` is a key of KINDS; None is taken for the default of an optional one.

    `aliases` are other names that it is known under, `deprecated` such that draw a warning.
    `choices` are the values that it knows, for editors; `about` is for the reference.
    """

    name: str
    kind: str = "str"
    default: Any = REQUIRED
    aliases: tuple[str, ...] = ()
    about: str = ""
    choices: tuple[str, ...] = ()
    deprecated: tuple[str, ...] = ()

    @property
    def required(self) -> bool:
        """Whether a call must give it."""
        return self.default is REQUIRED


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
    """One function of the vocabulary: "install.python_packages" and its parameters.

    `about` says what it does; `differs` how that is not what tensorchord/envd's does; `instead`
    names the function that replaced it, when it is there for old files only.
    """

    name: str
    parameters: tuple[Parameter, ...]
    run: Run
    about: str = ""
    differs: str = ""
    instead: str = ""
    by_name: dict[str, Parameter] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names: dict[str, Parameter] = {}
        for parameter in self.parameters:
            for name in (parameter.name, *parameter.aliases, *parameter.deprecated):
                names[name] = parameter
        object.__setattr__(self, "by_name", names)

    def bind(self, state: State) -> Builtin:
        """The function for one evaluation."""

        def call(_: Any, call: Call) -> Value:
            if self.instead:
                state.warn(f"{self.name}() is deprecated; write {self.instead}", call.position)
            return self.run(state, self._check(call, state))

        return Builtin(self.name, call)

    def _check(self, call: Call, state: State) -> Given:
        """The call's arguments by parameter. Raises one error for each that is wrong."""
        problems = Problems()
        values: dict[str, Any] = {}
        places: dict[str, Position] = {}
        for number, value in enumerate(call.arguments[: len(self.parameters)]):
            name = self.parameters[number].name
            values[name], places[name] = value, call.place(number)
        if len(call.arguments) > len(self.parameters):
            count, at = len(self.parameters), call.place(len(self.parameters))
            most = f"at most {count} argument{'s' * (count != 1)}" if count else "no arguments"
            with problems:
                raise SpecError(f"{self.name}() takes {most}, not {len(call.arguments)}", at)
        for key, value in call.named.items():
            with problems:
                parameter = self._parameter(key, call, state)
                if parameter.name in values:
                    raise SpecError(f"{self.name}() gets '{parameter.name}' twice", call.place(key))
                values[parameter.name], places[parameter.name] = value, call.place(key)
        unknown = bool(problems.errors)
        for parameter in self.parameters:
            value = values.get(parameter.name)
            if value is None and not parameter.required:
                values[parameter.name] = parameter.default
            elif parameter.name in values:
                with problems:
                    values[parameter.name] = self._typed(parameter, value, places[parameter.name])
            elif not unknown:  # else it may be what the unknown name was meant for
                with problems:
                    raise SpecError(f"{self.name}() lacks the argument '{parameter.name}'", call.position)
        problems.check()
        return Given(call.position, values, places)

    def _parameter(self, key: str, call: Call, state: State) -> Parameter:
        parameter = self.by_name.get(key)
        if parameter is None:
            known = [n for n, p in self.by_name.items() if n not in p.deprecated]
            hint = suggest(key, known)
            if not hint:
                names = ", ".join(p.name for p in self.parameters)
                hint = f"; it has {names}" if names else "; it has none"
            at = call.places.get(f"{key}=", call.place(key))
            raise SpecError(f"{self.name}() has no parameter '{key}'{hint}", at)
        if key in parameter.deprecated:
            state.warn(f"{self.name}(): '{key}' is deprecated; write '{parameter.name}'", call.place(key))
        return parameter

    def _typed(self, parameter: Parameter, value: Value, place: Position) -> Any:
        kind = parameter.kind
        if kind == "str|list[str]" and isinstance(value, str):
            value = [value]
        problem = SpecError(
            f"{self.name}(): '{parameter.name}' is {KINDS[kind]}, not {_called(value)}", place
        )
        if kind in ("str", "bool", "int"):
            wanted = {"str": str, "bool": bool, "int": int}[kind]
            if not isinstance(value, wanted) or (kind == "int" and isinstance(value, bool)):
                raise problem
            if isinstance(value, str) and "\0" in value:
                raise SpecError(f"{self.name}(): a NUL character in '{parameter.name}'", place)
            return value
        if kind == "str|data":
            if not isinstance(value, str | DataSource):
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
            if isinstance(value, str) and kind == "list[str]":
                problem.message += f": write {parameter.name}=[…]"
            raise problem
        problems = Problems()
        for item in value:
            with problems:
                if kind != "list[list[str]]":
                    self._element(parameter, item, place)
                elif not isinstance(item, list | tuple) or not item:
                    raise SpecError(
                        f"{self.name}(): '{parameter.name}' is {KINDS[kind]}; it holds "
                        f"{_called(item) if item or not isinstance(item, list) else 'an empty list'}",
                        place,
                    )
                else:
                    for word in item:
                        self._element(parameter, word, place)
        problems.check()
        return list(value)

    def _element(self, parameter: Parameter, item: Value, place: Position) -> None:
        if not isinstance(item, str):
            raise SpecError(
                f"{self.name}(): '{parameter.name}' is {KINDS[parameter.kind]}; it holds {_called(item)}",
                place,
            )
        where = item.position if isinstance(item, SpecStr) else place
        if "\0" in item:
            raise SpecError(f"{self.name}(): a NUL character in '{parameter.name}'", where)
        if "\n" in item and parameter.kind == "list[str]" and parameter.name != "commands":
            raise SpecError(f"{self.name}(): a line break inside a name", where)


def _called(value: Value) -> str:
    """What a message calls a value of a wrong type."""
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, Builtin | Function):
        return f"the function {value.name}"
    if isinstance(value, Module):
        return f"the module {value.name}"
    name = "data source" if isinstance(value, DataSource) else type_name(value)
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def each(given: Given, name: str, run: Callable[[str, Position], None]) -> None:
    """`run` on every string of a list argument, with where it was written; one error for each that
    it refuses."""
    problems = Problems()
    for text in given[name]:
        with problems:
            run(str(text), given.where(name, text))
    problems.check()


__all__ = ["KINDS", "REQUIRED", "Api", "Given", "Parameter", "Run", "each"]
