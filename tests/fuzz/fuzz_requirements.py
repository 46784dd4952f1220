"""Fuzzing of what says which Python packages a project wants: requirements.txt, pyproject.toml,
pylock.toml, uv.lock."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))
with atheris.instrument_imports(include=["engine", "grammar.vocabulary.requirements", "tomllib"]):
    from engine.ecosystems.python import pylock
    from engine.ecosystems.python import requests as wanted
    from engine.ecosystems.python.target import Target
    from engine.errors import EnvdError, ResolveError
    from grammar.environment import Position, PythonInput
    from grammar.errors import SpecError
    from grammar.vocabulary import requirements
import tomllib

from tests.fuzz import harness

AT = Position("build.envd", 1, 1)


def one_input(data: bytes, inside: Path) -> None:
    for name in ("requirements.txt", "pyproject.toml", "uv.lock"):
        (inside / name).write_bytes(data)
    try:
        _requirements(inside)
        _one(data, inside)
        _pyproject(inside)
        _pylock(data)
    finally:
        for path in inside.iterdir():
            path.unlink()


def _requirements(inside: Path) -> None:
    try:
        found = requirements.read(inside / "requirements.txt", AT, inside)
        want = wanted.Wanted(
            tuple(found.requests), tuple(found.inputs), tuple(found.constraints), tuple(found.options)
        )
        want.texts()
    except (SpecError, EnvdError) as error:
        harness.said(error)


def _one(data: bytes, inside: Path) -> None:
    try:
        requirements.entry(data.decode("utf-8", "replace"), AT, inside)
    except SpecError as error:
        harness.said(error)


def _pyproject(inside: Path) -> None:
    given = PythonInput("pyproject", "pyproject.toml", AT, str(inside), ("test",), ("dev",))
    for call in (
        lambda: list(wanted.project_requests(given)),
        lambda: wanted.requires_python(given, "3.11.2"),
        lambda: wanted.Wanted(inputs=(given,)).texts(),
        lambda: wanted.Wanted(inputs=(PythonInput("uv.lock", "uv.lock", AT, str(inside)),)).texts(),
    ):
        try:
            call()
        except (EnvdError, SpecError) as error:
            harness.said(error)


def _pylock(data: bytes) -> None:
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return
    try:
        pylock.choose(document, Target("3.11", glibc="2.36"))
    except ResolveError as error:
        harness.said(error)


if __name__ == "__main__":
    harness.run("requirements", one_input)
