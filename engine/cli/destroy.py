"""`envd destroy`."""

from __future__ import annotations

import click

from engine.cli.environment import name_of


@click.command()
@click.option("-p", "--path", metavar="DIR", help="The project's directory [default: this one].")
@click.option("-n", "--name", metavar="NAME", help="The environment, instead of a project's.")
@click.option("--image", is_flag=True, help="Remove its image from Docker, too.")
def destroy(path: str | None, name: str | None, image: bool) -> None:
    """Remove an environment: its container, and its entry in the ssh config.

    The project, named volumes (data.envd) and the image stay.
    """
    from docker.errors import APIError, ImageNotFound

    from engine.docker import environments, ssh_config
    from engine.docker.client import connect
    from engine.errors import DockerError

    name = name_of(path, name)
    client = connect()
    found = environments.find(client, name)
    if found is not None:
        environments.remove(client, found)
    # The entry of one whose container went another way goes as well.
    entry = ssh_config.remove(name)
    if found is None and not entry:
        environments.get(client, name)  # says that there is none
    click.echo(f"{name} is destroyed")
    if image and found is not None:
        tag = found.labels[environments.TAG]
        try:
            client.remove_image(tag)
        except ImageNotFound:
            return
        except APIError as error:
            raise DockerError(f"cannot remove the image {tag}: {error.explanation}") from error
        click.echo(f"the image {tag} is removed")
