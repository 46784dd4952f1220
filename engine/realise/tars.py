"""What builders that unpack tar archives by hand share.

Written out, not tarfile's `extractall`: its filters (PEP 706) are not in every Python 3.11, and
owners, odd modes and devices of an archive have no place in a layer. Nothing of it is found by
following what an earlier member has made: see `engine.realise.confined`.
"""

from __future__ import annotations

import os
import re
import stat
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import BuildError
from engine.realise import confined, places
from store import archives


def unpack(
    path: Path,
    into: Path,
    upper: Path,
    place: Callable[[str], Path | None],
    *,
    executable: bool = False,
    times: bool = False,
) -> int:
    """Unpack a tar (of any compression that tarfile knows) below `into`, in `upper`.

    `place` says where a member goes, None when it is not taken. `executable` marks all files so;
    `times` keeps theirs, for sources whose build rules compare them. Returns how many files there
    were. Nothing is written through a symbolic link, and none leads out of `into`.

    Raises BuildError for an archive that is not safe, and tarfile's own errors.
    """
    where = _Where(place, into, upper, executable, times)
    count = 0
    made: set[Path] = set()
    climbing: dict[Path, str] = {}  # links of which only the whole tree says where they lead
    with archives.opened(path) as archive:
        for member in archives.members(archive):
            target = place(member.name)
            if target is None:
                continue
            with archives.naming(member, BuildError):
                _parents(target, upper, made)
                count += _member(archive, member, target, where)
            if member.issym() and _climbs_after_a_name(member.linkname):
                climbing[target] = member.linkname
    for target, link in climbing.items():
        _check_climbing(target, link, upper)
    return count


@dataclass(frozen=True)
class _Where:
    """What `unpack` was told."""

    place: Callable[[str], Path | None]
    into: Path
    upper: Path
    executable: bool
    times: bool


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path, where: _Where) -> int:
    """Make one member; 1 when it is not a directory."""
    name = archives.shown(member.name)
    there = _lstat(target)  # the directories above it are no links: see `_parents`
    if member.isdir():
        if there is None:
            places.make(target, where.upper)
        elif not stat.S_ISDIR(there.st_mode) and not stat.S_ISLNK(there.st_mode):
            raise BuildError(f"'{name}' is both a file and a directory")
        return 0
    if there is not None:
        if stat.S_ISDIR(there.st_mode):
            raise BuildError(f"'{name}' is both a directory and a file")
        target.unlink()  # the last of a name is the one that counts, as for tar(1)
    if member.issym():
        _check_link(member, target, where.into)
        target.symlink_to(member.linkname)
    elif member.islnk():
        source = where.place(member.linkname)
        found = None if source is None else confined.lstat(where.upper, _below(source, where.upper))
        if source is None or found is None or not stat.S_ISREG(found.st_mode):
            raise BuildError(f"'{name}' is a hard link to a file that does not exist")
        target.hardlink_to(source)
    elif member.isreg():
        with target.open("xb") as file:
            archives.copy(archive, member, file.write)
        target.chmod(0o755 if where.executable or member.mode & 0o111 else 0o644)
        if where.times:
            os.utime(target, (member.mtime, member.mtime))
    else:
        raise BuildError(f"'{name}' is neither a file, a directory nor a link")
    return 1


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _below(path: Path, upper: Path) -> str:
    return path.relative_to(upper).as_posix()


def _parents(target: Path, upper: Path, made: set[Path]) -> None:
    """Make the directories above `target`; none of them may be a symbolic link."""
    parent = target.parent
    if parent in made:
        return
    for directory in [parent, *parent.parents]:
        if directory == upper:
            break
        if directory.is_symlink():
            raise BuildError(f"'{target.name}' would be written through a symbolic link")
    places.make(parent, upper)
    made.add(parent)


def _check_link(member: tarfile.TarInfo, target: Path, into: Path) -> None:
    reached = Path(os.path.normpath(target.parent / member.linkname))
    if member.linkname.startswith("/") or not reached.is_relative_to(into):
        raise BuildError(
            f"'{archives.shown(member.name)}' links to '{archives.shown(member.linkname)}', outside of "
            "the archive"
        )


def _climbs_after_a_name(link: str) -> bool:
    return re.search(r"(?<![^/])(?!\.\.?(/|$))[^/]+/(.*/)?\.\.(/|$)", link) is not None


def _check_climbing(target: Path, link: str, upper: Path) -> None:
    """`_check_link` for a link with ".." after a name, when all is there: if that name is a link, ".."
    is another directory than the text says."""
    here = target.parent
    for part in link.rpartition("..")[0].split("/"):
        if part == "..":
            here = here.parent
            if not here.is_relative_to(upper):
                raise BuildError(f"'{archives.shown(link)}' leads outside of the archive")
        elif part not in ("", "."):
            here = here / part
            found = confined.lstat(upper, _below(here, upper))
            if found is not None and stat.S_ISLNK(found.st_mode):
                raise BuildError(
                    f"'{archives.shown(target.name)}' links to '{archives.shown(link)}', which climbs "
                    "through another link"
                )
