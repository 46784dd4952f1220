"""`envd version`."""

from __future__ import annotations

import click


@click.command()
def version() -> None:
    """Print envd's version."""
    from engine.version import VERSION

    click.echo(f"envd {VERSION}")
