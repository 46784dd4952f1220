"""Files that a builder puts into an overlay's upper directory by itself, before its commands run.

What lies below decides: its links are followed, and a directory that it has is brought up with its
owner and mode, as the kernel does it for commands.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

from engine.errors import BuildError
from engine.realise import sandbox
from engine.realise.context import BuildContext
from engine.realise.places import MODES


def write(upper: Path, context: BuildContext, name: str, text: str) -> None:
    """Write the file `name` (without a leading "/") over the build's layers, for all to read.

    Raises BuildError when a directory is there, or a file where a directory has to be.
    """
    path = _place(upper, context, f"/{name}")
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)


def link(upper: Path, context: BuildContext, name: str, points_at: str) -> None:
    """Make the symlink `name` (without a leading "/"), in place of what is there. Raises BuildError."""
    parent, _, last = name.rpartition("/")
    path = _place(upper, context, f"/{parent}/_").with_name(last)
    path.unlink(missing_ok=True)
    path.symlink_to(points_at)


def _place(upper: Path, context: BuildContext, path: str) -> Path:
    """Where `path` goes in `upper`, with the directories above it."""
    stack = [upper, *reversed(context.layers)]
    target = PurePosixPath(sandbox.resolve(path, stack))
    if (there := sandbox.lookup(target, stack)) is not None and there.is_dir():
        raise BuildError(
            f"it has a file at {path}, where {_owner(there, context)} has a directory; an image "
            "cannot have both",
            subject=context.name,
        )
    for directory in list(target.parents)[-2::-1]:
        made = upper / directory.relative_to("/")
        if made.is_dir():
            continue
        below = sandbox.lookup(directory, stack)
        if below is not None and not below.is_dir():
            raise BuildError(
                f"it needs a directory at {directory}, where {_owner(below, context)} has a file; an "
                "image cannot have both",
                subject=context.name,
            )
        made.mkdir()
        if below is None:
            made.chmod(MODES.get(str(directory.relative_to("/")), 0o755))
            continue
        info = below.lstat()
        os.chown(made, info.st_uid, info.st_gid)
        made.chmod(stat.S_IMODE(info.st_mode))
    return upper / target.relative_to("/")


def _owner(path: Path, context: BuildContext) -> str:
    """The name of the layer that `path` lies in."""
    for layer, name in zip(context.layers, context.layer_names, strict=True):
        if path.is_relative_to(layer):
            return name
    return "this layer"
