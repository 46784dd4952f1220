"""What builders that unpack tar archives by hand share.

Written out, not tarfile's `extractall`: its filters (PEP 706) are not in every Python 3.11, and
owners, odd modes and devices of an archive have no place in a layer.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from engine.build import zips
from engine.errors import BuildError

Placing = Callable[[str], "PurePosixPath | None"]


def below(strip: int) -> Placing:
    """Members without their first `strip` directories."""

    def place(name: str) -> PurePosixPath | None:
        parts = PurePosixPath(name).parts[strip:]
        return PurePosixPath(*parts) if parts else None

    return place


def unpack(path: Path, name: str, target: Path, upper: Path, place: Placing | None = None) -> None:
    """Unpack an archive (any compression that tarfile knows) at `target`, which is in `upper`.

    Files keep their times and whether they are executable. Raises BuildError, naming `name`, for
    what is no archive and for members that lead outside.
    """
    place = place or below(0)
    links: list[tuple[Path, Path]] = []
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                where = place(member.name)
                if where is None or where == PurePosixPath("."):
                    continue
                _inside(where, name)
                at = target / where
                zips.directories(at.parent, upper)
                if member.isdir():
                    zips.directories(at, upper)
                elif member.issym():
                    _inside_link(where, member.linkname, name)
                    at.unlink(missing_ok=True)
                    at.symlink_to(member.linkname)
                elif member.islnk():
                    source = place(member.linkname)
                    if source is None:
                        raise BuildError(f"{name}: {member.name} is a link to nothing")
                    _inside(source, name)
                    links.append((target / source, at))
                elif member.isfile():
                    _write(archive, member, at)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BuildError(f"{name}: cannot unpack it: {error}") from error
    for source_path, at in links:
        if not source_path.is_file() or source_path.is_symlink():
            raise BuildError(f"{name}: {at.name} is a link to what is no file of it")
        at.unlink(missing_ok=True)
        shutil.copy2(source_path, at)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, at: Path) -> None:
    source = archive.extractfile(member)
    assert source is not None
    at.unlink(missing_ok=True)
    with source, at.open("xb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
    at.chmod(0o755 if member.mode & 0o111 else 0o644)
    os.utime(at, (member.mtime, member.mtime))


def _inside(where: PurePosixPath, name: str) -> None:
    if where.is_absolute() or ".." in where.parts:
        raise BuildError(f"{name}: it holds a path that leads outside: {where}")


def _inside_link(where: PurePosixPath, target: str, name: str) -> None:
    # Only relative and inside: nothing may be written through a link to somewhere else.
    depth = len(where.parts) - 1
    for part in PurePosixPath(target).parts:
        depth += -1 if part == ".." else 0 if part == "." else 1
        if part == "/" or depth < 0:
            raise BuildError(f"{name}: {where} is a link that leads outside: {target}")
