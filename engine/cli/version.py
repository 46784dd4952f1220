"""`envd version`."""

from __future__ import annotations

from typing import Any

import click

from engine.cli import listing
from engine.core.version import VERSION


@click.command()
@click.option("--short", is_flag=True, help="Only envd's own version.")
@listing.format_option
def version(short: bool, form: str) -> None:
    """Print envd's version, and what it works with here.

    JSON keys: envd, python, platform, kernel, store, store_bytes, context, host, docker, uv,
    bubblewrap (null for what is not there).
    """
    if short and form == "table":
        click.echo(f"envd {VERSION}")
        return
    from engine.app.doctor import about

    row: dict[str, Any] = about() if not short else {"envd": VERSION}
    size = row.get("store_bytes")
    shown = row | {
        "store": f"{row.get('store')}" + (f" ({listing.size(size)})" if size is not None else ""),
        "docker": f"{row['docker']} at {row['host']}" if row.get("docker") else None,
    }
    titles = {
        "envd": "envd",
        "python": "Python",
        "platform": "platform",
        "kernel": "kernel",
        "store": "store",
        "context": "context",
        "docker": "Docker",
        "uv": "uv",
        "bubblewrap": "bubblewrap",
    }
    listing.show_one(row if form == "json" else shown, titles, form)
