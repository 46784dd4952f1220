"""A project: where a spec is, which function of it builds, and where its lock and store are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.core import paths as locate

SPEC_NAME = locate.SPEC_NAME


@dataclass(frozen=True)
class Project:
    """`directory` is what relative paths in the spec mean; `lock` is where its lock lies."""

    spec: Path
    function: str
    directory: Path
    lock: Path

    @property
    def name(self) -> str:
        """The project's name: its directory's, as a valid image repository name."""
        return locate.image_name(str(self.directory))


def find(file: str | None, path: str | None) -> Project:
    """The project of `-f FILE[:FUNC]` and `-p PATH`. Raises UsageError when there is no spec."""
    spec, function, directory, lock = locate.project(file, path)
    return Project(Path(spec), function, Path(directory), Path(lock))


def store_path() -> Path:
    """Where the store is; see `engine.core.paths.store`."""
    return Path(locate.store())
