"""`envd push`."""

from __future__ import annotations

import click

from engine.cli.options import build_options, project_options


@click.command()
@click.argument("reference", metavar="REF")
@project_options
@build_options
def push(
    reference: str,
    file: str | None,
    path: str | None,
    progress: str,
    locked: bool,
    jobs: int | None,
    force: bool,
) -> None:
    """Build, then push the image to REF (HOST/NAME:TAG). Prints REF@DIGEST."""
    from engine import pipeline
    from engine.project import find

    digest = pipeline.push(
        find(file, path), reference, progress=progress, locked=locked, jobs=jobs, force=force
    )
    click.echo(f"{reference}@{digest}")
