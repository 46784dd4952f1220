"""Copies of the project's files that say nothing of this machine: no times, owners or odd modes."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from engine.errors import BuildError
from engine.fingerprint import fingerprint


def snapshot(
    source: Path, target: Path, content: str, name: str, omit: frozenset[bytes] = frozenset()
) -> None:
    """Copy a file or a tree, less what `omit` names at its top; `content` is its fingerprint.

    Raises BuildError, which names `name`, when it has another one by now.
    """
    top = str(source)

    def left_out(directory: str, names: list[str]) -> list[str]:
        return [
            n for n in names
            if (directory == top and os.fsencode(n) in omit) or _is_special(f"{directory}/{n}")
        ]

    try:
        if source.is_dir():
            shutil.copytree(top, target, symlinks=True, ignore=left_out)
        else:
            shutil.copyfile(source, target)
            shutil.copymode(source, target)
        _normalise(target)
        same = fingerprint(target) == content
    except shutil.Error as error:
        raise BuildError(f"{name}: cannot copy {source}: {error.args[0][0][2]}") from error
    if not same:
        raise BuildError(f"{name}: {source} changed while it was copied; build again")


def _is_special(path: str) -> bool:
    mode = os.lstat(path).st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))


def _normalise(path: Path) -> None:
    """Owner root; modes from the executable bit alone, as git keeps them."""
    info = path.lstat()
    os.chown(path, 0, 0, follow_symlinks=False)
    if stat.S_ISLNK(info.st_mode):
        return
    if stat.S_ISDIR(info.st_mode):
        path.chmod(0o755)
        for child in path.iterdir():
            _normalise(child)
        # Its own time says when it was copied here: no part of its content.
        os.utime(path, (0, 0))
        return
    path.chmod(0o755 if info.st_mode & 0o111 else 0o644)
    os.utime(path, (0, 0))
