"""What builders that unpack zip archives by hand share."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from engine.build import places


def extract(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, upper: Path,
    *, executable: bool = False,
) -> None:
    """Write one member to `target`; executable when it says so itself, or `executable`."""
    places.make(target.parent, upper)
    with archive.open(member) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
    target.chmod(0o755 if executable or (member.external_attr >> 16) & 0o111 else 0o644)
