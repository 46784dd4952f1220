"""`envd lock`: Environment -> Lock."""

from __future__ import annotations

import click

from engine.cli.options import progress_option, project_options


@click.command()
@project_options
@click.option("--update", is_flag=True, help="Resolve everything anew, not only what changed.")
@click.option("--dev", is_flag=True, help="Pin what `envd up` adds, too.")
@click.option("--check", is_flag=True, help="Only tell whether the lock fits; exit 2 if not.")
@progress_option
def lock(
    file: str | None, path: str | None, update: bool, dev: bool, check: bool, progress: str
) -> None:
    """Resolve a build.envd into envd.lock: exact URLs, sizes and hashes."""
    from engine import lock as locks
    from engine import pipeline
    from engine.progress import open_sink
    from engine.project import find

    project = find(file, path)
    environment = pipeline.evaluate(
        project, dev=dev, update=update and not check, progress=progress
    )
    with open_sink(progress) as emit:
        result = pipeline.ensure_lock(
            project, environment, emit, locked=check, update=update and not check
        )
    total = sum(p.file.size for p in locks.all_packages(result))
    count = len(locks.all_packages(result))
    click.echo(f"{project.lock}: {count} files pinned, {total / 1e6:.1f} MB")
