"""`run(...)`: the user's own shell commands, over everything below, without network."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from engine import sandbox
from engine.build import debs
from engine.build.context import BuildContext
from engine.derivation import Derivation, Input
from grammar.environment import Run
from store.hashing import hash_value

KIND = "run"
VERSION = 1


def derivation(
    step: Run, below: Sequence[Derivation], environment: Sequence[tuple[str, str]]
) -> Derivation:
    """The derivation of one `run`. `environment` is the image's own."""
    commands = list(step.commands)
    return Derivation(
        KIND,
        f"run-{hash_value('envd run name v1', commands)[:8]}",
        VERSION,
        tuple(Input("layer", d) for d in below),
        {"commands": commands, "environment": [list(pair) for pair in environment]},
    )


def build(context: BuildContext) -> Path:
    """Run the commands; the first that fails ends the build. Raises BuildError."""
    script = "set -e\n" + "\n".join(context.parameters["commands"]) + "\n"
    upper = sandbox.run(
        ["sh", "-c", script], layers=context.layers, scratch=context.scratch,
        environment=dict(context.parameters["environment"]), log=context.log, name=context.name,
    )
    debs.clean(upper)
    _drop_caches(upper)
    return upper


def _drop_caches(upper: Path) -> None:
    for pattern in ("root/.cache", "home/*/.cache"):
        for path in upper.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)
