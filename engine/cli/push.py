"""`envd push`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from engine.cli import complete
from engine.cli.options import build_options, gathered, project_options, publish_option, secret_option
from engine.core.project import find
from engine.oci.reference import image_tag

if TYPE_CHECKING:
    from engine.app.options import BuildOptions


@click.command()
@click.argument("reference", metavar="REF")
@click.option(
    "-t",
    "--tag",
    "name",
    metavar="NAME[:TAG]",
    shell_complete=complete.image_name,
    help="Push what was built under this name, without building.",
)
@click.option("--also", multiple=True, metavar="TAG", help="A further tag (repeatable).")
@project_options
@secret_option
@build_options
@publish_option
@gathered("secrets", "progress", "locked", "jobs", "force", "publish", "sources")
def push(
    reference: str,
    name: str | None,
    also: tuple[str, ...],
    file: str | None,
    path: str | None,
    options: BuildOptions,
) -> None:
    """Build, then push the image to REF (HOST/NAME:TAG). Prints REF@DIGEST.

    Blobs that the registry has are not sent again; those that it has in another repository, as far
    as this store knows, are mounted from there. `envd login` logs in.

    \b
    Examples:
      envd push registry.example.org/team/env:v2 --also latest
      envd push registry.example.org/team/env:v2 -t project:dev
    """
    if name is not None:
        if file or path or options.force or options.secrets:
            raise click.UsageError("--tag pushes what was built: it takes no -f, -p, --force and --secret")
        # Without what builds: a push of what is there takes two requests, and less than to import that.
        from engine.app import kept_images

        digest = kept_images.push(image_tag(name), reference, also=also, progress=options.progress)
    else:
        from engine.app import pipeline

        digest = pipeline.push(find(file, path), reference, options, also=also)
    click.echo(f"{reference}@{digest}")
