"""What builders that unpack zip archives by hand share."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path

from engine.core import zip_files
from engine.errors import BuildError
from engine.realise import places
from store import archives


def extract(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, upper: Path, *, executable: bool = False
) -> None:
    """Write one member to `target`, in `upper`; executable when it says so itself, or `executable`.

    Nothing is written through a link that another archive has made there. Raises BuildError for a name
    that cannot be, zipfile.BadZipFile, OSError.
    """
    name = archives.shown(member.filename)
    _check_name(name, target, upper)
    try:
        places.make(target.parent, upper)
        with zip_files.faults_as_bad_zips(), archive.open(member) as source:
            if target.is_symlink():
                target.unlink()
            with target.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
    except (IsADirectoryError, NotADirectoryError, FileExistsError) as error:
        raise BuildError(f"'{name}' is both a file and a directory") from error
    except zipfile.BadZipFile as error:
        raise zipfile.BadZipFile(f"'{name}': {error}") from error
    target.chmod(0o755 if executable or (member.external_attr >> 16) & 0o111 else 0o644)


def _check_name(name: str, target: Path, upper: Path) -> None:
    if not target.is_relative_to(upper) or ".." in target.parts:
        raise BuildError(f"'{name}' leads outside of the archive")
    raw = str(target.relative_to(upper)).encode("utf-8", "surrogatepass")
    if len(raw) > archives.LONGEST_PATH or any(len(part) > archives.LONGEST_NAME for part in raw.split(b"/")):
        raise BuildError(f"'{name}': its name is too long")
    if any(ord(c) < 0x20 or 0xD800 <= ord(c) <= 0xDFFF or c == "\x7f" for c in str(target)):
        raise BuildError(f"'{name}': its name holds a control character")
    for directory in target.parents:
        if directory == upper:
            return
        if directory.is_symlink():
            raise BuildError(f"'{name}' would be written through a symbolic link")
        if stat.S_ISREG(directory.lstat().st_mode if directory.exists() else 0):
            raise BuildError(f"'{name}' is both a file and a directory")
    raise BuildError(f"'{name}' leads outside of the archive")
