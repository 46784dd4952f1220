"""The `envd` command: the group, its options, and how errors end the process.

Each command group lives in a file of its own and is imported only when it is called, so that
`envd build` with nothing to do does not pay for what it does not use.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

import click

from engine.cli import complete
from engine.cli.explain import explained, traced
from engine.cli.group import LazyGroup, usage_message
from engine.core import signals, terminal
from engine.core.redaction import know_settings, visible

SETTINGS = {"help_option_names": ["-h", "--help"]}

# heading of `envd --help` -> command -> (module, attribute, its line there)
SECTIONS = {
    "Specs": {
        "init": ("engine.cli.init", "init", "Read a project and write a build.envd for it."),
        "new": ("engine.cli.new", "new", "Write a build.envd from a template."),
        "lock": ("engine.cli.lock", "lock", "Resolve a build.envd into envd.lock."),
        "parse": ("engine.cli.parse", "parse", "Print the environment that a build.envd asks for."),
        "graph": ("engine.cli.graph", "graph", "Print the plan: its derivations and their inputs."),
        "lsp": ("engine.cli.lsp", "lsp", "Run a language server for editors."),
    },
    "Images": {
        "build": ("engine.cli.build", "build", "Build the image of a build.envd."),
        "images": ("engine.cli.image", "images", "List, describe and remove built images."),
        "image": ("engine.cli.image", "images", ""),  # another name
        "push": ("engine.cli.push", "push", "Build, then push the image to a registry."),
        "pull": ("engine.cli.pull", "pull", "Fetch an image from a registry."),
        "login": ("engine.cli.login", "login", "Log in to a registry."),
        "logout": ("engine.cli.login", "logout", "Forget a registry's login."),
    },
    "Sharing": {
        "cache": ("engine.cli.cache", "cache", "Share what was built with other machines."),
        "bundle": ("engine.cli.bundle", "bundle", "Carry a build to a machine without network."),
        "key": ("engine.cli.key", "key", "Sign what is shared, and say whose signatures count."),
    },
    "Environments": {
        "up": ("engine.cli.up", "up", "Build a development environment, run it and attach to it."),
        "run": ("engine.cli.run", "run", "Run an existing development image."),
        "exec": ("engine.cli.exec", "execute", "Run a command in a development environment."),
        "envs": ("engine.cli.envs", "envs", "List development environments."),
        "pause": ("engine.cli.pause", "pause", "Freeze a development environment."),
        "resume": ("engine.cli.pause", "resume", "Resume a paused or stopped environment."),
        "destroy": ("engine.cli.destroy", "destroy", "Remove a development environment."),
    },
    "This machine": {
        "context": ("engine.cli.context", "context", "Choose the Docker engine."),
        "store": ("engine.cli.store", "store", "Inspect and maintain the store."),
        "prune": ("engine.cli.prune", "prune", "Delete unused data."),
        "version": ("engine.cli.version", "version", "Print envd's version and what it works with."),
        "completion": ("engine.cli.completion", "completion", "Print a shell's completion script."),
    },
}


@click.group(cls=LazyGroup, sections=SECTIONS, context_settings=SETTINGS)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.option("--store", "store_path", metavar="DIR", help="The store (also ENVD_STORE).")
@click.option(
    "--context",
    metavar="NAME",
    shell_complete=complete.context_name,
    help="The Docker engine; overrides DOCKER_HOST.",
)
@click.option(
    "--allow-path",
    "allowed",
    metavar="DIR",
    multiple=True,
    help="Let specs read files in DIR, outside the project.",
)
@click.option(
    "--allow-unsigned-apt", "unsigned", is_flag=True, help="Let config.apt_source use unsigned packages."
)
@click.option(
    "--allow-expired-apt", "expired", is_flag=True, help="Accept package lists whose signature has expired."
)
def cli(
    debug: bool,
    store_path: str | None,
    context: str | None,
    allowed: tuple[str, ...],
    unsigned: bool,
    expired: bool,
) -> None:
    """Content-addressed build engine for machine-learning development environments."""
    if debug:
        os.environ["ENVD_DEBUG"] = "1"
    if store_path:
        os.environ["ENVD_STORE"] = store_path
    if allowed:
        given = [os.environ.get("ENVD_ALLOW_PATHS", ""), *map(os.path.abspath, allowed)]
        os.environ["ENVD_ALLOW_PATHS"] = os.pathsep.join(filter(None, given))
    if unsigned:
        os.environ["ENVD_ALLOW_UNSIGNED_APT"] = "1"
    if expired:
        os.environ["ENVD_ALLOW_EXPIRED_APT"] = "1"
    if context:
        os.environ.pop("DOCKER_HOST", None)
        os.environ["ENVD_CONTEXT"] = context
    if os.environ.get("ENVD_LIMITS"):
        from engine.realise.limits import in_force

        in_force()  # said now, not in the middle of a build


def explain(error: BaseException) -> tuple[str, int]:
    """What the command prints of an error, and its exit code."""
    know_settings()
    if isinstance(error, click.ClickException):
        text, code = f"error: {usage_message(error)}", 2
    else:
        text, code = explained(error)
    return terminal.clean(visible(text)), code


def run(arguments: Sequence[str]) -> None:
    """The whole process: `main`, with signals heard."""
    signals.install()
    try:
        main(arguments)
    except SystemExit as stop:
        if stop.code:  # a thread that hangs must not hold what has failed
            signals.leave(stop.code if isinstance(stop.code, int) else 1)
        signals.done()
        raise
    signals.done()


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. Exit codes: 0 fine, 1 the build or a remote failed, 2 bad input or usage."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names that are not UTF-8 as they are
    terminal.guard()
    if "_ENVD_COMPLETE" in os.environ:
        import engine.cli.shells  # noqa: F401 (registers our way with bash)
    try:
        # click.exceptions.Exit comes back as its status
        if isinstance(code := cli.main(args=argv, prog_name="envd", standalone_mode=False), int):
            sys.exit(code)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except click.ClickException as error:
        click.echo(explain(error)[0], err=True)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort) as stop:
        _interrupted(getattr(stop, "number", signals.received() or signal.SIGINT))
    except BrokenPipeError:
        # The reader went away (envd … | head); nothing to report.
        _forget_output()
        sys.exit(1)
    except Exception as error:
        if number := signals.received():  # what it has torn down failed before it was heard
            _interrupted(number)
        if os.environ.get("ENVD_DEBUG"):
            know_settings()
            text, code = traced(error)
            click.echo(visible(text), err=True)
            sys.exit(code)
        text, code = explain(error)
        click.echo(text, err=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _forget_output()
        sys.exit(code)


def _interrupted(number: int) -> None:
    with suppress(OSError, ValueError):
        click.echo(signals.words(number), err=True)
    sys.exit(signals.EXIT_STATUS)


def _forget_output() -> None:
    """Nothing can be written any more: Python would try what is left once again when it ends."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
