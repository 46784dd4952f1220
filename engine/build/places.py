"""Directories that a layer has to bring along with its files: with the modes that Debian's have."""

from __future__ import annotations

from pathlib import Path

_MODES = {"root": 0o700, "tmp": 0o1777, "var/tmp": 0o1777}


def make_parents(upper: Path, target: Path) -> None:
    """Make the directories from `upper` down to the one that holds `target`."""
    for parent in reversed(target.relative_to(upper).parents):
        directory = upper / parent
        directory.mkdir(exist_ok=True)
        directory.chmod(_MODES.get(parent.as_posix(), 0o755))
