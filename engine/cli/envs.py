"""`envd envs …`."""

from __future__ import annotations

import json

import click

from engine.cli import complete, listing
from engine.cli.group import Group


class _Group(Group):
    """Upstream's shorter names, too."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        aliases = {"ls": "list", "l": "list", "d": "describe"}
        return super().get_command(ctx, aliases.get(cmd_name, cmd_name))


@click.group(cls=_Group, invoke_without_command=True)
@listing.format_option
@click.pass_context
def envs(ctx: click.Context, form: str) -> None:
    """List development environments, and look into one.

    Without a command it lists them; `envd envs list --help` names the JSON keys.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_environments, form=form)


@envs.command("list")
@listing.format_option
def list_environments(form: str) -> None:
    """List environments.

    JSON keys: name, endpoint (Jupyter's address or null), ssh_target, image, gpu, cuda, cudnn,
    status, project, ports.
    """
    from engine.cli import running

    columns = (
        listing.Column("name", "NAME"),
        listing.Column("endpoint", "ENDPOINT"),
        listing.Column("ssh_target", "SSH TARGET"),
        listing.Column("image", "IMAGE"),
        listing.Column("gpu", "GPU", lambda value: str(value).lower()),
        listing.Column("cuda", "CUDA"),
        listing.Column("cudnn", "CUDNN"),
        listing.Column("status", "STATUS"),
        listing.Column("project", "PROJECT"),
    )
    client = running.connect()
    rows = [running.row(client, found) for found in running.environments.every(client)]
    listing.show(rows, columns, form, nothing="no environments; make one with `envd up`")


@envs.command()
@click.option(
    "-e",
    "--env",
    "name",
    metavar="NAME",
    shell_complete=complete.environment_name,
    help="The environment [default: PROJECT].",
)
@listing.format_option
def describe(name: str | None, form: str) -> None:
    """Show an environment's ports and what its spec asked to be installed.

    JSON keys: those of `envd envs list`, dependencies (name and type each), commands.
    """
    from engine.cli import running

    client, found = running.chosen(None, name)
    runtime = found.runtime
    dependencies = [
        {"name": text, "type": kind}
        for kind, key in (("Python", "python"), ("APT", "apt"), ("conda", "conda"))
        for text in runtime.get(key, ())
    ]
    if form == "json":
        document = {
            **running.row(client, found),
            "dependencies": dependencies,
            "commands": runtime.get("commands", {}),
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    port_columns = (
        listing.Column("name", "NAME"),
        listing.Column("container_port", "CONTAINER PORT", right=True),
        listing.Column("protocol", "PROTOCOL"),
        listing.Column("host_ip", "HOST IP"),
        listing.Column("host_port", "HOST PORT", right=True),
    )
    listing.show(running.ports(found), port_columns, form)
    if dependencies:
        click.echo()
        columns = (listing.Column("name", "DEPENDENCY"), listing.Column("type", "TYPE"))
        listing.show(dependencies, columns, form)
