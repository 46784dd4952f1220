"""Errors: what they say is in fields, several of them are one, and the command line shows each."""

from __future__ import annotations

import ast
import json
import re
import traceback
from pathlib import Path

import pytest

import engine
from engine.cli.explain import known_error
from engine.core.command import LimitError
from engine.core.events import failed
from engine.ecosystems.python.uv import UvError
from engine.errors import BuildError, EnvdError, FetchError, ResolveError, UsageError, exit_code, together
from engine.realise.secrets import Secrets
from grammar.environment import NOWHERE, Position
from grammar.errors import SpecError
from store.errors import RegistryError

AT = Position("a:b/build.envd", 3, 5)
PLACES = ("position", "where", "at", "origin")


def shown(error: BaseException) -> str:
    known = known_error(error)
    assert known is not None
    return known[0]


def test_what_is_said_of_the_fields() -> None:
    error = ResolveError("no apt package 'gti'", position=AT, subject="gti", advice="try 'git'")
    assert str(error) == "a:b/build.envd:3:5: no apt package 'gti'; try 'git'"
    assert str(BuildError("it is damaged", subject="six.whl")) == "six.whl: it is damaged"
    assert str(BuildError("uv has no wheel", subject="uv")) == "uv has no wheel"
    # a subject's letters in other words are not its name
    assert str(BuildError("it holds no data", subject="da")) == "da: it holds no data"
    assert ResolveError("x", position=NOWHERE).position is None


def test_the_tree_is_written_out_in_one_docstring() -> None:
    """Every class that an error of ours can be, under the one that it is derived from."""
    above = {"SpecError": "", "StoreError": "", "EnvdError": ""}
    root = Path(engine.__file__).parent.parent
    classes = [
        node
        for room in ("engine", "store")
        for path in sorted((root / room).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    for _ in range(4):  # levels
        for node in classes:
            for base in map(ast.unparse, node.bases):
                if (name := base.rpartition(".")[2]) in above and not node.name.startswith("_"):
                    above[node.name] = name
    written: dict[str, str] = {}
    levels: list[str] = []
    for row in str(engine.errors.__doc__).splitlines():
        if found := re.match(r"    ([ │├└─]*── )(?:[a-z.]+\.)?(\w+) ", row):
            level = len(found[1]) // 4
            levels[level - 1 :] = [found[2]]
            written[found[2]] = levels[level - 2] if level > 1 else ""
    assert written == above


def test_a_place_is_given_once_and_advice_added() -> None:
    plain = LimitError("step", "too long", "its log")
    placed = plain.at(AT)
    assert str(placed) == "a:b/build.envd:3:5: step: too long"
    assert (placed.log, placed.reason) == ("its log", "too long")
    assert placed.at(Position("other", 1, 1)).position == AT
    assert plain.position is None and plain.at(NOWHERE).position is None
    assert placed.advised("wait").advised("or not").text == "step: too long; wait; or not"
    try:
        raise plain.at(None) from plain  # another error, or the chain of causes would be a circle
    except LimitError as raised:
        assert raised is not plain and raised.__cause__ is plain


def test_several_are_one_by_place_and_each_once() -> None:
    late = UsageError("late", position=AT)
    early = UsageError("early", position=Position(AT.file, 2, 1))
    several = together([late, UsageError("nowhere"), UsageError("late"), early, late])
    assert type(several) is UsageError
    assert [e.text for e in several.errors] == ["early", "late", "nowhere"]
    assert str(several) == "a:b/build.envd:2:1: early\na:b/build.envd:3:5: late\nnowhere"
    assert together([late, late]) is late
    mixed = together([several, FetchError("gone")])
    assert type(mixed) is ResolveError and len(mixed.errors) == 4
    assert [e.position for e in several.at(AT).errors][2] == AT
    assert (exit_code(several), exit_code(mixed), exit_code(SpecError("x", AT))) == (2, 1, 2)
    assert exit_code(RegistryError("x")) == exit_code(BuildError("x")) == 1


def test_debug_has_the_traceback_of_each_of_several() -> None:
    def raised(text: str) -> EnvdError:
        try:
            raise ResolveError(text)
        except ResolveError as error:
            return error

    told = "".join(traceback.format_exception(together([raised("one"), raised("two")])))
    assert "each of them (2 sub-exceptions)" in told and told.count("in raised\n") == 2


def test_each_of_several_has_its_line_and_caret(tmp_path: Path) -> None:
    place = tmp_path / "a:b\nc"
    place.mkdir()
    spec = place / "build.envd"
    spec.write_text("one\n  two\n")
    several = together(
        [
            FetchError("cannot fetch it"),
            ResolveError("no 'two'", position=Position(str(spec), 2, 3)),
            ResolveError("no 'one'", position=Position(str(spec), 1, 1), advice="write another"),
        ]
    )
    name = str(spec).replace("\n", "\\n")
    assert shown(several).split("\n") == [
        f"{name}:1:1: error: no 'one'; write another",
        "    1 | one",
        "      | ^",
        f"{name}:2:3: error: no 'two'",
        "    2 |   two",
        "      |   ^",
        "error: cannot fetch it",
    ]
    assert shown(BuildError("it fails", "its log\n")) == "its log\nerror: it fails"


def test_secrets_leave_every_field_and_every_one_of_several() -> None:
    from engine.core.redaction import Forms

    secrets = Secrets({"token": b"s3cr3t-token"}, Forms.of([b"s3cr3t-token"]))
    token = "s3cr3t-token"
    one = BuildError(f"said {token}", f"log {token}", subject=token, advice=token)
    two = BuildError(f"other {token}", f"log {token}")
    with pytest.raises(EnvdError) as caught, secrets.out_of_errors():
        raise together([one, two])
    for error in (caught.value, *caught.value.errors):
        assert "s3cr3t" not in f"{error} {error.args} {vars(error)}"


def test_the_event_of_a_failure_has_the_fields() -> None:
    error = BuildError("it fails", position=AT, subject="run-1", advice="try again")
    event = failed("run-1", "id", error).as_dict()
    assert json.loads(json.dumps(event)) == {
        "kind": "failed",
        "name": "run-1",
        "id": "id",
        "time": event["time"],
        "text": "a:b/build.envd:3:5: run-1: it fails; try again",
        "file": "a:b/build.envd",
        "line": 3,
        "column": 5,
        "subject": "run-1",
        "advice": "try again",
    }
    assert "line" not in failed("run-1", "id", BuildError("it fails")).as_dict()


def test_uv_refuses_with_fields() -> None:
    words = "error: No solution found\n  cause: Because numppy was not found in the package registry"
    lost = UvError(words)
    assert str(lost) == "No solution found Because numppy was not found in the package registry"
    assert (lost.missing, lost.unversioned, lost.refused, lost.outdated) == ("numppy", "", None, False)
    assert UvError("Because there is no version of six==9 and you require six").unversioned == "six"
    assert UvError("The lockfile at `uv.lock` needs to be updated, but `--check` was given").outdated


def _led_by_a_place(node: ast.AST) -> bool:
    """Whether an f-string begins with a place: f"{request.position}: …"."""
    if not isinstance(node, ast.JoinedStr) or len(node.values) < 2:
        return False
    first, second = node.values[:2]
    if not isinstance(first, ast.FormattedValue) or not isinstance(second, ast.Constant):
        return False
    name = ast.unparse(first.value).rpartition(".")[2]
    return name in PLACES and str(second.value).startswith(": ")


def test_no_text_begins_with_a_place() -> None:
    """A position is a field: what is written into a message has to be parsed back out of it."""
    assert _led_by_a_place(ast.parse('f"{wanted.position}: no"').body[0].value)  # type: ignore[attr-defined]
    root = Path(engine.__file__).parent
    found = [
        f"{path.relative_to(root)}:{node.lineno}"  # type: ignore[attr-defined]
        for path in sorted(root.rglob("*.py"))
        if path.name != "errors.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if _led_by_a_place(node)
    ]
    assert found == []
