"""`envd parse`: text -> Environment, printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import click

from engine.cli.options import project_options
from engine.core.project import find
from engine.core.redaction import visible
from grammar.environment import NOWHERE, Position

if TYPE_CHECKING:
    from grammar.environment import Environment


@click.command()
@project_options
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["json", "text"]),
    default="json",
    help="Everything as JSON, or what differs from the defaults as text.",
)
def parse(file: str | None, path: str | None, form: str) -> None:
    """Print the environment that a build.envd asks for."""
    from engine.app import pipeline

    environment = pipeline.evaluate(find(file, path), build=False)
    if form == "json":
        click.echo(visible(json.dumps(asdict(environment), indent=2, ensure_ascii=False)))
    else:
        for line in _lines(environment):
            click.echo(visible(line))


def _lines(environment: Environment) -> Iterator[str]:
    """One line for each thing that was asked for: what, and where."""
    for field in fields(environment):
        value = getattr(environment, field.name)
        if field.name in ("read_files", "notices") or value == field.default:
            continue
        for item in value if isinstance(value, tuple) and field.name != "entrypoint" else (value,):
            yield f"{field.name:<18} {_shown(item)}"


def _shown(value: Any) -> str:
    if isinstance(value, Position):
        return f"at {value}"
    if isinstance(value, tuple):
        return " ".join(_shown(x) for x in value)
    if not is_dataclass(value) or isinstance(value, type):
        return str(value)
    parts = []
    for field in fields(value):
        item = getattr(value, field.name)
        if field.name in ("position", "directory") or item == field.default:
            continue
        parts.append(_shown(item) if field.name == "text" else f"{field.name}={_shown(item)}")
    where = getattr(value, "position", NOWHERE)
    return " ".join(parts) + (f"  # line {where.line}" if where != NOWHERE else "")
