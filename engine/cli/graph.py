"""`envd graph`: the plan, printed."""

from __future__ import annotations

import click

from engine.cli.options import project_options
from engine.core.progress import open_sink
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
    from engine.app import pipeline
    from engine.plan.render import render

    project = find(file, path)
    environment = pipeline.evaluate(project)
    with open_sink("plain") as emit:
        lock = pipeline.ensure_lock(project, environment, emit)
    click.echo(render(pipeline.plan_of(project, environment, lock), form, files=files))
