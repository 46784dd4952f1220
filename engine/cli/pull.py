"""`envd pull`."""

from __future__ import annotations

import click

from engine.cli.options import limit_option, progress_option
from engine.oci.reference import image_tag


@click.command()
@click.argument("reference", metavar="REF")
@click.option(
    "-t",
    "--tag",
    "tags",
    multiple=True,
    metavar="NAME[:TAG]",
    help="Name for the image (repeatable) [default: REF's own].",
)
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="OUTPUT",
    help="Write the image to OUTPUT instead of loading it into Docker; see `envd build --help`.",
)
@click.option("--no-load", is_flag=True, help="Only into the store.")
@progress_option
@limit_option
def pull(
    reference: str, tags: tuple[str, ...], outputs: tuple[str, ...], no_load: bool, progress: str
) -> None:
    """Fetch the image REF ([HOST/]NAME[:TAG][@DIGEST]) into the store and load it into Docker.

    Prints its image ID. What the store has is not fetched again; an interrupted pull goes on where
    it stopped; everything is verified by its digest. ENVD_REGISTRY_MIRRORS names mirrors.

    \b
    Examples:
      envd pull registry.example.org/team/env:v2
      envd pull python:3.12-slim -o oci:python.tar
    """
    from engine.app.pull import pull as fetch

    image = fetch(
        reference,
        tags=[image_tag(t) for t in tags],
        targets=outputs,
        load=not no_load and not outputs,
        progress=progress,
    )
    click.echo(image.config_digest)
