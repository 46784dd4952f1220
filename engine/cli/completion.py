"""`envd completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

import engine.cli.shells  # noqa: F401 (registers our way with bash)
from engine.cli.main import cli

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", required=False, type=click.Choice(SHELLS))
@click.option("--shell", "option", type=click.Choice(SHELLS), help="The same as SHELL.")
def completion(shell: str | None, option: str | None) -> None:
    """Print the script that makes a shell complete envd's commands, options and names.

    \b
    Put it where your shell looks for it:
      envd completion bash >~/.local/share/bash-completion/completions/envd
      envd completion zsh >~/.zfunc/_envd      # fpath+=~/.zfunc before compinit
      envd completion fish >~/.config/fish/completions/envd.fish
    """
    name = shell or option
    if name is None:
        raise click.UsageError("no shell given; choose bash, zsh or fish")
    found = get_completion_class(name)
    assert found is not None
    click.echo(found(cli, {}, "envd", "_ENVD_COMPLETE").source())
