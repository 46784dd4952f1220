"""`envd image …`."""

from __future__ import annotations

import click

from engine.cli.group import Group
from engine.cli.options import build_options, project_options


@click.group(cls=Group)
def image() -> None:
    """Look into a built image."""


@image.command()
@project_options
@build_options
@click.option("--config", "what", flag_value="config", help="Print the OCI config.")
@click.option("--manifest", "what", flag_value="manifest", help="Print the OCI manifest.")
def inspect(
    file: str | None,
    path: str | None,
    what: str | None,
    progress: str,
    locked: bool,
    jobs: int | None,
    force: bool,
) -> None:
    """Build the image if need be, then print its layers (or its config or manifest)."""
    from engine import pipeline
    from engine.project import find

    result = pipeline.build(
        find(file, path), tag=None, outputs=(), load=False, progress=progress, locked=locked,
        jobs=jobs, force=force,
    )
    made = result.image
    if what == "config":
        click.echo(made.config.decode())
    elif what == "manifest":
        click.echo(made.manifest.decode())
    else:
        click.echo(f"image     {made.config_digest}")
        click.echo(f"manifest  {made.manifest_digest}")
        for layer in made.layers:
            click.echo(f"{layer.size / 1e6:9.2f} MB  {layer.diff_id[7:19]}  {layer.name}")
        click.echo(f"{sum(x.size for x in made.layers) / 1e6:9.2f} MB  in {len(made.layers)} layers")
