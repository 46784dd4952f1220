"""The answer of an `envd build` with nothing to do."""

from __future__ import annotations

import sys

from engine.app import fastpath
from engine.core import paths as locate
from engine.errors import EnvdError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def answered(options: Mapping[str, Sequence[str]]) -> bool:
    """Whether a build with these options (`engine.cli.plain`) had nothing to do; then its answer is
    printed."""
    try:
        spec, function, directory, _ = locate.project(
            options["file"][-1] if "file" in options else None,
            options["path"][-1] if "path" in options else None,
        )
        tags = options.get("tag") or [f"{locate.image_name(directory)}:dev"]
        done = fastpath.nothing_to_do(
            fastpath.Request(
                spec,
                function,
                directory,
                [locate.full_tag(t) for t in tags],
                "--no-load" not in options,
                "--dev" in options,
            )
        )
        if done is None:
            return False
        print(done.message, file=sys.stderr)
        print(done.image_id, flush=True)
    except (OSError, ValueError, EnvdError):
        return False  # told properly by the command itself
    return True
