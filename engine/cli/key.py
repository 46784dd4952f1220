"""`envd key …`."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import click

from engine.app import trust
from engine.cache import keys, settings
from engine.cli import complete, listing
from engine.cli.group import Group
from engine.errors import UsageError


@click.group(cls=Group)
def key() -> None:
    """Sign what is shared, and say whose signatures count.

    Who publishes signs with a key of his own; who takes what others have built takes only what a key
    signed that he trusts (docs/sharing.md).

    \b
    Example:
      envd key generate team-1
      envd key trust team-1:lWMUfVvTl8vZxfNHyLpFm4tqc2xmOcHPOcFTBJ/ht2c=
    """


@key.command()
@click.argument("name", required=False, default="")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    shell_complete=complete.file,
    help="Where to write it [default: signing-key beside config.toml].",
)
def generate(name: str, output: str | None) -> None:
    """Make a key to sign with, called NAME [USER-HOST]. Prints its public half.

    The file is for its owner alone, and no file is written over. Who has it can put anything into
    the images of those who trust it.
    """
    made, path = trust.generate(name, Path(output) if output is not None else None)
    click.echo(str(made.public))
    click.echo(f"kept in {path}; others trust it with `envd key trust {made.public}`", err=True)
    if output is not None:
        click.echo(f"sign with it: ENVD_SIGNING_KEY={path}, or signing-key in {settings.file()}", err=True)
    elif "ENVD_SIGNING_KEY" in os.environ:
        click.echo("ENVD_SIGNING_KEY is set, and wins over this file", err=True)


@key.command()
@click.argument("file", required=False, shell_complete=complete.file)
def show(file: str | None) -> None:
    """Print the public half of the key that is signed with (that of FILE), which others may trust."""
    click.echo(str(keys.read_signing_key(Path(file)).public if file is not None else trust.own()[0]))


@key.command("ls")
@listing.format_option
def list_keys(form: str) -> None:
    """List the keys whose signatures count, and who says so.

    JSON keys: name, key (NAME:BASE64), source (a file or a variable).
    """
    columns = (
        listing.Column("name", "NAME"),
        listing.Column("key", "KEY"),
        listing.Column("source", "SAID BY"),
    )
    listing.show([asdict(row) for row in trust.known()], columns, form, nothing="no key is trusted")


@key.command("trust")
@click.argument("text", metavar="[NAME:BASE64]", required=False)
@click.option("--remove", metavar="NAME", help="Trust the key NAME no longer.")
def trust_key(text: str | None, remove: str | None) -> None:
    """Take what a key has signed, from now on. Ask its owner for it on a way that you trust."""
    if (text is None) == (remove is None):
        raise UsageError("give a key (NAME:BASE64), or --remove NAME")
    if text is not None:
        given = keys.parse_trusted(text)
        new = trust.trust(given)
        click.echo(f"'{given.name}' is trusted{'' if new else ' already'} ({settings.file()})", err=True)
    elif remove is not None:
        trust.distrust(remove)
        click.echo(f"'{remove}' is no longer trusted ({settings.file()})", err=True)
    if "ENVD_TRUSTED_KEYS" in os.environ:
        click.echo("ENVD_TRUSTED_KEYS is set, and wins over this file", err=True)
