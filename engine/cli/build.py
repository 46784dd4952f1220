"""`envd build`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from engine.cli import complete
from engine.cli.options import (
    build_options,
    exchange_options,
    gathered,
    image_options,
    offline_option,
    project_options,
    publish_option,
    secret_option,
)
from engine.core.project import find
from engine.oci.reference import image_tag

if TYPE_CHECKING:
    from engine.app.options import BuildOptions


@click.command()
@project_options
@click.option(
    "-t",
    "--tag",
    "tags",
    multiple=True,
    metavar="NAME[:TAG]",
    shell_complete=complete.image_name,
    help="Name of the image (repeatable) [default: PROJECT:dev].",
)
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="OUTPUT",
    help="Write the image to OUTPUT instead of loading it into Docker (repeatable).",
)
@click.option("--no-load", is_flag=True, help="Do not load the image into Docker.")
@click.option("--dev", is_flag=True, help="Build what `envd up` runs: with sshd, sudo, git, ….")
@image_options
@publish_option
@exchange_options
@offline_option
@secret_option
@build_options
@gathered(
    "outputs",
    "dev",
    "secrets",
    "progress",
    "locked",
    "jobs",
    "force",
    "publish",
    "sources",
    "imports",
    "exports",
)
def build(
    file: str | None, path: str | None, tags: tuple[str, ...], no_load: bool, options: BuildOptions
) -> None:
    """Build the image of a build.envd and load it into Docker. Prints the image ID.

    \b
    OUTPUT is one of
      oci:FILE.tar       type=oci,dest=FILE.tar        an OCI archive
      oci-dir:DIR        type=oci,dest=DIR,tar=false   an OCI image layout
      docker:FILE.tar    type=docker,dest=FILE.tar     what `docker load` reads
                         type=docker[,name=TAG]        the Docker engine
                         type=image,name=REF,push=true a registry

    \b
    Examples:
      envd build
      envd build -f build.envd:serve -t team/serve:v2 -t team/serve:latest
      envd build -o oci:image.tar --locked
    """
    from engine.app import fastpath

    project = find(file, path)
    names = tuple(dict.fromkeys(image_tag(t) for t in tags or options.names(project)))
    options = replace(options, tags=names, load=not no_load and not options.outputs)
    if (
        not options.force
        and not options.outputs
        and not options.publish
        and not options.exports
        and (done := fastpath.nothing_to_do(fastpath.request_of(project, options)))
    ):
        click.echo(done.message, err=True)
        click.echo(done.image_id)
        return
    from engine.app import pipeline

    result = pipeline.build(project, options)
    click.echo(result.image.config_digest)
