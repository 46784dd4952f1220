"""`envd build`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from engine.cli import complete
from engine.cli.options import build_options, image_options, project_options, secret_option

if TYPE_CHECKING:
    from engine.secrets import Source


@click.command()
@project_options
@click.option(
    "-t", "--tag", "tags", multiple=True, metavar="NAME[:TAG]", shell_complete=complete.image_name,
    help="Name of the image (repeatable) [default: PROJECT:dev].",
)
@click.option(
    "-o", "--output", "outputs", multiple=True, metavar="OUTPUT",
    help="Write the image to OUTPUT instead of loading it into Docker (repeatable).",
)
@click.option("--no-load", is_flag=True, help="Do not load the image into Docker.")
@click.option("--dev", is_flag=True, help="Build what `envd up` runs: with sshd, sudo, git, ….")
@image_options
@secret_option
@build_options
def build(
    file: str | None,
    path: str | None,
    tags: tuple[str, ...],
    outputs: tuple[str, ...],
    no_load: bool,
    dev: bool,
    progress: str,
    locked: bool,
    jobs: int | None,
    force: bool,
    secrets: tuple[Source, ...],
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
    from engine import fastpath
    from engine.docker.reference import image_tag
    from engine.project import find

    project = find(file, path)
    tag, *also = dict.fromkeys(image_tag(t) for t in tags or (f"{project.name}:dev",))
    request = fastpath.Request(
        str(project.spec), project.function, str(project.directory), (tag, *also), not no_load,
        dev, [source.name for source in secrets],
    )
    if not force and not outputs and (done := fastpath.nothing_to_do(request)):
        click.echo(done.message, err=True)
        click.echo(done.image_id)
        return
    from engine import pipeline

    result = pipeline.build(
        project,
        tag=tag,
        also=also,
        outputs=outputs,
        load=not no_load and not outputs,
        progress=progress,
        locked=locked,
        jobs=jobs,
        force=force,
        dev=dev,
        secrets=secrets,
    )
    click.echo(result.image.config_digest)
