"""`envd store …`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from engine.cli.group import Group
from store import Store


@contextmanager
def _opened() -> Iterator[Store]:
    from engine.project import store_path

    opened = Store.open(store_path())
    try:
        yield opened
    finally:
        opened.close()


@click.group(cls=Group)
def store() -> None:
    """Look into the store and keep it in order."""


@store.command("ls")
@click.option("-f", "--format", "form", type=click.Choice(["table", "json"]), default="table")
def list_objects(form: str) -> None:
    """List the objects (layers) in the store."""
    with _opened() as opened:
        objects = sorted(opened.objects(), key=lambda o: o.name)
    if form == "json":
        import json
        from dataclasses import asdict

        click.echo(json.dumps([asdict(o) for o in objects], indent=2))
        return
    for item in objects:
        click.echo(f"{item.id[:16]}  {item.size / 1e6:9.2f} MB  {item.name}")
    click.echo(f"{len(objects)} objects, {sum(o.size for o in objects) / 1e6:.1f} MB")


@store.command()
@click.option("--repair", is_flag=True, help="Drop what is damaged, so that it is built again.")
def verify(repair: bool) -> None:
    """Read every object and file again and compare it with its address."""
    from store.verify import verify as check

    with _opened() as opened:
        problems = check(opened, repair=repair)
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        done = "dropped" if repair else "run `envd store verify --repair` to drop them"
        raise click.exceptions.Exit(0) if repair else _failure(f"{len(problems)} problems; {done}")
    click.echo("store is clean")


def _failure(message: str) -> Exception:
    from engine.errors import EnvdError

    return EnvdError(message)


@store.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def gc(dry_run: bool) -> None:
    """Remove everything that no root reaches."""
    from engine import userns
    from store.gc import collect

    if not dry_run:
        userns.ensure()
    with _opened() as opened:
        report = collect(opened, dry_run=dry_run)
    verb = "would free" if dry_run else "freed"
    click.echo(f"{verb} {report.bytes / 1e6:.1f} MB: {report.objects} objects, {report.blobs} files")


@store.command()
@click.option("--remove", metavar="NAME", help="Remove the root NAME.")
def roots(remove: str | None) -> None:
    """List the GC roots: what `gc` keeps."""
    with _opened() as opened:
        if remove is not None:
            if remove not in {root.name for root in opened.roots()}:
                from engine.errors import UsageError

                raise UsageError(f"no root '{remove}'; `envd store roots` lists them")
            opened.remove_root(remove)
            return
        for root in opened.roots():
            click.echo(f"{root.name}  {len(root.objects)} objects")
