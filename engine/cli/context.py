"""`envd context …`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from typing import Any

import click

from engine.cli import complete, listing
from engine.cli.group import Group
from engine.docker import contexts, endpoint, probe
from engine.errors import UsageError


@click.group(cls=Group)
def context() -> None:
    """Choose the Docker engine that envd loads images into and runs environments on.

    DOCKER_HOST wins over every context; `envd --context NAME …` wins over that, for one command.
    docker's own contexts can be chosen by their names too.

    \b
    Examples:
      envd context create gpu --host ssh://me@gpu.example.org --use
      envd context use default
    """


def _name(function: Callable[..., None]) -> Callable[..., None]:
    """NAME, which tensorchord/envd takes as --name: `function` gets it as `name`."""

    @wraps(function)
    def named(*, name: str | None, option: str | None, **others: Any) -> None:
        function(name=_one(name, option), **others)

    named = click.option(
        "--name", "option", metavar="NAME", shell_complete=complete.context_name, help="The same as NAME."
    )(named)
    return click.argument("name", required=False, shell_complete=complete.context_name)(named)


def _one(name: str | None, option: str | None) -> str:
    if bool(name) == bool(option):
        raise UsageError("give the context's name exactly once")
    return name or option or ""


@context.command()
@_name
@click.option(
    "--host",
    "--runner-address",
    metavar="URL",
    required=True,
    help="unix:///PATH, tcp://HOST:PORT or ssh://[USER@]HOST[:PORT].",
)
@click.option("--ca", metavar="FILE", default="", help="The CA that signed the engine's certificate.")
@click.option("--cert", metavar="FILE", default="", help="Our certificate.")
@click.option("--key", metavar="FILE", default="", help="Our certificate's key.")
@click.option("--insecure", is_flag=True, help="Do not verify the engine's certificate.")
@click.option("--use", is_flag=True, help="Make it the current context.")
def create(name: str, host: str, ca: str, cert: str, key: str, insecure: bool, use: bool) -> None:
    """Add a Docker endpoint under a name."""
    contexts.create(name, host, ca=ca, cert=cert, key=key, verify=not insecure, use=use)
    click.echo(name)


@context.command("ls")
@listing.format_option
def list_contexts(form: str) -> None:
    """List the contexts: envd's, docker's, and docker's default.

    JSON keys: name, host, source (envd, docker or DOCKER_HOST), current, tls.
    """
    columns = (
        listing.Column("current", "", lambda current: "*" if current else ""),
        listing.Column("name", "NAME"),
        listing.Column("host", "HOST"),
        listing.Column("source", "FROM"),
    )
    listing.show([asdict(c) for c in contexts.listed()], columns, form)


@context.command()
@_name
def use(name: str) -> None:
    """Use a context from now on. "default" is docker's own choice."""
    contexts.use(name)


@context.command("rm")
@_name
@click.option("--force", is_flag=True, help="Remove it even if it is in use.")
def remove(name: str, force: bool) -> None:
    """Forget a context."""
    contexts.remove(name, force=force)


@context.command()
@click.argument("name", required=False, shell_complete=complete.context_name)
@listing.format_option
def inspect(name: str | None, form: str) -> None:
    """Show a context (the one in force), and whether its engine answers.

    JSON keys: name, host, ca, cert, key, verify, engine (its version, null when none answers).
    """
    if name:
        os.environ.pop("DOCKER_HOST", None)
        os.environ["ENVD_CONTEXT"] = name
    of = endpoint.current()
    found = probe.get("/version")
    row = {
        "name": of.context or endpoint.DEFAULT,
        "host": of.host,
        "ca": of.ca or None,
        "cert": of.cert or None,
        "key": of.key or None,
        "verify": of.verify,
        "engine": found.get("Version") if isinstance(found, dict) else None,
    }
    titles = {"name": "name", "host": "host", "engine": "engine"}
    if of.tls:
        titles |= {"ca": "CA", "cert": "certificate", "key": "key", "verify": "verified"}
    listing.show_one(row, titles, form)
