"""`envd exec`."""

from __future__ import annotations

import click

from engine.cli import complete
from engine.errors import UsageError
from grammar.nearest import suggest


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "-n",
    "--name",
    metavar="NAME",
    shell_complete=complete.environment_name,
    help="The environment [default: PROJECT].",
)
@click.option(
    "-p",
    "--path",
    metavar="DIR",
    shell_complete=complete.directory,
    help="The project's directory [default: this one].",
)
@click.option("-f", "--from", "file", metavar="FILE[:FUNC]", hidden=True)
@click.option("-c", "--command", metavar="NAME", help="A command defined by runtime.command.")
@click.option("-r", "--raw", metavar="TEXT", help="A command line for the environment's shell.")
@click.argument("argv", nargs=-1, type=click.UNPROCESSED)
def execute(
    name: str | None,
    path: str | None,
    file: str | None,
    command: str | None,
    raw: str | None,
    argv: tuple[str, ...],
) -> None:
    """Run a command in an environment: one that the spec names, a command line, or ARGV.

    It runs as the environment's user in the project's directory, and envd exits with the command's
    exit status.
    """
    from engine.cli import running
    from engine.runtime import execute as executing

    if sum((command is not None, raw is not None, bool(argv))) != 1:
        raise UsageError("give one of --command NAME, --raw TEXT, or a command after the options")
    client, found = running.chosen(path, name)
    if command is not None:
        commands = found.runtime.get("commands", {})
        if command not in commands:
            known = f"; known: {', '.join(commands)}" if commands else "; the spec names none"
            hint = suggest(command, commands) or known
            raise UsageError(f"no command '{command}' in {found.name}{hint}")
        raw = commands[command]
    if raw is not None:
        argv = (executing.shell_of(found), "-c", raw)
    code = executing.execute(client, found, argv)
    raise click.exceptions.Exit(code)
