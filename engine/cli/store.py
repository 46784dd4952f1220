"""`envd store …`."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import asdict

import click

from engine.app.inventory import inventory
from engine.cli import listing
from engine.cli.group import Group
from engine.core.project import store_path
from engine.errors import EnvdError, UsageError
from grammar.nearest import suggest
from store import Store
from store.store import existing


def _existing(*, reading: bool = True) -> AbstractContextManager[Store | None]:
    """The user's store, or None: looking at a store, or tidying it, does not make one."""
    return existing(store_path(), reading=reading)


@click.group(cls=Group)
def store() -> None:
    """Inspect and maintain the store."""


@store.command("ls")
@click.option("--garbage", is_flag=True, help="List only what the next `gc` would remove.")
@listing.format_option
def list_objects(garbage: bool, form: str) -> None:
    """List the objects (layers) in the store, and which roots reach them.

    \b
    JSON keys: id, name, kind, diff_id, digest, size (bytes, compressed), tar_size
    (bytes, unpacked), media_type, references (ids), roots (names).
    """
    with _existing() as opened:
        every = inventory(opened) if opened is not None else []
    entries = [e for e in every if not (garbage and e.roots)]
    rows = [asdict(e.object) | {"kind": e.kind, "roots": list(e.roots)} for e in entries]
    columns = (
        listing.Column("id", "ID", lambda identity: str(identity)[:12]),
        listing.Column("kind", "KIND", lambda kind: kind or "-"),
        listing.Column("name", "NAME"),
        listing.Column("size", "SIZE", listing.size, right=True),
        listing.Column("tar_size", "UNPACKED", listing.size, right=True),
        listing.Column("roots", "REACHED BY", _shown_roots),
    )
    total = listing.size(sum(row["size"] for row in rows))
    listing.show(rows, columns, form, nothing="no objects", footer=f"{len(rows)} objects, {total}")


def _shown_roots(roots: list[str]) -> str:
    names = [name.removeprefix("image:") for name in roots]
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(names[:2]) + more or "-"


@store.command()
@click.option(
    "--repair", is_flag=True, help="Drop what is damaged, so that it is rebuilt; recreate a damaged database."
)
@listing.format_option
def verify(repair: bool, form: str) -> None:
    """Read the database and every object, file and unpacked tree again, and compare each with its
    address.

    JSON keys: problem.
    """
    from engine.app import upkeep

    problems = upkeep.verify(repair=repair)
    for problem in problems:
        click.echo(problem, err=True)
    if form == "json":
        click.echo(json.dumps([{"problem": problem} for problem in problems], indent=2))
    if problems:
        if repair:
            raise click.exceptions.Exit(0)
        count = f"{len(problems)} problem{'s' * (len(problems) != 1)}"
        raise EnvdError(f"{count}; run `envd store verify --repair` to fix that")
    if form == "table":
        click.echo("store is clean")


@store.command()
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@listing.format_option
def gc(dry_run: bool, form: str) -> None:
    """Remove everything that no root reaches. Waits for commands that use the store.

    JSON keys: objects and blobs (counts), bytes.
    """
    from engine.app import upkeep

    report = upkeep.collected(dry_run=dry_run)
    if form == "json":
        click.echo(json.dumps(asdict(report), indent=2))
        return
    verb = "would free" if dry_run else "freed"
    click.echo(f"{verb} {report.bytes / 1e6:.1f} MB: {report.objects} objects, {report.blobs} files")


@store.command()
@click.option("--remove", metavar="NAME", help="Remove the root NAME.")
@listing.format_option
def roots(remove: str | None, form: str) -> None:
    """List the GC roots: what `gc` keeps.

    JSON keys: name, objects (ids), blobs (digests).
    """
    with _existing(reading=remove is None) as opened:
        found = opened.roots() if opened is not None else []
        if remove is not None:
            if opened is None or remove not in {root.name for root in found}:
                hint = suggest(remove, [root.name for root in found])
                raise UsageError(f"no root '{remove}'{hint or '; `envd store roots` lists them'}")
            opened.remove_root(remove)
            return
    columns = (
        listing.Column("name", "NAME"),
        listing.Column("objects", "OBJECTS", lambda ids: str(len(ids)), right=True),
        listing.Column("blobs", "FILES", lambda ids: str(len(ids)), right=True),
    )
    listing.show([asdict(root) for root in found], columns, form, nothing="no roots")
