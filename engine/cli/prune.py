"""`envd prune`."""

from __future__ import annotations

from dataclasses import asdict

import click

from engine.cli import listing


@click.command()
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Also delete caches, images that no container uses, and what only those kept.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@listing.format_option
def prune(everything: bool, dry_run: bool, form: str) -> None:
    """Remove what nothing needs any more, from the store and from Docker.

    That is: objects and files of the store that no root reaches, roots of locks that are gone, and
    images that envd built and that lost their names. A running build keeps what it uses.

    JSON keys: kind (untagged, deleted, root, objects, files, cache), name, bytes (null where nobody
    counts).
    """
    from engine.app import prune as pruning

    rows = [asdict(item) for item in pruning.prune(everything=everything, dry_run=dry_run)]
    columns = (
        listing.Column("kind", "WHAT"),
        listing.Column("name", "NAME"),
        listing.Column("bytes", "SIZE", listing.size, right=True),
    )
    total = listing.size(sum(row["bytes"] or 0 for row in rows))
    footer = f"would free {total}" if dry_run else f"freed {total}"
    listing.show(rows, columns, form, nothing="nothing to remove", footer=footer)
