"""What the shell completes: names of images, contexts and environments, files and directories.

A completion never fails: what cannot be asked completes to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

from engine.errors import EnvdError
from store.errors import StoreError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Completion = Callable[[click.Context, click.Parameter, str], "list[CompletionItem] | list[str]"]


def _names(find: Callable[[], Iterable[str]]) -> Completion:
    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        try:
            return [n for n in sorted(set(find())) if n.startswith(incomplete)]
        except (EnvdError, StoreError, OSError):
            return []

    return complete


def _as(kind: click.ParamType[str]) -> Completion:
    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return kind.shell_complete(ctx, parameter, incomplete)

    return complete


def _images() -> Iterable[str]:
    from engine.app.catalog import listed

    return (row.name for row in listed() if row.name)


def _contexts() -> Iterable[str]:
    from engine.docker.contexts import listed

    return (row.name for row in listed())


def _templates() -> Iterable[str]:
    from engine.templates import listed

    return (template.name for template in listed())


def _environments() -> Iterable[str]:
    from engine.runtime.environments import names

    return names(seconds=5)


template_name = _names(_templates)
environment_name = _names(_environments)
image_name = _names(_images)
context_name = _names(_contexts)
file = _as(click.Path(dir_okay=False))
directory = _as(click.Path(file_okay=False))
