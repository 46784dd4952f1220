"""What builders that unpack tar archives by hand share.

Written out, not tarfile's `extractall`: its filters (PEP 706) are not in every Python 3.11, and
owners, odd modes and devices of an archive have no place in a layer.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

from engine.build import places
from engine.errors import BuildError


def unpack(
    path: Path, into: Path, upper: Path, place: Callable[[str], Path | None], *,
    executable: bool = False, times: bool = False,
) -> int:
    """Unpack a tar (of any compression that tarfile knows) below `into`, in `upper`.

    `place` says where a member goes, None when it is not taken. `executable` marks all files so;
    `times` keeps theirs, for sources whose build rules compare them. Returns how many files there
    were. Nothing is written through a symbolic link, and none leads out of `into`.

    Raises BuildError for an archive that is not safe, and tarfile's own errors.
    """
    count = 0
    made: set[Path] = set()
    with tarfile.open(path) as archive:
        for member in archive:
            target = place(member.name)
            if target is None:
                continue
            _parents(target, upper, made)
            if member.isdir():
                places.make(target, upper)
                continue
            count += 1
            if target.is_symlink() or target.is_file():
                target.unlink()  # the last of a name is the one that counts, as for tar(1)
            if member.issym():
                _check_link(member, target, into)
                target.symlink_to(member.linkname)
            elif member.islnk():
                source = place(member.linkname)
                if source is None or not source.is_file() or source.is_symlink():
                    raise BuildError(f"'{member.name}' is a hard link to nothing that is there")
                target.hardlink_to(source)
            elif (content := archive.extractfile(member)) is not None:
                with content, target.open("xb") as file:
                    shutil.copyfileobj(content, file, 1 << 20)
                target.chmod(0o755 if executable or member.mode & 0o111 else 0o644)
                if times:
                    os.utime(target, (member.mtime, member.mtime))
            else:
                raise BuildError(f"'{member.name}' is neither a file, a directory nor a link")
    return count


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
        raise BuildError(f"'{member.name}' links to '{member.linkname}', outside of the archive")
