"""Copies of the project's files that say nothing of this machine: no times, owners or odd modes."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from engine.core.fingerprint import fingerprint
from engine.errors import BuildError
from engine.realise.selection import Selection, SelectionError
from store.model import SOURCE_DATE_EPOCH


def snapshot(selection: Selection, target: Path, content: str, name: str) -> None:
    """Copy what a selection takes; `content` is its fingerprint.

    Raises BuildError, which names `name`, when it has another one by now.
    """
    source, top = Path(selection.path), os.fsencode(selection.path)

    def left_out(directory: str, names: list[str]) -> list[str]:
        inside = os.fsencode(directory)[len(top) + 1 :]
        return [
            n
            for n in names
            if os.path.join(inside, os.fsencode(n)) in omit or _is_special(f"{directory}/{n}")  # noqa: PTH118
        ]

    try:
        omit = selection.left_out()
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, ignore=left_out)
        else:
            shutil.copyfile(source, target)
            shutil.copymode(source, target)
        _normalise(target)
        same = fingerprint(target) == content
    except shutil.Error as error:
        raise BuildError(f"cannot copy {source}: {error.args[0][0][2]}", subject=name) from error
    except SelectionError as error:
        raise BuildError(str(error), subject=name) from error
    if not same:
        raise BuildError(f"{source} changed while it was copied", subject=name, advice="build again")


def _is_special(path: str) -> bool:
    mode = os.lstat(path).st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))


def _normalise(path: Path) -> None:
    """Owner root; modes from the executable bit alone, as git keeps them; the time of all files
    that a build makes, for when they were copied here is no part of their content."""
    info = path.lstat()
    os.chown(path, 0, 0, follow_symlinks=False)
    if not stat.S_ISLNK(info.st_mode):
        path.chmod(0o755 if stat.S_ISDIR(info.st_mode) or info.st_mode & 0o111 else 0o644)
    if stat.S_ISDIR(info.st_mode):
        for child in path.iterdir():
            _normalise(child)
    os.utime(path, (SOURCE_DATE_EPOCH, SOURCE_DATE_EPOCH), follow_symlinks=False)
