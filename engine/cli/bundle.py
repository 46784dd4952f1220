"""`envd bundle …`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli import complete
from engine.cli.group import Group
from engine.cli.options import (
    build_options,
    gathered,
    limit_option,
    offline_option,
    progress_option,
    project_options,
    secret_option,
)
from engine.core.project import find

if TYPE_CHECKING:
    from engine.app.options import BuildOptions


@click.group(cls=Group)
def bundle() -> None:
    """Carry a build to a machine without network: lock, layers and all that was fetched, in one file.

    \b
    Example:
      envd bundle create env.tar
      … on the other machine, in a checkout of the project …
      envd bundle load env.tar
      envd build --offline
    """


@bundle.command()
@click.argument("destination", metavar="FILE", shell_complete=complete.file)
@project_options
@click.option("--dev", is_flag=True, help="Of what `envd up` runs.")
@click.option("--no-files", is_flag=True, help="Leave out what was fetched: layers and lock alone.")
@secret_option
@build_options
@offline_option
@gathered("dev", "secrets", "progress", "locked", "jobs", "force")
def create(
    destination: str, file: str | None, path: str | None, no_files: bool, options: BuildOptions
) -> None:
    """Build the image of a build.envd, and write all that its build needs to FILE.

    FILE is an OCI image layout as a tar, which other programs read too; the image is under the tag
    `image`. It is signed with your key (`envd key generate`), if there is one. The same build gives
    the same bytes. What the project's own directory holds is not in it.
    """
    from engine.app import bundle as bundles

    made = bundles.create(find(file, path), Path(destination), options, fetched=not no_files)
    click.echo(bundles.said(made))


@bundle.command()
@click.argument("file", shell_complete=complete.file)
@click.option("--trust", is_flag=True, help="Trust what is in FILE, whoever has signed it.")
@click.option("--files-only", is_flag=True, help="Take fetched files alone; no trust is needed for them.")
@click.option("--lock", metavar="FILE", help="Write the bundle's lock to FILE, too.")
@progress_option
@limit_option
def load(file: str, trust: bool, files_only: bool, lock: str | None, progress: str) -> None:
    """Bring what the bundle FILE holds into the store; then `envd build --offline` needs no network.

    Everything is checked first. Layers, lock and included repositories count when a key that you
    trust has signed them (`envd key trust`), or with --trust; fetched files are compared with the
    lock of the project that is built. The store keeps it under the root bundle:PROJECT.
    """
    from engine.app import unbundle

    if trust and files_only:
        raise click.UsageError("--trust does not go with --files-only")
    place = None if lock is None else Path(lock)
    done = unbundle.load(Path(file), trust=trust, files_only=files_only, lock=place, progress=progress)
    click.echo(unbundle.said(done))
