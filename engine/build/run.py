"""`run(...)`: the user's own shell commands, over everything below, without network."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from engine import sandbox
from engine.build import debs
from engine.build.context import BuildContext
from engine.build.snapshots import snapshot
from engine.derivation import Derivation, Input
from engine.selection import Selection
from grammar.environment import Run
from store.hashing import hash_value

KIND = "run"
VERSION = 2


@dataclass(frozen=True)
class Project:
    """A project's files: their fingerprint, and where the commands see them."""

    content: str
    place: str


def project(directory: Path, home: str) -> Project:
    """The files of a project, at the place where `envd up` has it. Raises OSError."""
    return Project(Selection(str(directory)).fingerprint(), f"{home}/{directory.name or 'project'}")


def derivation(
    step: Run, below: Sequence[Derivation], environment: Sequence[tuple[str, str]],
    host: Project | None = None,
) -> Derivation:
    """The derivation of one `run`. `environment` is the image's own; with `host` the commands run
    in the project's directory."""
    commands = list(step.commands)
    return Derivation(
        KIND,
        f"run-{hash_value('envd run name v1', commands)[:8]}",
        VERSION,
        tuple(Input("layer", d) for d in below),
        {
            "commands": commands, "environment": [list(pair) for pair in environment],
            **({"host": asdict(host)} if host is not None else {}),
        },
    )


class BuilderOfRuns:
    """A builder that knows where the project is (`sources`: by the fingerprint of what is taken of
    it): its path is no part of a hash."""

    def __init__(self, sources: Mapping[str, Selection]) -> None:
        self._sources = sources

    def __call__(self, context: BuildContext) -> Path:
        """Run the commands; the first that fails ends the build. Raises BuildError."""
        script = "set -e\n" + "\n".join(context.parameters["commands"]) + "\n"
        binds: tuple[sandbox.Bind, ...] = ()
        place = "/"
        if host := context.parameters.get("host"):
            place = str(host["place"])
            binds = (sandbox.Bind(self._copied(host["content"], context), place),)
        upper = sandbox.run(
            ["sh", "-c", script], layers=context.layers, scratch=context.scratch, binds=binds,
            cwd=place, environment=dict(context.parameters["environment"]), log=context.log,
            name=context.name,
        )
        debs.clean(upper, context.log, by_user=True)
        _drop_caches(upper)
        return upper

    def _copied(self, content: str, context: BuildContext) -> Path:
        """A copy: what an editor writes meanwhile is not seen, nor whose files they are."""
        copy = context.scratch / "project"
        snapshot(self._sources[content], copy, content, context.name)
        return copy


def _drop_caches(upper: Path) -> None:
    for pattern in ("root/.cache", "home/*/.cache"):
        for path in upper.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)
