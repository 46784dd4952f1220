"""The `envd` command: the group, its options, and how errors end the process.

Each command group lives in a file of its own and is imported only when it is called, so that
`envd build` with nothing to do does not pay for what it does not use.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

# command -> (module, attribute, one-line help shown by `envd --help`)
COMMANDS = {
    "build": ("engine.cli.build", "build", "Build the image of a build.envd."),
    "lock": ("engine.cli.lock", "lock", "Resolve a build.envd into envd.lock."),
    "parse": ("engine.cli.parse", "parse", "Print the environment that a build.envd asks for."),
    "graph": ("engine.cli.graph", "graph", "Print the plan: its derivations and their inputs."),
    "push": ("engine.cli.push", "push", "Build, then push the image to a registry."),
    "store": ("engine.cli.store", "store", "Look into the store and keep it in order."),
    "image": ("engine.cli.image", "image", "Look into a built image."),
    "version": ("engine.cli.version", "version", "Print envd's version."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else "; see `envd --help`"
            raise click.UsageError(f"no command '{args[0]}'{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # From the table, so that help imports nothing.
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.option("--store", "store_path", metavar="DIR", help="The store (also ENVD_STORE).")
def cli(debug: bool, store_path: str | None) -> None:
    """Content-addressed build engine for machine-learning development environments."""
    if debug:
        os.environ["ENVD_DEBUG"] = "1"
    if store_path:
        os.environ["ENVD_STORE"] = store_path


def _known_error(error: BaseException) -> tuple[str, int] | None:
    """(message, exit code) of an error that is meant for the user, or None."""
    from engine.errors import BuildError, EnvdError
    from grammar.errors import SpecError
    from store.errors import StoreError

    if isinstance(error, SpecError):
        return str(error), 2
    if isinstance(error, BuildError):
        return (f"{error.log.rstrip()}\n" if error.log else "") + f"error: {error}", 1
    if isinstance(error, EnvdError):
        return f"error: {error}", error.exit_code
    if isinstance(error, StoreError):
        return f"error: {error}", 1
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"error: {where}{error.strerror or error}", 1
    return None


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. Exit codes: 0 fine, 1 the build or a remote failed, 2 bad input or usage."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    try:
        cli.main(args=argv, prog_name="envd", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("envd: interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader went away (envd … | head); nothing to report.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if os.environ.get("ENVD_DEBUG"):
            raise
        known = _known_error(error)
        if known is None:
            text, code = f"error: internal error: {error!r}; run again with --debug", 1
        else:
            text, code = known
        click.echo(text, err=True)
        sys.exit(code)


if __name__ == "__main__":
    main()
