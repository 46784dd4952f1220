"""A project's plan, drawn."""

from __future__ import annotations

from engine.app import pipeline
from engine.core.progress import open_sink
from engine.core.project import Project
from engine.plan.render import render


def drawn(project: Project, form: str, *, files: bool) -> str:
    """The plan as "text", "json" or "dot". Makes a lock where there is none that fits."""
    environment = pipeline.evaluate(project)
    with open_sink("plain") as emit:
        lock = pipeline.ensure_lock(project, environment, emit)
    return render(pipeline.plan_of(project, environment, lock), form, files=files)
