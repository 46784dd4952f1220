"""Which files a spec may name: those of its project.

A spec is somebody else's as often as not, and what it reads shows in errors, in locks and in what
indexes are asked for. So a path that leads out of the project, by `..`, as an absolute one or through
a symbolic link, is refused, unless whoever runs envd has allowed the directory.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from grammar.environment import Position
from grammar.errors import SpecError


def inside(path: Path, directory: Path, allowed: Sequence[Path], position: Position) -> Path:
    """`path` itself, when it is a file in `directory` (the project's) or in one that is `allowed`,
    or nothing at all. Raises SpecError for any other, before it is opened."""
    try:
        real = path.resolve()
        fits = any(real.is_relative_to(root.resolve()) for root in (directory, *allowed))
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise SpecError(f"cannot read {path}: {reason}", position) from None
    if not fits:
        raise SpecError(
            f"{path} is outside of the project's directory; if you trust this spec, run "
            f"envd --allow-path {real.parent}",
            position,
        )
    with suppress(OSError):
        mode = real.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a pipe would be waited for
            raise SpecError(f"{path} is not a file", position)
    return path
