"""`envd cache push|pull|ls|verify|gc|stats`: see `engine.cli.cache`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from engine.app import sharing
from engine.cli import complete, listing
from engine.cli.options import build_options, gathered, progress_option, project_options, secret_option
from engine.core.amounts import human_seconds
from engine.core.project import find
from engine.errors import EnvdError

if TYPE_CHECKING:
    from engine.app.options import BuildOptions

_PLACE = click.argument(
    "place", metavar="[HOST/REPOSITORY|DIR]", required=False, shell_complete=complete.directory
)


@click.command()
@_PLACE
@project_options
@click.option("--sources", is_flag=True, help="Share what was fetched, too, lest a mirror deletes it.")
@secret_option
@build_options
@gathered("secrets", "progress", "locked", "jobs", "force", "sources")
def push(place: str | None, file: str | None, path: str | None, options: BuildOptions) -> None:
    """Build, then publish what was built, signed, at a place (at the one of `use --publish`).

    The same as `envd build --publish`, without an image for Docker.
    """
    sharing.push(find(file, path), place, options)


@click.command()
@_PLACE
@project_options
@click.option("--dev", is_flag=True, help="What `envd up` runs: with sshd, sudo, git, ….")
@progress_option
@click.option("--locked", is_flag=True, help="Fail if the lock is missing or out of date.")
@gathered("dev", "progress", "locked")
def pull(place: str | None, file: str | None, path: str | None, options: BuildOptions) -> None:
    """Fetch all layers of a project as others have built them, such as before a journey.

    Nothing is built: what no place has is named, and the exit code is 1.
    """
    pulled = sharing.pull(find(file, path), place, options)
    click.echo(f"{pulled.layers} layers are here; {listing.size(pulled.bytes)} came", err=True)


@click.command()
@listing.format_option
def stats(form: str) -> None:
    """Show what builds on this machine took from where, and how long building it took elsewhere.

    JSON keys: place, builds, layers, bytes (fetched), seconds (of building that were saved).
    """
    columns = (
        listing.Column("place", "PLACE"),
        listing.Column("builds", "BUILDS", str, right=True),
        listing.Column("layers", "LAYERS", str, right=True),
        listing.Column("bytes", "FETCHED", listing.size, right=True),
        listing.Column("seconds", "SAVED", human_seconds, right=True),
    )
    listing.show([asdict(row) for row in sharing.stats()], columns, form, nothing="nothing was taken yet")


@click.command("ls")
@_PLACE
@listing.format_option
def list_packs(place: str | None, form: str) -> None:
    """List the packs of a place (of those that are used): what was built, and who signed it.

    A plan's pack is what one build gave; a head names the newest of a project's branch.

    JSON keys: place, tag, layers, bytes, entries, signed_by (names), trusted (how many entries a
    trusted key has signed), problem ("" or why it cannot be read).
    """
    reached = sharing.packs(place)
    rows = [asdict(row) for found in reached.rows for row in found]
    shown = [
        {
            **row,
            "signed": row["problem"]
            or f"{', '.join(row['signed_by']) or 'nobody'}{_trusted(row['trusted'], row['entries'])}",
        }
        for row in rows
    ]
    columns = (
        listing.Column("place", "PLACE"),
        listing.Column("tag", "TAG"),
        listing.Column("layers", "LAYERS", str, right=True),
        listing.Column("bytes", "SIZE", listing.size, right=True),
        listing.Column("entries", "ENTRIES", str, right=True),
        listing.Column("signed", "SIGNED BY"),
    )
    listing.show(rows if form == "json" else shown, columns, form, nothing="no packs")
    _raise(reached.error)


def _raise(error: EnvdError | None) -> None:
    if error is not None:
        raise error


def _trusted(trusted: int, entries: int) -> str:
    if trusted == entries:
        return ""
    return " (not trusted)" if not trusted else f" ({trusted} of {entries} trusted)"


@click.command()
@_PLACE
@click.option("--bytes", "whole", is_flag=True, help="Also read every layer, and compare it with its digest.")
@listing.format_option
def verify(place: str | None, whole: bool, form: str) -> None:
    """Check that every pack of a place (of those that are used) is whole: that its manifests, entries
    and layers are there, and that a trusted key has signed the entries.

    JSON keys: problem.
    """
    reached = sharing.verified(place, whole=whole)
    problems = [problem for found in reached.rows for problem in found.problems]
    for problem in problems:
        click.echo(problem, err=True)
    if form == "json":
        click.echo(json.dumps([{"problem": problem} for problem in problems], indent=2))
    _raise(reached.error)
    if problems:
        raise EnvdError(
            f"{len(problems)} problem{'s' * (len(problems) != 1)}",
            advice="what is not there or not trusted is built by the next build, and shared with --publish",
        )
    if form == "table":
        count = sum(found.packs for found in reached.rows)
        click.echo(f"whole: {count} pack{'s' * (count != 1)}" if count else "no packs")


@click.command()
@_PLACE
@click.option(
    "--older-than",
    "days",
    metavar="DAYS",
    type=click.IntRange(0, 100_000),
    help="Of a directory: remove what came so many days ago [30].",
)
@click.option(
    "--remove", "tags", metavar="TAG", multiple=True, help="Also the pack TAG, such as a branch's head."
)
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@listing.format_option
def gc(place: str | None, days: int | None, tags: tuple[str, ...], dry_run: bool, form: str) -> None:
    """Remove the packs that no branch's head names any more, from a place (from those that are used).

    A directory's files go with them. A registry removes layers when it collects its own garbage, and
    may not allow removing at all.

    JSON keys: place, tags, blobs (a count), bytes.
    """
    reached = sharing.tidied(place, days=days, tags=tags, dry_run=dry_run)
    done = reached.rows
    for item in done:
        if item.note:
            click.echo(f"{item.place}: {item.note}", err=True)
    if form == "json":
        rows = [{"place": x.place, "tags": list(x.tags), "blobs": x.blobs, "bytes": x.bytes} for x in done]
        click.echo(json.dumps(rows, indent=2))
    else:
        _show_removed(done, "would remove" if dry_run else "removed")
    _raise(reached.error)


def _show_removed(done: Sequence[sharing.Tidied], verb: str) -> None:
    for item in done:
        for tag in item.tags:
            click.echo(tag)
        files = f" and {item.blobs} files ({listing.size(item.bytes)})" if item.blobs else ""
        count = f"{len(item.tags)} tag{'s' * (len(item.tags) != 1)}"
        click.echo(f"{item.place}: {verb} {count}{files}")
