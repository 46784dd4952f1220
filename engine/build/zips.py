"""What builders that unpack zip archives by hand share."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path


def directories(path: Path, upper: Path) -> None:
    """Make `path` and its parents up to `upper`, with the modes that an image has."""
    for directory in reversed([path, *path.parents]):
        if directory.is_relative_to(upper) and not directory.exists():
            directory.mkdir()
            directory.chmod(0o700 if directory == upper / "root" else 0o755)


def extract(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, upper: Path,
    *, executable: bool = False,
) -> None:
    """Write one member to `target`; executable when it says so itself, or `executable`."""
    directories(target.parent, upper)
    with archive.open(member) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
    target.chmod(0o755 if executable or (member.external_attr >> 16) & 0o111 else 0o644)
