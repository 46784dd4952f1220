"""Options of a development environment, and which one is meant, for the commands that start or use
one. What those do is in `engine.cli.running`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import Any, TypeVar, cast

import click

from engine.cli import complete
from engine.core import paths as locate

F = TypeVar("F", bound=Callable[..., Any])


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A time: seconds, or as Go writes it ("30s", "1m30s", "500ms"). Gives seconds."""

    name = "duration"
    _UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}  # noqa: RUF012

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        text = f"{value}s" if re.fullmatch(r"[\d.]+", value) else value
        try:
            parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
            if not parts or "".join(n + u for n, u in parts) != text:
                raise ValueError
            return sum(float(n) * self._UNITS[u] for n, u in parts)
        except ValueError:
            self.fail(f"'{value}' is not a valid time, such as 30s or 1m30s", param, ctx)


# What the container is to be.
_OPTIONS = (
    click.option("--name", "-n", metavar="NAME", help="The environment's name [default: PROJECT]."),
    click.option(
        "-v",
        "--volume",
        "volumes",
        multiple=True,
        metavar="SOURCE:TARGET[:ro]",
        help="Mount a directory of the host (repeatable).",
    ),
    click.option(
        "-e",
        "--env",
        "environ",
        multiple=True,
        metavar="NAME[=VALUE]",
        help="Set an environment variable (repeatable).",
    ),
    click.option(
        "--allow-mount",
        "allow_mounts",
        multiple=True,
        metavar="DIR",
        help="Let the spec mount this directory, outside of the project and your home.",
    ),
    click.option(
        "--forward-agent", is_flag=True, help="Let the environment use your ssh agent while you are attached."
    ),
    click.option("--detach", is_flag=True, help="Do not attach to it."),
    click.option(
        "--gpus",
        "--gpu",
        "--gpu-set",
        "gpus",
        metavar="COUNT|all|device=0,1",
        default="",
        help="GPUs [default: what the spec asks for].",
    ),
    click.option("--no-gpu", is_flag=True, help="Start without GPUs, whatever the spec says."),
    click.option(
        "--shm-size",
        type=click.IntRange(1, 1 << 24),
        metavar="MB",
        help="Shared memory in megabytes [default: config.shm_size, else 2048].",
    ),
    click.option(
        "--cpus",
        "--cpu",
        "cpus",
        type=click.FloatRange(0.01, 4096),
        metavar="COUNT",
        help="Number of cores it may use, such as 0.5.",
    ),
    click.option("--cpu-set", default="", metavar="LIST", help="The cores it may use: 0-3 or 1,3."),
    click.option("--memory", default="", metavar="SIZE", help="Memory, such as 512m or 2g."),
    click.option(
        "--host",
        default="127.0.0.1",
        show_default=True,
        metavar="ADDRESS",
        help="The address its ssh server listens on.",
    ),
    click.option(
        "--timeout",
        type=Duration(),
        default="30s",
        show_default=True,
        help="How long to wait for the ssh server.",
    ),
    click.option("-k", "--private-key", metavar="FILE", help="Log in with this key [default: envd's own]."),
    click.option("--public-key", "--pubk", metavar="FILE", help="The public half of --private-key."),
)


def environment_options(function: F) -> F:
    """What the container is to be, beyond what the spec says."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@dataclass(frozen=True)
class Attaching:
    """How an environment is started and attached to: its `name` [the project's], whether with one
    that differs in its place (`force`), whether at all (`detach`), and with which key; `timeout` is
    in seconds."""

    name: str | None
    detach: bool
    timeout: float
    private_key: str | None
    public_key: str | None
    force: bool


def attaching(function: F) -> F:
    """Hand a command these of its options as one `attach`."""

    @wraps(function)
    def run(*args: Any, **values: Any) -> Any:
        attach = Attaching(**{field.name: values.pop(field.name) for field in fields(Attaching)})
        return function(*args, attach=attach, **values)

    return cast(F, run)


def which_options(function: F) -> F:
    """-e NAME or -p DIR: which environment."""
    function = click.option(
        "-p",
        "--path",
        metavar="DIR",
        shell_complete=complete.directory,
        help="The project's directory [default: this one].",
    )(function)
    return click.option(
        "-e",
        "--env",
        "--name",
        "-n",
        "name",
        metavar="NAME",
        shell_complete=complete.environment_name,
        help="The environment [default: PROJECT].",
    )(function)


def directory_of(path: str | None) -> str:
    """A project's directory, this one unless `path` is given, without links."""
    return os.path.realpath(path or ".")


def default_name(directory: str | None = None) -> str:
    """The name that the environment of a project's directory gets."""
    return environment_name(locate.image_name(directory_of(directory)))


def environment_name(project: str) -> str:
    """The name of a project's environment: Docker wants two characters or more."""
    return project if len(project) > 1 else f"{project}-envd"
