"""`io.copy(...)`: files of the project, as a layer of their own.

The derivation holds a fingerprint of the files' content, so it changes when they do. The files
are read again when it is built; a change in between is noticed.
"""

from __future__ import annotations

import os
from pathlib import Path

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


def target_of(step: Copy, source: Path, home: str = "/root") -> str:
    """Where it goes: into `target` when that ends in "/", else as it, as cp(1) and COPY do.
    Relative targets are below `home`."""
    target = step.target if step.target.startswith("/") else f"{home}/{step.target}"
    if target.endswith("/") and not source.is_dir():
        target += source.name
    target = os.path.normpath(target)
    if target == "/":
        raise UsageError(f"{step.position}: io.copy: cannot replace the root directory")
    return target


def derivation(step: Copy, directory: Path, home: str = "/root") -> Derivation:
    """The derivation of one copy. Raises UsageError."""
    source = source_of(step, directory)
    return Derivation(
        KIND,
        f"copy-{source.name or 'files'}",
        VERSION,
        (),
        {"target": target_of(step, source, home), "content": fingerprint(source)},
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
        upper.mkdir()
        upper.chmod(0o755)
        target = upper / str(context.parameters["target"]).lstrip("/")
        make_parents(upper, target)
        snapshot(source, target, content, context.name)
        return upper
