"""`envd lock`: a project's lock, made, renewed or checked."""

from __future__ import annotations

from engine.app import pipeline
from engine.app.options import BuildOptions
from engine.app.pipeline import update_steps
from engine.core.progress import open_sink
from engine.core.project import Project
from engine.lock.model import all_packages
from engine.lock.packages import LockedFile

__all__ = ["lock", "update_steps"]


def lock(project: Project, options: BuildOptions, *, update: bool, check: bool) -> list[LockedFile]:
    """The files of the project's lock, which is made or renewed unless it fits. `update` resolves all
    of it again; `check` writes nothing. Raises LockMismatch, ResolveError."""
    update = update and not check
    environment = pipeline.evaluate(project, dev=options.dev, update=update, progress=options.progress)
    with open_sink(options.progress) as emit:
        made = pipeline.ensure_lock(project, environment, emit, locked=check, update=update)
    return [package.file for package in all_packages(made)]
