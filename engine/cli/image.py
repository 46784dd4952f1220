"""`envd images …`, also called `envd image …`."""

from __future__ import annotations

import click

from engine.cli import listing
from engine.cli.group import LazyGroup

_IN = "engine.cli.image_commands"
COMMANDS = {
    "describe": (_IN, "describe", "Show all about the image NAME (or an ID)."),
    "inspect": (_IN, "inspect", "Build the project's image if need be, then print its layers (or..."),
    "load": (_IN, "load", "Load the image NAME of the store into Docker."),
    "ls": (_IN, "list_images", "List the images."),
    "prune": (_IN, "prune", "Remove images that envd built and that lost their names, from..."),
    "remove": (_IN, "remove", "Remove images, by name or ID, from Docker and from the store's..."),
}


@click.group(cls=LazyGroup, sections={"Commands": COMMANDS}, invoke_without_command=True)
@listing.format_option
@click.pass_context
def images(ctx: click.Context, form: str) -> None:
    """List, describe and remove built images, in the store and in Docker.

    Without a command it lists them.

    \b
    JSON keys of the listing: name ("" for an image that lost its name), id, size
    (bytes, unpacked), compressed (bytes that a push sends; null where only Docker
    has it), layers, python, store, docker.

    \b
    Examples:
      envd images
      envd images describe project:dev
      envd images remove project:dev
    """
    if ctx.invoked_subcommand is None:
        listed = images.get_command(ctx, "ls")
        assert listed is not None
        ctx.invoke(listed, form=form)
