"""`envd login` and `envd logout`."""

from __future__ import annotations

import sys

import click

from engine.errors import UsageError


@click.command()
@click.argument("host")
@click.option("-u", "--username", metavar="NAME", help="The user's name; asked for when missing.")
@click.option("-p", "--password", metavar="TEXT", help="The password; --password-stdin is safer.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def login(host: str, username: str | None, password: str | None, password_stdin: bool) -> None:
    """Log in to the registry HOST, for push, pull and base images.

    The login is checked, and kept where `docker login` keeps it: docker's config.json, or the
    credential helper that this names.

    \b
    Example:
      envd login registry.example.org -u me --password-stdin <token
    """
    from engine.oci import logins

    if password is not None and password_stdin:
        raise UsageError("give the password once: --password or --password-stdin")
    if password_stdin:
        if username is None:
            raise UsageError("--password-stdin needs --username")
        password = sys.stdin.read().rstrip("\r\n")
    terminal = sys.stdin.isatty()
    if not terminal and (username is None or password is None):
        raise UsageError("give --username and --password-stdin: there is no terminal to ask on")
    username = username or click.prompt("user name", err=True)
    password = password or click.prompt("password", hide_input=True, err=True)
    if not username or not password:
        raise UsageError("the user name or the password is empty")
    logins.login(host, username, password)
    click.echo(f"logged in to {host}; kept by {logins.keeper(host)}", err=True)


@click.command()
@click.argument("host")
def logout(host: str) -> None:
    """Forget the login for the registry HOST."""
    from engine.oci import logins

    known = logins.logout(host)
    click.echo(f"logged out of {host}" if known else f"not logged in to {host}", err=True)
