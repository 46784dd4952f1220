"""`envd cache …`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from engine.app import trust
from engine.cache import settings
from engine.cli import complete
from engine.cli.group import LazyGroup
from engine.errors import UsageError

_IN = "engine.cli.cache_commands"
COMMANDS = {
    "use": ("engine.cli.cache", "use", "Take from a place what other machines have built."),
    "login": ("engine.cli.login", "login", "Log in to the registry HOST."),
    "push": (_IN, "push", "Build, then publish what was built, signed, at a place."),
    "pull": (_IN, "pull", "Fetch all layers of a project as others have built them."),
    "ls": (_IN, "list_packs", "List the packs of a place: what was built, and who signed it."),
    "verify": (_IN, "verify", "Check that every pack of a place is whole."),
    "gc": (_IN, "gc", "Remove the packs that no branch's head names any more."),
    "stats": (_IN, "stats", "Show what was taken from where."),
}


@click.group(cls=LazyGroup, sections={"Commands": COMMANDS})
def cache() -> None:
    """Share what was built with other machines: by a registry or a directory.

    \b
    Examples:
      envd cache use ghcr.io/team/cache           take what others have built
      envd cache use --publish /mnt/share/envd    and put there what is built here
    """


@click.command()
@click.argument("place", metavar="[HOST/REPOSITORY|DIR]", required=False, shell_complete=complete.directory)
@click.option("--publish", is_flag=True, help="Also put there what is built here with --publish.")
@click.option("--remove", is_flag=True, help="Use it no longer.")
def use(place: str | None, publish: bool, remove: bool) -> None:
    """Take from a place what other machines have built. Without a place: print those that are used.

    A directory is one of this machine, such as a share or a stick. What is taken was signed by a key
    that you trust (`envd key trust`).
    """
    if place is None:
        if publish or remove:
            raise UsageError("give the place: HOST/REPOSITORY or a directory")
        for line in settings.read().substituters:
            click.echo(line)
        return
    if publish and remove:
        raise UsageError("give --publish or --remove")
    found = settings.place(place, Path.cwd())
    if remove:
        trust.leave(found)
        click.echo(f"{found} is used no longer ({settings.file()})", err=True)
    else:
        new = trust.use(found, publish=publish)
        click.echo(f"{found} is used{'' if new else ' already'} ({settings.file()})", err=True)
        _say_what_lacks(publish)
    for variable in ("ENVD_SUBSTITUTERS", "ENVD_PUBLISH"):
        if variable in os.environ:
            click.echo(f"{variable} is set, and wins over this file", err=True)


def _say_what_lacks(publish: bool) -> None:
    """What is needed to use a place, and is not there yet."""
    found = settings.read()
    if publish and found.signing is None:
        click.echo("publishing needs a key to sign with: `envd key generate`", err=True)
    if not found.trusted:
        click.echo("no key is trusted yet, so nothing is taken: `envd key trust NAME:BASE64`", err=True)
