"""`envd graph`: the plan, printed."""

from __future__ import annotations

import click

from engine.cli.options import project_options
from engine.core.project import find


@click.command()
@project_options
@click.option(
    "--format",
    "-o",
    "form",
    type=click.Choice(["text", "json", "dot"]),
    default="text",
    help="text, json, or dot for Graphviz.",
)
@click.option("--files", is_flag=True, help="Show the fetched files too.")
def graph(file: str | None, path: str | None, form: str, files: bool) -> None:
    """Print the plan of a build: its derivations and their inputs. Needs a lock or makes one."""
    from engine.app.graph import drawn

    click.echo(drawn(find(file, path), form, files=files))
