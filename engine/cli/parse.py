"""`envd parse`: text -> Environment, printed."""

from __future__ import annotations

import click

from engine.cli.options import project_options


@click.command()
@project_options
def parse(file: str | None, path: str | None) -> None:
    """Print the environment that a build.envd asks for, as JSON."""
    import json
    from dataclasses import asdict

    from engine import pipeline
    from engine.project import find

    environment = pipeline.evaluate(find(file, path))
    click.echo(json.dumps(asdict(environment), indent=2, ensure_ascii=False))
