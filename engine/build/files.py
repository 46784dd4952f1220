"""`io.copy(...)`: files of the project, as a layer of their own.

The derivation holds a fingerprint of the files' content, so it changes when they do. The files
are read again when it is built; a change in between is noticed.
"""

from __future__ import annotations

import os
from pathlib import Path

from engine.build import placed
from engine.build.context import BuildContext
from engine.build.places import make_parents
from engine.build.snapshots import snapshot
from engine.derivation import Derivation
from engine.errors import UsageError
from engine.fingerprint import fingerprint
from grammar.environment import Copy

KIND = "files"
VERSION = 2


def source_of(step: Copy, directory: Path) -> Path:
    """The file or directory that a copy reads. Raises UsageError when it is not there or is
    outside of the project."""
    source = directory / step.source
    if not source.exists():
        raise UsageError(
            f"{step.position}: io.copy: no such file '{step.source}' in {directory}"
        )
    if not source.resolve().is_relative_to(directory.resolve()):
        raise UsageError(
            f"{step.position}: io.copy: '{step.source}' is outside of the project's directory"
        )
    return source


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
        {"target": target_of(step, source, home).guess, "content": fingerprint(source)},
        where=f"{step.position}: io.copy",
    )


class BuilderOfFiles:
    """A builder that knows where the project's files are (`sources`: content fingerprint -> path):
    their paths are no part of a hash."""

    def __init__(self, sources: dict[str, Path]) -> None:
        self._sources = sources

    def __call__(self, context: BuildContext) -> Path:
        """Copy. Raises BuildError when the files changed since they were planned."""
        content = str(context.parameters["content"])
        source = self._sources[content]
        upper = context.scratch / "upper"
        target = upper / str(context.parameters["target"]).lstrip("/")
        make_parents(upper, target)  # what is copied to "/" makes `upper` itself
        snapshot(source, target, content, context.name)
        return upper
