"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from engine.app.options import BuildOptions
from engine.cli import complete
from store import limits, offline

if TYPE_CHECKING:
    from engine.realise.secrets import Source

F = TypeVar("F", bound=Callable[..., Any])


def project_options(function: F) -> F:
    """-f FILE[:FUNC] and -p PATH: which project."""
    function = click.option(
        "-p",
        "--path",
        metavar="DIR",
        shell_complete=complete.directory,
        help="The project's directory [default: the spec's].",
    )(function)
    return click.option(
        "-f",
        "--from",
        "file",
        metavar="FILE[:FUNC]",
        shell_complete=complete.file,
        help="The spec [default: build.envd:build].",
    )(function)


def progress_option(function: F) -> F:
    """--progress MODE."""
    return click.option(
        "--progress",
        type=click.Choice(["auto", "tree", "plain", "json"]),
        default="auto",
        help="How progress is shown.",
    )(function)


def limit_option(function: F) -> F:
    """--limit NAME=VALUE: how much of this machine foreign things may take."""
    return click.option(
        "--limit",
        "limits",
        multiple=True,
        metavar="NAME=VALUE[,…]",
        expose_value=False,
        callback=_limits,
        help="What a step (memory=8G, processes=1000, disk=20G, time=2h, silence=30m, log=1G) or "
        "what is fetched (answer=1G, download=…, unpacked=…) may take; also ENVD_LIMITS.",
    )(function)


def _limits(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> None:
    if not values:
        return
    given = ",".join(values)
    try:
        limits.parse(given)
    except limits.LimitError as error:
        raise click.BadParameter(str(error)) from error
    os.environ[limits.VARIABLE] = ",".join(filter(None, (os.environ.get(limits.VARIABLE), given)))


def build_options(function: F) -> F:
    """Options of everything that builds: progress, lock policy, parallelism, limits."""
    function = limit_option(progress_option(function))
    function = click.option("--locked", is_flag=True, help="Fail if the lock is missing or out of date.")(
        function
    )
    function = click.option(
        "-j", "--jobs", type=click.IntRange(1, 256), help="Parallel builders [default: cores]."
    )(function)
    return click.option("--force", is_flag=True, help="Rebuild even what is in the store.")(function)


def publish_option(function: F) -> F:
    """--publish, --sources: share what was built, and what was fetched."""
    function = click.option(
        "--sources",
        is_flag=True,
        help="With --publish: share what was fetched, too, lest a mirror deletes it.",
    )(function)
    return click.option(
        "--publish",
        is_flag=True,
        help="Share what was built, signed, at the place of `envd cache use --publish`.",
    )(function)


def exchange_options(function: F) -> F:
    """--import-cache and --export-cache: places of this run, beside those of the settings."""
    function = click.option(
        "--export-cache",
        "exports",
        multiple=True,
        metavar="CACHE",
        callback=_exchanges,
        help="Share what was built at CACHE, too: type=registry,ref=HOST/NAME[:TAG] or "
        "type=local,dest=DIR (repeatable).",
    )(function)
    return click.option(
        "--import-cache",
        "imports",
        multiple=True,
        metavar="CACHE",
        callback=_exchanges,
        help="Take what others have built from CACHE, too: type=registry,ref=HOST/NAME[:TAG] or "
        "type=local,src=DIR[,trust=unsigned] (repeatable).",
    )(function)


def _exchanges(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    if values:
        from engine.cache import exchange

        (exchange.exports if parameter.name == "exports" else exchange.imports)(
            values
        )  # what is wrong is said now
    return values


def offline_option(function: F) -> F:
    """--offline: no network."""
    return click.option(
        "--offline",
        is_flag=True,
        expose_value=False,
        callback=_offline,
        help="Do not use the network; fail if something is missing. Also ENVD_OFFLINE=1.",
    )(function)


def _offline(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        os.environ[offline.VARIABLE] = "1"


def gathered(*names: str) -> Callable[[F], F]:
    """Hand a command these of its options as one `options`, a `engine.app.options.BuildOptions`."""

    def decorated(function: F) -> F:
        @wraps(function)
        def run(*args: Any, **values: Any) -> Any:
            options = BuildOptions(**{name: values.pop(name) for name in names})
            return function(*args, options=options, **values)

        return cast(F, run)

    return decorated


def secret_option(function: F) -> F:
    """--secret NAME[=env:VARIABLE|=file:PATH]: what steps are handed."""
    return click.option(
        "--secret",
        "secrets",
        multiple=True,
        metavar="NAME=env:VAR|file:PATH",
        callback=_secrets,
        help="A secret for run(..., secrets=[NAME]) (repeatable).",
    )(function)


def _secrets(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[Source, ...]:
    if not value:
        return ()
    from engine.realise.secrets import parse

    return parse(value)


def image_options(function: F) -> F:
    """Options that say what kind of image: its platform and who owns its home."""
    function = click.option(
        "--platform",
        metavar="OS/ARCH",
        default="linux/amd64",
        expose_value=False,
        callback=_platform,
        help="The image's platform; only linux/amd64 is supported.",
    )(function)
    function = click.option(
        "--owner",
        metavar="UID:GID",
        expose_value=False,
        callback=_owner,
        envvar="ENVD_BUILD_OWNER",
        show_envvar=True,
        help="Owner of the environment's home; overrides config.owner().",
    )(function)
    return click.option(
        "--use-proxy",
        "--proxy",
        is_flag=True,
        expose_value=False,
        hidden=True,
        help="Accepted for compatibility: fetches always use the proxy variables.",
    )(function)


def _platform(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    for platform in value.split(","):
        if platform not in ("linux/amd64", "linux/x86_64"):
            raise click.BadParameter(f"'{platform}' is not supported; envd builds only for linux/amd64")
    return value


def _owner(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value:
        os.environ["ENVD_BUILD_OWNER"] = value
    return value
