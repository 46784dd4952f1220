"""`envd run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from engine.cli import complete
from engine.cli.environment import Attaching, attaching, environment_name, environment_options
from engine.core import paths as locate
from engine.errors import UsageError


@click.command()
@click.option(
    "--image",
    metavar="IMAGE",
    shell_complete=complete.image_name,
    help="A development image in Docker [default: PROJECT:dev].",
)
@click.option(
    "-p",
    "--path",
    metavar="DIR",
    shell_complete=complete.directory,
    help="The directory to mount [default: this one].",
)
@environment_options
@click.option("--force", is_flag=True, help="Replace an existing environment that differs.")
@attaching
def run(image: str | None, path: str | None, attach: Attaching, **container: Any) -> None:
    """Run a development image that is there, without building, and attach to it."""
    from engine.cli import starting

    directory = Path(path or ".")
    if not directory.is_dir():
        raise UsageError("not a directory", subject=str(directory), advice="give the project's with -p")
    directory = directory.resolve()
    project = locate.image_name(str(directory))
    starting.start(
        image or f"{project}:dev",
        starting.Options(
            project=directory, name=attach.name or environment_name(project), from_spec=False, **container
        ),
        starting.keys(attach.private_key, attach.public_key),
        attach,
        progress="auto",
    )
