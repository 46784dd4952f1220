"""`envd up`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from engine.cli.environment import Attaching, attaching, environment_name, environment_options
from engine.cli.options import (
    exchange_options,
    gathered,
    image_options,
    limit_option,
    offline_option,
    project_options,
    publish_option,
    secret_option,
)
from engine.core import own
from engine.core.project import find
from engine.oci.reference import image_tag

if TYPE_CHECKING:
    from engine.app.options import BuildOptions


@click.command()
@project_options
@click.option("-t", "--tag", metavar="NAME[:TAG]", help="The image's name [default: PROJECT:dev].")
@environment_options
@click.option("--force", is_flag=True, help="Replace an existing environment that differs.")
@image_options
@secret_option
@click.option(
    "--progress",
    type=click.Choice(["auto", "tree", "plain", "json"]),
    default="auto",
    help="How progress is shown.",
)
@click.option("--locked", is_flag=True, help="Fail if the lock is missing or out of date.")
@click.option("-j", "--jobs", type=click.IntRange(1, 256), help="Parallel builders [default: cores].")
@limit_option
@publish_option
@exchange_options
@offline_option
@gathered("secrets", "progress", "locked", "jobs", "publish", "sources", "imports", "exports")
@attaching
def up(
    file: str | None,
    path: str | None,
    tag: str | None,
    options: BuildOptions,
    attach: Attaching,
    **container: Any,
) -> None:
    """Build the development image of a build.envd, run it, and attach to it.

    The project is bound to /home/envd/PROJECT, files in it stay yours, and `ssh NAME.envd` leads
    there. Ends with ssh's exit status; the environment goes on until `envd destroy`.
    """
    from engine.cli import starting

    project = find(file, path)
    tag = image_tag(tag or f"{project.name}:dev")
    wanted = starting.Options(
        project=project.directory, name=attach.name or environment_name(project.name), **container
    )
    # before the work of building
    starting.check(wanted)
    pair = starting.keys(attach.private_key, attach.public_key)
    starting.local_engine()
    # A process of its own: an ordinary user builds in a user namespace, and attaches outside.
    command = own.command("engine.cli.entry", "build")
    command += ["--from", file] if file else []
    command += ["--path", path] if path else []
    command += replace(options, dev=True, tags=(tag,)).arguments()
    if status := starting.build(command):
        raise click.exceptions.Exit(status)
    starting.start(tag, wanted, pair, attach, progress=options.progress)
