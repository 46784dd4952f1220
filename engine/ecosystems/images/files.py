"""`io.copy(...)`: files of the project, as a layer of their own.

The derivation holds a fingerprint of the files' content, so it changes when they do. The files
are read again when it is built; a change in between is noticed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from engine.core.derivation import Derivation
from engine.errors import UsageError
from engine.realise import placed
from engine.realise.context import BuildContext
from engine.realise.places import make_parents
from engine.realise.selection import Selection, SelectionError
from engine.realise.snapshots import snapshot
from grammar.environment import Copy
from store.errors import UnstorableError
from store.layers import check_name

KIND = "files"
VERSION = 3


def source_of(step: Copy, directory: Path) -> Path:
    """The file or directory that a copy reads. Raises UsageError when it is not there or is
    outside of the project."""
    source = directory / step.source
    if not source.exists():
        raise UsageError(f"io.copy: no such file '{step.source}' in {directory}", position=step.position)
    if not source.resolve().is_relative_to(directory.resolve()):
        raise UsageError(
            f"io.copy: '{step.source}' is outside of the project's directory", position=step.position
        )
    return source


def selection_of(step: Copy, directory: Path) -> Selection:
    """What a copy takes of its source."""
    return Selection(str(directory), step.source, step.exclude)


def check(step: Copy, directory: Path) -> None:
    """Raise UsageError for a source that is not there, that is left out itself, or that holds what
    no layer can."""
    source = source_of(step, directory)
    selection = selection_of(step, directory)
    target = os.fsencode(f"{step.target}/" if source.is_dir() else step.target)
    try:
        check_name(target)
        for name in [os.fsencode(source.name), *selection.whiteouts()]:
            check_name(os.path.join(os.fsencode(step.source), name) if source.is_dir() else name)  # noqa: PTH118
    except (SelectionError, UnstorableError) as error:
        raise UsageError(f"io.copy: {error}", position=step.position) from error
    except OSError as error:
        raise UsageError(
            f"io.copy: cannot read {error.filename}: {error.strerror}", position=step.position
        ) from error


def target_of(step: Copy, source: Path, home: str = "/root") -> placed.Target:
    """Where it goes. "." and what leads to the project's own directory are its contents."""
    whole = source.resolve() == source.parent.resolve() or os.path.normpath(step.source) == "."
    return placed.target(step.target, "" if whole else source.name, home)


def derivation(step: Copy, directory: Path, home: str = "/root") -> Derivation:
    """The derivation of one copy, at the place where it goes when nothing is there; `home` is what
    "~" stands for. Raises UsageError."""
    source = source_of(step, directory)
    return Derivation(
        KIND,
        f"copy-{source.name or 'files'}",
        VERSION,
        (),
        {
            "target": target_of(step, source, home).guess,
            "content": selection_of(step, directory).fingerprint(),
        },
        where=step.position,
    )


class BuilderOfFiles:
    """A builder that knows where the project's files are (`sources`: by the fingerprint of what is
    taken of them): their paths are no part of a hash."""

    def __init__(self, sources: Mapping[str, Selection]) -> None:
        self._sources = sources

    def __call__(self, context: BuildContext) -> Path:
        """Copy. Raises BuildError when the files changed since they were planned."""
        content = str(context.parameters["content"])
        upper = context.scratch / "upper"
        target = upper / str(context.parameters["target"]).lstrip("/")
        make_parents(upper, target)  # what is copied to "/" makes `upper` itself
        snapshot(self._sources[content], target, content, context.name)
        return upper
