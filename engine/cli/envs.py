"""`envd envs …`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from engine.cli import complete, listing
from engine.cli.group import Group

if TYPE_CHECKING:
    import docker

    from engine.runtime.environments import Found


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
    from engine.docker.client import connect
    from engine.runtime import environments

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
    client = connect()
    rows = [_row(client, found) for found in environments.every(client)]
    listing.show(rows, columns, form, nothing="no environments; make one with `envd up`")


def _row(client: docker.APIClient, found: Found) -> dict[str, Any]:
    from engine.runtime import environments, ssh_config

    runtime = found.runtime
    return {
        "name": found.name,
        "endpoint": environments.jupyter(client, found) or None,
        "ssh_target": ssh_config.host(found.name),
        "image": found.labels[environments.TAG],
        "gpu": bool(found.facts.get("gpus")),
        "cuda": runtime.get("cuda"),
        "cudnn": runtime.get("cudnn"),
        "status": found.status,
        "project": found.labels[environments.PROJECT],
        "ports": _ports(found),
    }


def _ports(found: Found) -> list[dict[str, Any]]:
    return [
        {
            "name": p.service,
            "container_port": p.container,
            "protocol": "tcp",
            "host_ip": p.listen,
            "host_port": p.host,
        }
        for p in found.ports
    ]


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
    import json

    from engine.cli.environment import which
    from engine.docker.client import connect

    client = connect()
    found = which(client, None, name)
    runtime = found.runtime
    dependencies = [
        {"name": text, "type": kind}
        for kind, key in (("Python", "python"), ("APT", "apt"), ("conda", "conda"))
        for text in runtime.get(key, ())
    ]
    if form == "json":
        document = {
            **_row(client, found),
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
    listing.show(_ports(found), port_columns, form)
    if dependencies:
        click.echo()
        columns = (listing.Column("name", "DEPENDENCY"), listing.Column("type", "TYPE"))
        listing.show(dependencies, columns, form)
