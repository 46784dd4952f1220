"""What every command says of itself, and what listings look like: pinned, so that a change of what
users see is seen. `python -m tests.unit.test_help` writes the help anew."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from engine.cli import listing
from engine.cli.main import cli

GOLDEN = Path(__file__).parents[1] / "golden/help.txt"


def all_help() -> str:
    """The help of every command, in 80 columns."""
    parts: list[str] = []

    def add(command: click.Command, path: str, parent: click.Context | None) -> None:
        context = click.Context(
            command, parent, path, terminal_width=80, max_content_width=80, help_option_names=["-h", "--help"]
        )
        parts.append(f"$ {context.command_path} --help\n{command.get_help(context)}\n")
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                if found is not None and not (parent is None and name == "image"):
                    add(found, name, context)

    add(cli, "envd", None)
    return "\n".join(parts)


def test_help_is_as_it_was() -> None:
    assert all_help() == GOLDEN.read_text(), (
        "the help changed: look at it, then run `python -m tests.unit.test_help`"
    )


def test_help_is_good() -> None:
    for text in all_help().split("\n$ ")[1:]:
        command, _, body = text.partition("\n")
        assert max(map(len, body.splitlines())) <= 80, command
        # A sentence says what it does: after the usage, which may take several lines.
        about = body.split("\n\n")[1]
        assert about.strip().endswith((".", ":")) or ". " in about, command
        if "[table|json]" in body:
            assert "JSON" in body or "same as" in body, f"{command}: which keys?"


ROWS = [
    {"name": "alpha", "size": 1234567, "note": None, "where": "here"},
    {"name": "a name that is long enough to be folded", "size": 12, "note": "x" * 30, "where": "there"},
]
COLUMNS = (
    listing.Column("name", "NAME"),
    listing.Column("size", "SIZE", listing.size, right=True),
    listing.Column("note", "NOTE"),
)


def test_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    listing.show(ROWS, COLUMNS, "table", footer="2 rows")
    assert (
        capsys.readouterr().out
        == """\
NAME                                       SIZE  NOTE
alpha                                    1.2 MB  -
a name that is long enough to be folded    12 B  xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
2 rows
"""
    )
    listing.show([], COLUMNS, "table", nothing="nothing here")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "nothing here\n")


def test_a_table_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    listing.show(ROWS, COLUMNS, "table")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 40
    assert "\x1b" not in "".join(lines)
    # Nothing is lost: what does not fit goes on below.
    assert "".join(line.split("  ")[-1] for line in lines if "x" in line).count("x") == 30


def test_json_holds_everything(capsys: pytest.CaptureFixture[str]) -> None:
    listing.show(ROWS, COLUMNS, "json")
    assert json.loads(capsys.readouterr().out) == ROWS
    listing.show([], COLUMNS, "json")
    assert json.loads(capsys.readouterr().out) == []


def test_one_record(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"name": "x", "lines": ["one", "two"], "none": None, "hidden": 1}
    titles = {"name": "name", "lines": "some lines", "none": "nothing"}
    listing.show_one(row, titles, "table")
    assert capsys.readouterr().out == ("name        x\nsome lines  one\n            two\nnothing     -\n")


if __name__ == "__main__":
    GOLDEN.write_text(all_help())
