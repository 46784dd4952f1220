"""The `envd` command: the group, its options, and how errors end the process.

Each command group lives in a file of its own and is imported only when it is called, so that
`envd build` with nothing to do does not pay for what it does not use.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sqlite3
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from engine.cli import complete
from engine.cli.group import LazyGroup, usage_message
from engine.core import signals, terminal
from engine.core.redaction import know_settings, visible

if TYPE_CHECKING:
    from engine.errors import EnvdError

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


def _known_error(error: BaseException) -> tuple[str, int] | None:
    """(message, exit code) of an error that is meant for the user, or None."""
    from engine.core.project import store_path
    from engine.errors import EnvdError, exit_code
    from grammar.errors import SpecError
    from store.errors import StoreError, explained

    if isinstance(error, SpecError):
        return str(error.with_files()), exit_code(error)
    if isinstance(error, EnvdError):
        return _shown(error), exit_code(error)
    if isinstance(error, StoreError):
        return f"error: {error}", exit_code(error)
    if isinstance(error, sqlite3.Error):
        return f"error: {store_path() / 'db.sqlite'}: the store's database fails: {error}", 1
    if isinstance(error, OSError):
        if (said := explained(error, store_path())) is not None:
            return f"error: {said}", 1
        where = f"{error.filename}: " if error.filename else ""
        advice = _ADVICE.get(error.errno or 0, "")
        return f"error: {where}{error.strerror or error}{advice}", 1
    return _of_machine(error)


def _shown(error: EnvdError) -> str:
    """The log of what failed, and each error: with its line and a caret, where it has a place."""
    from engine.errors import BuildError
    from grammar.errors import SpecError, together

    told = [error.log.rstrip()] if isinstance(error, BuildError) and error.log else []
    placed = [SpecError(e.text, e.position) for e in error.errors if e.position is not None]
    if placed:
        told.append(str(together(placed).with_files()))
    told += [f"error: {e.text}" for e in error.errors if e.position is None]
    return "\n".join(told)


# What a machine lacks, and what to do.
_ADVICE = {
    errno.EMFILE: "; let this process open more files: `ulimit -n 1024`",
    errno.ENFILE: "; the whole machine has too many files open: close some programs",
    errno.ENOMEM: "; close some programs, or build with fewer --jobs",
    errno.EAGAIN: "; let this user have more processes (`ulimit -u`), or build with fewer --jobs",
    errno.ENOSPC: "; free some space there",
    errno.EDQUOT: "; free some of your quota there",
    errno.EIO: "; the disk fails: look at `dmesg`",
}


def _of_machine(error: BaseException) -> tuple[str, int] | None:
    """The message and exit code for what a machine or a network did, where nothing nearer to the cause
    has explained it; None for other errors."""
    if isinstance(error, MemoryError):
        return f"error: out of memory{_ADVICE[errno.ENOMEM]}", 1
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return f"error: no thread can be started{_ADVICE[errno.EAGAIN]}", 1
    if isinstance(error, ImportError) and _too_many_files():
        return f"error: Too many open files{_ADVICE[errno.EMFILE]}", 1
    # What was not imported has raised nothing.
    known = (
        ("urllib3.exceptions", "HTTPError", "the network fails"),
        ("requests.exceptions", "RequestException", "the network fails"),
        ("http.client", "HTTPException", "the network fails"),
        ("docker.errors", "DockerException", "the Docker engine fails"),
        ("subprocess", "SubprocessError", "a command fails"),
        ("zlib", "error", "a file is damaged; run `envd store verify --repair`"),
        ("zstandard", "ZstdError", "a file is damaged; run `envd store verify --repair`"),
        ("tarfile", "TarError", "an archive is damaged"),
        ("zipfile", "BadZipFile", "an archive is damaged"),
        ("ssl", "SSLError", "the network fails"),
    )
    for module, name, what in known:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(error, kind):
            from store.retry import reason

            return f"error: {what}: {reason(error)}", 1
    return None


def _of_output(error: BaseException) -> tuple[str, int] | None:
    """The message and exit code where standard output's disk is full, not the store's; else None."""
    if not isinstance(error, OSError) or error.errno != errno.ENOSPC or error.filename:
        return None
    try:
        output = os.fstat(sys.stdout.fileno())
        full = os.fstatvfs(sys.stdout.fileno()).f_bavail == 0
    except (OSError, ValueError, AttributeError):
        return None
    if output.st_rdev == os.makedev(1, 7) or (stat.S_ISREG(output.st_mode) and full):
        return f"error: cannot write the output: {os.strerror(errno.ENOSPC)}", 1
    return None


def _too_many_files() -> bool:
    """Whether no file can be opened any more: then imports fail with other words."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno == errno.EMFILE
    return False


def explain(error: BaseException) -> tuple[str, int]:
    """What the command prints of an error, and its exit code."""
    know_settings()
    if isinstance(error, click.ClickException):
        text, code = f"error: {usage_message(error)}", 2
    elif (known := _of_output(error) or _known_error(error)) is not None:
        text, code = known
    else:
        text, code = f"error: internal error: {error!r}; run again with --debug", 1
    return terminal.clean(visible(text)), code


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
            import traceback

            know_settings()
            click.echo(visible(traceback.format_exc()).rstrip(), err=True)
            known = _known_error(error)
            sys.exit(1 if known is None else known[1])
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
