"""Directories that a layer has to bring along with its files: with the modes that Debian's have."""

from __future__ import annotations

from pathlib import Path

MODES = {"root": 0o700, "tmp": 0o1777, "var/tmp": 0o1777}


def make(directory: Path, upper: Path) -> None:
    """Make `directory` and its parents, from `upper` on down."""
    for place in reversed([directory, *directory.parents]):
        if place.is_relative_to(upper) and not place.exists():
            place.mkdir()
            place.chmod(MODES.get(place.relative_to(upper).as_posix(), 0o755))


def make_parents(upper: Path, target: Path) -> None:
    """Make the directories from `upper` down to the one that holds `target`."""
    make(target.parent, upper)
