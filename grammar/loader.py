"""Text -> `Environment`: the grammar's one entry point."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from grammar.api.state import State
from grammar.api.vocabulary import vocabulary
from grammar.builtins import UNIVERSE
from grammar.environment import Environment, Position
from grammar.errors import MAX_ERRORS, SpecError, suggest, together
from grammar.interpreter import Interpreter
from grammar.limits import MAX_STEPS
from grammar.recovery import parse_all
from grammar.values import Builtin, Function, type_name


def load(path: Path, function: str = "build", directory: Path | None = None) -> Environment:
    """The environment that `function` of the spec at `path` asks for; `directory` is what relative
    paths mean (the spec's own, unless another is given). Raises SpecError."""
    start = Position(str(path), 1, 1)
    try:
        text = decoded(path.read_bytes(), str(path))
    except OSError as error:
        raise SpecError(f"cannot read the file: {error.strerror}", start) from None
    made = evaluate(text, str(path), function, directory or path.parent)
    return replace(made, read_files=(str(path.resolve()), *made.read_files))


def decoded(data: bytes, filename: str) -> str:
    """The text of a file. Raises SpecError where it is not UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        what = "the file is UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "not UTF-8"
        raise SpecError(
            f"{what}: save it as UTF-8", Position(filename, line, column),
            data.decode("utf-8", "replace"),
        ) from None


def evaluate(
    text: str, filename: str, function: str = "build", directory: Path | None = None,
    max_steps: int = MAX_STEPS,
) -> Environment:
    """The environment that `function` asks for.

    Raises SpecError for any fault of the text, SpecErrors for several that are independent.
    """
    found: list[SpecError] = []
    try:
        state = State(directory or Path(), syntax=syntax_of(text, filename))
        _run(text, filename, function, state, found, max_steps)
    except SpecError as error:
        found.append(error)
    except RecursionError:
        found.append(SpecError("nested too deeply", Position(filename, 1, 1)))
    except MemoryError:
        found.append(SpecError("the evaluation needs too much memory", Position(filename, 1, 1)))
    if found:
        raise together(found).with_source(text, filename)
    return state.freeze()


def _run(
    text: str, filename: str, function: str, state: State, found: list[SpecError],
    max_steps: int,
) -> None:
    """Evaluate and call `function`; what only one request of it got wrong goes into `found`."""

    def report(error: SpecError) -> None:
        found.append(error)
        if len(found) > 5 * MAX_ERRORS:  # of a loop, surely
            raise found.pop()

    names = vocabulary(state)
    interpreter = Interpreter(
        {**UNIVERSE, **names}, max_steps, requests=names.keys(), report=report
    )
    defined = interpreter.run(parse_all(text, filename))
    start = Position(filename, 1, 1)
    if function not in defined:
        functions = [n for n, value in defined.items() if isinstance(value, Function)]
        hint = suggest(function, functions) or f"; write `def {function}():`"
        raise SpecError(f"no function '{function}'{hint}", start)
    called = defined[function]
    if not isinstance(called, Function):
        what = "one of envd's own" if isinstance(called, Builtin) else f"a {type_name(called)}"
        raise SpecError(f"'{function}' is no function of this file but {what}", start)
    for parameter in called.code.parameters:
        if not parameter.kind and parameter.default is None:
            raise SpecError(
                f"{function}() is called without arguments: give '{parameter.name}' a default",
                parameter.position,
            )
    interpreter.enter(called)


def syntax_of(text: str, filename: str) -> str:
    """The version of the vocabulary that the first line asks for (`# syntax=v0`): "v1" unless it
    says "v0". Raises SpecError for another one."""
    first = text.removeprefix("\ufeff").lstrip("\r\n").split("\n", 1)[0]
    match = re.match(r"\s*#\s*syntax\s*=\s*(\S*)", first)
    version = match[1] if match else "v1"
    if version not in ("v0", "v1"):
        line = text[: text.index(first)].count("\n") + 1
        raise SpecError(f"no syntax '{version}'; known: v0, v1", Position(
            filename, line, first.index("=") + 2))
    return version
