"""Text -> `Environment`: the grammar's one entry point."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from grammar import sources
from grammar.environment import Environment, Include, Position
from grammar.errors import MAX_ERRORS, SpecError, together
from grammar.nearest import suggest
from grammar.starlark.builtins import UNIVERSE
from grammar.starlark.interpreter import Interpreter
from grammar.starlark.limits import MAX_STEPS
from grammar.starlark.recovery import parse_all
from grammar.starlark.values import Builtin, Function, Module, Value, type_name
from grammar.vocabulary.registry import vocabulary
from grammar.vocabulary.state import State


@dataclass(frozen=True)
class Checkout:
    """What include() gets: where it comes from (for people, without a login), the commit, and
    (name, content) of the *.envd files at the repository's root."""

    place: str
    commit: str
    files: tuple[tuple[str, bytes], ...]


Includer = Callable[[Include], Checkout]


def load(
    path: Path,
    function: str = "build",
    directory: Path | None = None,
    include: Includer | None = None,
    allowed: tuple[Path, ...] = (),
) -> Environment:
    """The environment that `function` of the spec at `path` asks for; `directory` is what relative
    paths mean (the spec's own, unless another is given), `include` brings in other repositories, and
    files of the directories `allowed` may be named, too.
    Raises SpecError, and what `include` does."""
    start = Position(str(path), 1, 1)
    try:
        text = decoded(path.read_bytes(), str(path))
    except OSError as error:
        raise SpecError(f"cannot read the file: {error.strerror}", start) from None
    made = evaluate(text, str(path), function, directory or path.parent, include=include, allowed=allowed)
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
            f"{what}: save it as UTF-8", Position(filename, line, column), data.decode("utf-8", "replace")
        ) from None


class Opaque:
    """Instead of an Includer: include() gives a module whose every function does nothing."""


OPAQUE = Opaque()


def evaluate(
    text: str,
    filename: str,
    function: str = "build",
    directory: Path | None = None,
    max_steps: int = MAX_STEPS,
    include: Includer | Opaque | None = None,
    allowed: tuple[Path, ...] = (),
) -> Environment:
    """The environment that `function` asks for; without `include`, include() is an error, with OPAQUE a
    module of functions that do nothing.

    Raises SpecError for any fault of the text, SpecErrors for several that are independent.
    """
    found: list[SpecError] = []
    texts = {filename: text}  # of every file that was evaluated
    try:
        state = State(directory or Path(), allowed, syntax=syntax_of(text, filename))
        if isinstance(include, Opaque):
            state.include = lambda wanted: Module(wanted.git, _Anything())
            include = None
        _run(filename, function, state, found, max_steps, include, texts)
    except SpecError as error:
        found.append(error)
    except RecursionError:
        found.append(SpecError("nested too deeply", Position(filename, 1, 1)))
    except MemoryError:
        found.append(SpecError("the evaluation needs too much memory", Position(filename, 1, 1)))
    if found:
        for mistake in found:
            _say_more(mistake, text.splitlines(), filename)
        problem = together(found)
        for name, source in texts.items():
            problem.with_source(source, name)
        raise problem
    return state.freeze()


def _say_more(error: SpecError, lines: list[str], filename: str) -> None:
    """Hint at quotes that are missing around an unknown name; no names of types in messages."""
    for one in error.errors:
        one.message = one.message.replace("builtin_function_or_method", "function")
        match = re.fullmatch(r"unknown name '(\w+)'", one.message)
        if match and one.position.file == filename and one.position.line <= len(lines):
            rest = lines[one.position.line - 1][one.position.column - 1 + len(match[1]) :]
            if re.match(r"\s*([,)\]}]|$)", rest):
                one.message += f'; a string is written "{match[1]}"'


def _run(
    filename: str,
    function: str,
    state: State,
    found: list[SpecError],
    max_steps: int,
    include: Includer | None,
    texts: dict[str, str],
) -> None:
    """Evaluate `filename`, one of `texts`, and call `function`; what only one request of it got wrong
    goes into `found`, and the texts of what it includes into `texts`."""

    def report(error: SpecError) -> None:
        found.append(error)
        if len(found) > 5 * MAX_ERRORS:  # of a loop, surely
            raise found.pop()

    names = vocabulary(state)
    interpreter = Interpreter({**UNIVERSE, **names}, max_steps, requests=names.keys(), report=report)
    if include is not None:
        state.include = _Modules(interpreter, state, include, texts).module
    defined = interpreter.run(parse_all(texts[filename], filename))
    start = Position(filename, 1, 1)
    if function not in defined:
        functions = [n for n, value in defined.items() if isinstance(value, Function)]
        hint = suggest(function, functions) or f"; write `def {function}():`"
        raise SpecError(f"no function '{function}'{hint}", start, once=f"name {function}")
    called = defined[function]
    if not isinstance(called, Function):
        what = "one of envd's own" if isinstance(called, Builtin) else f"a {type_name(called)}"
        raise SpecError(f"'{function}' is not a function of this file but {what}", start)
    for parameter in called.code.parameters:
        if not parameter.kind and parameter.default is None:
            raise SpecError(
                f"{function}() is called without arguments: give '{parameter.name}' a default",
                parameter.position,
            )
    interpreter.enter(called)


class _Anything(Mapping[str, Value]):
    """The members of a module that nobody has looked into: whatever is asked for."""

    def __getitem__(self, name: str) -> Value:
        return Builtin(name, lambda interpreter, call: None)

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class _Modules:
    """Repositories that were included: each is evaluated once."""

    def __init__(
        self, interpreter: Interpreter, state: State, include: Includer, texts: dict[str, str]
    ) -> None:
        self._interpreter = interpreter
        self._state = state
        self._include = include
        self._texts = texts
        self._found: dict[tuple[str, str], Module | None] = {}  # None: while it is evaluated

    def module(self, wanted: Include) -> Module:
        """The public names of a repository's *.envd files. Raises SpecError."""
        key = (wanted.git, wanted.ref)
        if key in self._found:
            known = self._found[key]
            if known is None:
                raise SpecError(f"include(): {wanted.git} includes itself", wanted.position)
            return known
        self._found[key] = None
        checkout = self._include(wanted)
        self._state.includes.append(replace(wanted, commit=checkout.commit))
        made = Module(
            wanted.git.rstrip("/").rpartition("/")[2].removesuffix(".git"), self._members(wanted, checkout)
        )
        self._found[key] = made
        return made

    def _members(self, wanted: Include, checkout: Checkout) -> dict[str, Value]:
        if not checkout.files:
            raise SpecError(f"include(): {checkout.place} has no *.envd files at its root", wanted.position)
        members: dict[str, Value] = {}
        homes: dict[str, str] = {}
        for name, data in checkout.files:
            filename = f"{checkout.place}:{name}"
            text = self._texts[filename] = decoded(data, filename)
            sources.keep(filename, text)
            syntax_of(text, filename)
            for member, value in self._interpreter.another().run(parse_all(text, filename)).items():
                if member.startswith("_"):
                    continue
                if member in members:
                    raise SpecError(
                        f"include(): '{member}' is in both {homes[member]} and {name} of {checkout.place}",
                        wanted.position,
                    )
                members[member], homes[member] = value, name
        return members


def syntax_of(text: str, filename: str) -> str:
    """The version of the vocabulary that the first line asks for (`# syntax=v0`): "v1" unless it
    says "v0". Raises SpecError for another one."""
    first = text.removeprefix("\ufeff").lstrip("\r\n").split("\n", 1)[0]
    match = re.match(r"\s*#\s*syntax\s*=\s*(\S*)", first)
    version = match[1] if match else "v1"
    if version not in ("v0", "v1"):
        line = text[: text.index(first)].count("\n") + 1
        raise SpecError(
            f"no syntax '{version}'; known: v0, v1", Position(filename, line, first.index("=") + 2)
        )
    return version
