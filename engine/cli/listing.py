"""Listings: rows as a table for people or JSON for programs, the same way in every command.

JSON is an array with one object a row (sizes in bytes, times in ISO 8601, absent values null):
the keys that a command's help names. A table shows the same rows, formatted; on a terminal it is
as wide as that and cells fold, elsewhere no line is ever cut.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from engine.core.amounts import human_bytes
from engine.core.terminal import one_line

F = TypeVar("F", bound=Callable[..., Any])
_GAP = "  "  # between two columns
_ENDLESS = 10_000  # columns: what is not a terminal has no width


@dataclass(frozen=True)
class Column:
    """A table's column: the rows' key it shows, its heading, how a value is written."""

    key: str
    title: str
    show: Callable[[Any], str] = str
    right: bool = False


def format_option(function: F) -> F:
    """-f table|json."""
    return click.option(
        "-f",
        "--format",
        "form",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="How the listing is shown.",
    )(function)


def show(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    form: str,
    *,
    nothing: str = "",
    footer: str = "",
) -> None:
    """Print `rows`. `nothing` is said (on standard error) instead of an empty table, `footer`
    below a full one."""
    if form == "json":
        click.echo(json.dumps([dict(row) for row in rows], indent=2, ensure_ascii=False))
        return
    if not rows:
        click.echo(nothing or "nothing to list", err=True)
        return
    for line in _table(rows, columns):
        click.echo(line)
    if footer:
        click.echo(footer)


def show_one(row: Mapping[str, Any], titles: Mapping[str, str], form: str) -> None:
    """Print one record: a JSON object, or a line for each of `titles` (key -> what it is called)."""
    if form == "json":
        click.echo(json.dumps(dict(row), indent=2, ensure_ascii=False))
        return
    width = max(map(len, titles.values()))
    for key, title in titles.items():
        value = row.get(key)
        lines = value if isinstance(value, list) else [value]
        for number, line in enumerate(lines or [None]):
            name = title if number == 0 else ""
            click.echo(f"{name:<{width}}  {'-' if line is None else one_line(str(line))}".rstrip())


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> list[str]:
    cells = [["-" if row[c.key] is None else one_line(c.show(row[c.key])) for c in columns] for row in rows]
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else _ENDLESS
    if all(cell.isascii() for row in cells for cell in row) and (
        lines := _plain(cells, columns, width, len, bold=terminal)
    ):
        return lines
    from engine.cli import folded

    return _plain(cells, columns, width, folded.cell_len, bold=terminal) or folded.lines(
        cells, columns, None if terminal else _ENDLESS
    )


def _plain(
    cells: Sequence[Sequence[str]],
    columns: Sequence[Column],
    width: int,
    wide: Callable[[str], int],
    *,
    bold: bool,
) -> list[str]:
    """The lines of a table whose cells need no folding, else none: rich takes seconds for the
    20 000 rows that a store may have. `wide` tells how many columns of the terminal a text takes."""
    table = [[c.title for c in columns], *cells]
    if any(not cell.isprintable() for row in table for cell in row):
        return []
    widths = [
        max(len(cell) if cell.isascii() else wide(cell) for cell in column)
        for column in zip(*table, strict=True)
    ]
    if sum(widths) + len(_GAP) * len(widths) > width:
        return []
    lines = []
    for row in table:
        padded = []
        for cell, column, room in zip(row, columns, widths, strict=True):
            blank = " " * (room - (len(cell) if cell.isascii() else wide(cell)))
            padded.append(blank + cell if column.right else cell + blank)
        lines.append(_GAP.join(padded).rstrip())
    if bold and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb":
        lines[0] = f"\x1b[1m{lines[0]}\x1b[0m"
    return lines


def size(count: int) -> str:
    """Bytes for people."""
    return human_bytes(count)


def short(digest: str) -> str:
    """The first 12 digits of a digest or an id."""
    return digest.rpartition(":")[2][:12]
