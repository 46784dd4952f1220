"""`envd build`."""

from __future__ import annotations

import click

from engine.cli.options import build_options, project_options


@click.command()
@project_options
@click.option("-t", "--tag", metavar="NAME[:TAG]", help="The image's name [default: PROJECT:dev].")
@click.option(
    "-o", "--output", "outputs", multiple=True, metavar="TYPE:FILE",
    help="Write the image: oci:FILE.tar, oci-dir:DIR or docker:FILE.tar. No Docker load then.",
)
@click.option("--no-load", is_flag=True, help="Do not load the image into Docker.")
@build_options
def build(
    file: str | None,
    path: str | None,
    tag: str | None,
    outputs: tuple[str, ...],
    no_load: bool,
    progress: str,
    locked: bool,
    jobs: int | None,
    force: bool,
) -> None:
    """Build the image of a build.envd and load it into Docker. Prints the image ID."""
    from engine import fastpath
    from engine.project import find

    project = find(file, path)
    tag = tag or f"{project.name}:dev"
    if ":" not in tag.rpartition("/")[2]:
        tag += ":latest"
    request = fastpath.Request(project, tag, outputs, not no_load)
    if not force and (done := fastpath.nothing_to_do(request)):
        click.echo(done.message, err=True)
        click.echo(done.image_id)
        return
    from engine import pipeline

    result = pipeline.build(
        project,
        tag=request.tag,
        outputs=outputs,
        load=not no_load and not outputs,
        progress=progress,
        locked=locked,
        jobs=jobs,
        force=force,
    )
    click.echo(result.image.config_digest)
