"""Text -> `Environment`: the grammar's one entry point."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from grammar.api.state import State
from grammar.api.vocabulary import vocabulary
from grammar.builtins import UNIVERSE
from grammar.environment import Environment, Position
from grammar.errors import SpecError, suggest
from grammar.interpreter import Interpreter
from grammar.parser import parse
from grammar.values import Call, Function


def load(path: Path, function: str = "build", directory: Path | None = None) -> Environment:
    """The environment that `function` of the spec at `path` asks for; `directory` is what relative
    paths mean (the spec's own, unless another is given). Raises SpecError."""
    start = Position(str(path), 1, 1)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"the file is not UTF-8 (byte {error.start}); save it as UTF-8", start) \
            from None
    except OSError as error:
        raise SpecError(f"cannot read the file: {error.strerror}", start) from None
    made = evaluate(text, str(path), function, directory or path.parent)
    return replace(made, read_files=(str(path.resolve()), *made.read_files))


def evaluate(
    text: str, filename: str, function: str = "build", directory: Path | None = None
) -> Environment:
    """The environment that `function` asks for. Raises SpecError for any fault of the text."""
    state = State(directory or Path())
    try:
        statements = parse(text, filename)
        interpreter = Interpreter({**UNIVERSE, **vocabulary(state)})
        names = interpreter.run(statements)
        found = names.get(function)
        if not isinstance(found, Function):
            functions = [n for n, value in names.items() if isinstance(value, Function)]
            hint = suggest(function, functions) or f"; write `def {function}():`"
            raise SpecError(f"no function '{function}'{hint}", Position(filename, 1, 1))
        interpreter.call(found, Call(Position(filename, 1, 1), (), {}))
    except SpecError as error:
        if error.position.file == filename:
            error.with_source(text)
        raise
    except RecursionError:
        raise SpecError("nested too deeply", Position(filename, 1, 1), text) from None
    except MemoryError:
        raise SpecError("the evaluation needs too much memory", Position(filename, 1, 1), text) \
            from None
    return state.freeze()
