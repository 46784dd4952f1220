"""The commands of `envd images`."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from engine.app import catalog
from engine.cli import complete, listing
from engine.cli.options import build_options, gathered, progress_option, project_options
from engine.core.project import find
from engine.oci.reference import image_tag

if TYPE_CHECKING:
    from engine.app.options import BuildOptions


def _list(form: str) -> None:
    rows: list[dict[str, Any]] = [asdict(row) for row in catalog.listed()]
    for row in rows:
        row["where"] = _where(row["store"], row["docker"])
    columns = (
        listing.Column("name", "NAME", lambda name: name or "<none>"),
        listing.Column("id", "IMAGE ID", listing.short),
        listing.Column("python", "PYTHON", lambda version: version or "-"),
        listing.Column("layers", "LAYERS", right=True),
        listing.Column("size", "SIZE", listing.size, right=True),
        listing.Column("compressed", "COMPRESSED", listing.size, right=True),
        listing.Column("where", "IN"),
    )
    if form == "json":
        for row in rows:
            del row["where"]
    listing.show(rows, columns, form, nothing="no images; `envd build` makes one")


def _where(store: bool, docker: bool) -> str:
    return ", ".join(name for name, there in (("store", store), ("docker", docker)) if there)


@click.command("ls")
@listing.format_option
def list_images(form: str) -> None:
    """List the images. The same as `envd images`."""
    _list(form)


@click.command()
@click.argument("name", shell_complete=complete.image_name)
@listing.format_option
def describe(name: str, form: str) -> None:
    """Show all about the image NAME (or an ID).

    JSON keys: names, id, manifest, size, python, packages, entrypoint, command, workdir, user,
    ports, env, labels, layers (name, size and diff_id each), store, docker.
    """
    found = catalog.describe(name)
    if form == "json":
        click.echo(json.dumps(found.as_dict(), indent=2, ensure_ascii=False))
        return
    row = found.as_dict() | {
        "names": list(found.names) or None,
        "size": listing.size(found.size),
        "python": found.python or None,
        "packages": list(found.packages) or None,
        "start": shlex.join([*found.entrypoint, *found.command]) or None,
        "user": found.user or "root",
        "ports": " ".join(found.ports) or None,
        "env": [f"{k}={v}" for k, v in found.env.items()],
        "layers": [f"{listing.size(x.size):>8}  {x.name}" for x in found.layers],
        "where": _where(found.store, found.docker),
    }
    titles = {
        "names": "names",
        "id": "image ID",
        "manifest": "manifest",
        "where": "in",
        "size": "size",
        "python": "Python",
        "packages": "packages",
        "start": "starts",
        "workdir": "directory",
        "user": "user",
        "ports": "ports",
        "env": "environment",
        "layers": "layers",
    }
    listing.show_one(row, titles, form)


_REMOVED = (listing.Column("kind", "WHAT"), listing.Column("name", "NAME"))


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete.image_name)
@click.option("--force", is_flag=True, help="Remove it even if a container uses it.")
@listing.format_option
def remove(names: tuple[str, ...], force: bool, form: str) -> None:
    """Remove images, by name or ID, from Docker and from the store's roots.

    The files that they alone kept go with `envd prune`. JSON keys: kind (untagged, deleted, root),
    name.
    """
    gone = catalog.remove(names, force=force)
    listing.show([asdict(item) for item in gone], _REMOVED, form)


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also remove images that no container uses.")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@listing.format_option
def prune(everything: bool, dry_run: bool, form: str) -> None:
    """Remove images that envd built and that lost their names, from Docker.

    JSON keys: kind (untagged, deleted), name.
    """
    gone = catalog.prune(everything=everything, dry_run=dry_run)
    listing.show([asdict(x) for x in gone], _REMOVED, form, nothing="nothing to remove")


@click.command()
@click.argument("name", shell_complete=complete.image_name)
@click.option(
    "-t",
    "--tag",
    "tags",
    multiple=True,
    metavar="NAME[:TAG]",
    help="Name for the image (repeatable) [default: its own name].",
)
@progress_option
def load(name: str, tags: tuple[str, ...], progress: str) -> None:
    """Load the image NAME of the store into Docker. Prints its image ID.

    For what was built while no engine answered, or with --no-load, or for another engine:
    `envd --context gpu images load project:dev`.
    """
    from engine.app.load import load as load_kept

    made = load_kept(image_tag(name), [image_tag(t) for t in tags], progress=progress)
    click.echo(made.config_digest)


@click.command()
@project_options
@build_options
@click.option("--config", "what", flag_value="config", help="Print the OCI config.")
@click.option("--manifest", "what", flag_value="manifest", help="Print the OCI manifest.")
@gathered("progress", "locked", "jobs", "force")
def inspect(file: str | None, path: str | None, what: str | None, options: BuildOptions) -> None:
    """Build the project's image if need be, then print its layers (or its config or manifest)."""
    from engine.app import pipeline

    result = pipeline.build(find(file, path), replace(options, load=False))
    made = result.image
    if what == "config":
        click.echo(made.config.decode())
    elif what == "manifest":
        click.echo(made.manifest.decode())
    else:
        click.echo(f"image     {made.config_digest}")
        click.echo(f"manifest  {made.manifest_digest}")
        for layer in made.layers:
            click.echo(f"{layer.size / 1e6:9.2f} MB  {layer.diff_id[7:19]}  {layer.name}")
        click.echo(f"{sum(x.size for x in made.layers) / 1e6:9.2f} MB  in {len(made.layers)} layers")
