"""Coverage-guided fuzzing of Starlark with Atheris: parser, resolver, evaluator, envd's vocabulary.

    make fuzz                           20 s with the seeds in tests/fuzz/seeds
    make fuzz FUZZ=-max_total_time=3600
    .venv/bin/python tests/fuzz/fuzz_starlark.py FILE      one input again, such as a crash

What libFuzzer takes is an argument here too. An exception other than SpecError, or an input that
takes more than 20 s, ends it with a status other than 0, and leaves the input as crash-… or
timeout-… in the current directory.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))
with atheris.instrument_imports(include=["grammar"]):
    from grammar.errors import SpecError
    from grammar.starlark.builtins import UNIVERSE
    from grammar.starlark.interpreter import Interpreter
    from grammar.starlark.printing import represent
    from grammar.starlark.recovery import parse_all
    from grammar.starlark.resolver import Dialect
    from grammar.starlark.values import Function, ValueProblem
    from grammar.vocabulary.registry import vocabulary
    from grammar.vocabulary.state import State

HERE = Path(__file__).parent
LENIENT = Dialect(top_level_control=True, global_reassign=True)
STEPS = 20_000


def evaluate(text: str, directory: Path) -> None:
    """Everything that a spec may set off in the language, within few steps."""
    names = vocabulary(State(directory))
    found: list[SpecError] = []

    def report(error: SpecError) -> None:
        found.append(error)
        if len(found) > 10:
            raise found[0]

    try:
        statements = parse_all(text, "f")
    except SpecError as error:
        check(error)
        return
    for dialect, listener in ((LENIENT, None), (Dialect(), report)):
        interpreter = Interpreter(
            {**UNIVERSE, **names}, STEPS, requests=names.keys(), report=listener, dialect=dialect
        )
        try:
            defined = interpreter.run(statements)
            for value in list(defined.values()):
                if isinstance(value, Function):
                    interpreter.enter(value)
                with contextlib.suppress(ValueProblem):
                    represent(value)
        except SpecError as error:
            check(error)


def check(error: SpecError) -> None:
    """That an error says where it is."""
    assert str(error).startswith("f:"), str(error)
    assert all(one.position.line > 0 and one.position.column > 0 for one in error.errors)


def main() -> None:
    """Run libFuzzer."""
    given = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)

        def one_input(data: bytes) -> None:
            with contextlib.redirect_stderr(io.StringIO()):
                evaluate(data.decode("utf-8", "replace"), directory)

        corpus = directory / "corpus"
        corpus.mkdir()
        options = ["-timeout=20", "-max_len=2000", "-rss_limit_mb=4096", f"-dict={HERE / 'starlark.dict'}"]
        if all(option.startswith("-") for option in given):
            given = [*given, str(corpus), str(HERE / "seeds")]
        os.environ.setdefault("ASAN_OPTIONS", "detect_leaks=0")
        atheris.Setup([sys.argv[0], *options, *given], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
