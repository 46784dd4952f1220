"""`envd new`: a build.envd from a template."""

from __future__ import annotations

from pathlib import Path

import click

from engine import templates
from engine.cli import complete, listing
from engine.core.atomic import write_text
from engine.core.project import SPEC_NAME
from engine.errors import UsageError


@click.command()
@click.option(
    "-t",
    "--template",
    "name",
    metavar="NAME",
    shell_complete=complete.template_name,
    help="Which one; see --list.",
)
@click.option("--list", "show_list", is_flag=True, help="List the templates.")
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing build.envd.")
@click.option(
    "-p",
    "--path",
    metavar="DIR",
    default=".",
    shell_complete=complete.directory,
    help="Directory to write to [default: this one].",
)
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="How --list shows them."
)
def new(name: str | None, show_list: bool, force: bool, path: str, form: str) -> None:
    """Write a build.envd from a template.

    Templates of your own are files NAME.envd in $XDG_CONFIG_HOME/envd/templates. For a spec that
    fits a project there is `envd init`. JSON keys of --list: name, about, source (envd or user).

    \b
    Examples:
      envd new -t torch
      envd new --list
    """
    if show_list:
        rows = [{"name": t.name, "about": t.about, "source": t.source} for t in templates.listed()]
        columns = (
            listing.Column("name", "NAME"),
            listing.Column("source", "FROM"),
            listing.Column("about", "ABOUT"),
        )
        listing.show(rows, columns, form)
        return
    if name is None:
        names = ", ".join(t.name for t in templates.listed())
        raise UsageError("no template given", advice=f"choose one with -t NAME: {names}")
    template = templates.find(name)
    root = Path(path)
    if not root.is_dir():
        raise UsageError("not a directory", subject=str(root))
    target = root / SPEC_NAME
    if target.exists() and not force:
        raise UsageError("already exists; --force overwrites it", subject=str(target))
    write_text(target, template.path.read_text("utf-8"))
    click.echo(f"wrote {target}; next: envd build", err=True)
