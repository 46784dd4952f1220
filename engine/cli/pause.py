"""`envd pause` and `envd resume`."""

from __future__ import annotations

import click

from engine.cli.environment import which_options


@click.command()
@which_options
def pause(name: str | None, path: str | None) -> None:
    """Freeze an environment: it keeps its memory and uses no CPU."""
    from engine.cli import running

    client, found = running.chosen(path, name)
    done = running.environments.pause(client, found)
    click.echo(f"{found.name} is paused" + ("" if done else " already"))


@click.command()
@which_options
def resume(name: str | None, path: str | None) -> None:
    """Resume a paused or stopped environment."""
    from engine.cli import running

    client, found = running.chosen(path, name)
    done = running.environments.resume(client, found)
    click.echo(f"{found.name} runs" + ("" if done else " already"))
