"""`envd lock`: Environment -> Lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from engine.cli.options import (
    gathered,
    limit_option,
    offline_option,
    progress_option,
    project_options,
    secret_option,
)
from engine.core.project import find
from store import offline

if TYPE_CHECKING:
    from engine.app.options import BuildOptions


@click.command()
@project_options
@click.option("--update", is_flag=True, help="Resolve everything again, not only what changed.")
@click.option("--dev", is_flag=True, help="Also pin what `envd up` adds.")
@click.option("--check", is_flag=True, help="Only check whether the lock matches the spec; if not, exit 2.")
@click.option(
    "--update-step",
    "update_steps",
    multiple=True,
    metavar="NAME|all",
    help="Rebuild a run(..., network=True) step and pin its result (repeatable).",
)
@secret_option
@progress_option
@limit_option
@offline_option
@gathered("dev", "secrets", "progress")
def lock(
    file: str | None,
    path: str | None,
    update: bool,
    check: bool,
    update_steps: tuple[str, ...],
    options: BuildOptions,
) -> None:
    """Resolve a build.envd into envd.lock: exact URLs, sizes and hashes.

    What a run(..., network=True) gives is pinned when it is built; --update-step builds it anew.
    """
    from engine.app import locking

    project = find(file, path)
    if offline.is_on() and (update or update_steps):
        raise click.UsageError("nothing can be resolved or built anew offline")
    if update_steps:
        if update or check:
            raise click.UsageError("--update-step does not go with --update or --check")
        count = locking.update_steps(project, update_steps, options)
        click.echo(f"{project.lock}: {count} step{'s' * (count != 1)} pinned again")
        return
    if options.secrets:
        raise click.UsageError("--secret is for the steps that --update-step builds")
    files = locking.lock(project, options, update=update, check=check)
    total = sum(file.size for file in files)
    click.echo(f"{project.lock}: {len(files)} files pinned, {total / 1e6:.1f} MB")
