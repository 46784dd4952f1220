"""`envd pause` and `envd resume`."""

from __future__ import annotations

import click

from engine.cli.environment import which_options


@click.command()
@which_options
def pause(name: str | None, path: str | None) -> None:
    """Freeze an environment: it keeps its memory and uses no CPU."""
    _change(name, path, freeze=True)


@click.command()
@which_options
def resume(name: str | None, path: str | None) -> None:
    """Resume a paused or stopped environment."""
    _change(name, path, freeze=False)


def _change(name: str | None, path: str | None, *, freeze: bool) -> None:
    from engine.cli.running import chosen, environments

    client, found = chosen(path, name)
    done = (environments.pause if freeze else environments.resume)(client, found)
    click.echo(f"{found.name} {'is paused' if freeze else 'runs'}" + ("" if done else " already"))
