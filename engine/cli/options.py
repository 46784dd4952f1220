"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def project_options(function: F) -> F:
    """-f FILE[:FUNC] and -p PATH: which project."""
    function = click.option(
        "-p", "--path", metavar="DIR", help="The project's directory [default: the spec's]."
    )(function)
    return click.option(
        "-f", "--from", "file", metavar="FILE[:FUNC]", help="The spec [default: build.envd:build]."
    )(function)


def build_options(function: F) -> F:
    """Options of everything that builds: progress, lock policy, parallelism."""
    function = click.option(
        "--progress",
        type=click.Choice(["auto", "tree", "plain", "json"]),
        default="auto",
        help="How progress is shown.",
    )(function)
    function = click.option(
        "--locked", is_flag=True, help="Refuse to make or change the lock."
    )(function)
    function = click.option(
        "-j", "--jobs", type=click.IntRange(1, 256), help="Builders at once [default: cores]."
    )(function)
    return click.option("--force", is_flag=True, help="Build again what is in the store.")(
        function
    )
