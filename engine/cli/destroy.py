"""`envd destroy`."""

from __future__ import annotations

import click

from engine.cli import complete
from engine.cli.environment import default_name


@click.command()
@click.option(
    "-p",
    "--path",
    metavar="DIR",
    shell_complete=complete.directory,
    help="The project's directory [default: this one].",
)
@click.option(
    "-n",
    "--name",
    metavar="NAME",
    shell_complete=complete.environment_name,
    help="The environment, instead of a project's.",
)
@click.option("--image", is_flag=True, help="Remove its image from Docker, too.")
def destroy(path: str | None, name: str | None, image: bool) -> None:
    """Remove an environment: its container, and its entry in the ssh config.

    The project, named volumes (data.envd) and the image stay.
    """
    from engine.cli import running

    client = running.connect()
    found = running.which_or_none(client, path, name)
    called = found.name if found is not None else name or default_name(path)
    if found is not None:
        running.environments.remove(client, found)
        running.ssh_config.remove(called)
    # The entry of one whose container went another way goes as well.
    elif running.environments.find(client, called) is not None or not running.ssh_config.remove(called):
        running.which(client, path, name)  # says that there is none
    click.echo(f"{called} is destroyed")
    if image and found is not None:
        tag = found.labels[running.environments.TAG]
        if running.environments.remove_image(client, tag):
            click.echo(f"the image {tag} is removed")
