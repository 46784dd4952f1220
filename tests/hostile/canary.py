"""What belongs to the host, beside what hostile input is unpacked into."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Canary:
    """A directory of the host's, which anybody may write, and all that it holds."""

    directory: Path
    before: dict[str, tuple[object, ...]]

    @property
    def path(self) -> bytes:
        """Absolute, as an attacker writes it."""
        return os.fsencode(self.directory)

    def unharmed(self) -> bool:
        """Whether it is as it was: names, modes, owners, times, links to its files, contents."""
        return state(self.directory) == self.before


def make(place: Path, names: Sequence[str] = ()) -> Canary:
    """A canary below `place`, with files `names` beside its usual ones."""
    directory = place / "victim"
    for name in ("file", "dir/file", "dir/deep/file", *names):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("the host's own\n")
        path.chmod(0o666)
    for path in (directory, *(p for p in directory.rglob("*") if p.is_dir())):
        path.chmod(0o777)
    return Canary(directory, state(directory))


def state(directory: Path) -> dict[str, tuple[object, ...]]:
    """All that there is to know of what is below `directory`, and of itself."""
    found: dict[str, tuple[object, ...]] = {}
    for path in (directory, *directory.rglob("*")):
        info = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(info.st_mode) else b""
        attributes = {
            n: os.getxattr(path, n, follow_symlinks=False) for n in os.listxattr(path, follow_symlinks=False)
        }
        found[str(path)] = (
            info.st_mode,
            info.st_uid,
            info.st_gid,
            info.st_mtime_ns,
            info.st_nlink,
            content,
            tuple(sorted(attributes.items())),
        )
    return found
