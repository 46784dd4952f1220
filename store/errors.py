"""What can go wrong in the store."""

from __future__ import annotations

import errno
import os
import pwd

TYPE_CHECKING = False  # typing costs start-up
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from store.model import Object

_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
# With room for less than this, a disk is full: bytes, files.
_NEARLY_NOTHING, _FEW = 1 << 20, 8


class StoreError(Exception):
    """Base of the store's errors. Its text is one clear sentence for the user."""


class CorruptError(StoreError):
    """Stored bytes do not match their address."""


class TooLargeError(CorruptError):
    """Something from elsewhere is larger than it may be. Says which limit it is and how to raise it."""


class UnstorableError(StoreError):
    """A file that cannot be in a layer. Names the file."""


class LostError(StoreError):
    """Layers (`items`) whose bytes were elsewhere cannot be had any more: they have to be built. Names
    the place."""

    def __init__(self, items: Sequence[Object], text: str) -> None:
        first, more = items[0].name, len(items) - 1
        super().__init__(f"{first}{f' and {more} more' if more else ''}: {text}")
        self.items = tuple(items)


class DamagedError(StoreError):
    """The store's database cannot be trusted. Nothing was changed."""


class UnmadeError(DamagedError):
    """The store's database has nothing in it: whoever made it was stopped."""


class ReadOnlyError(StoreError):
    """The store cannot be written by this process."""


class SettingError(StoreError):
    """A variable of the environment cannot be used as it is. Says which, and how to write it."""

    exit_code = 2  # of a command that it ends


class RegistryError(StoreError):
    """A registry refused, or answered something unusable. Names the registry and the reference."""


class BrokenOffError(RegistryError):
    """The connection to a registry broke while a blob was read: worth another attempt."""


class DeniedError(RegistryError):
    """A registry refuses access to a repository."""


def full(path: Path) -> str:
    """What is said when the disk of the store at `path` is full."""
    what = "space" if _bytes_free(path) < _NEARLY_NOTHING or not disk_full(path) else "inodes"
    return (
        f"{path}: no {what} left on the store's disk; run `envd prune`, or choose another store with "
        "ENVD_STORE"
    )


def not_writable(path: Path, why: str = "") -> str:
    """What is said of a store at `path` that this process cannot write, and why, if that is known."""
    return f"{path}: cannot write the store{why or _why(path)}; choose another with ENVD_STORE"


def not_readable(path: Path) -> str:
    """What is said of a store at `path` that this process may not even look into."""
    return f"{path}: cannot read the store{_why(path)}; choose another with ENVD_STORE"


def _why(path: Path) -> str:
    try:
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            return ": its file system is read-only"
        owner = path.stat().st_uid
    except OSError:
        return ""
    if owner in (os.geteuid(), 0) and os.geteuid() == 0:
        return ""
    if owner == os.geteuid():
        return ": its permissions do not allow it"
    return f": it belongs to another user ({user_name(owner)})"


def user_name(uid: int) -> str:
    """What a user is called, for a message."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def explained(error: OSError, path: Path) -> str | None:
    """An error of the file system in one sentence with advice, when it is one of the store at
    `path`: its disk is full, or it may not be written. None for any other."""
    name = str(error.filename or "")
    if error.errno in _FULL and (not name or inside(name, path) or disk_full(path)):
        return full(path)
    if error.errno in _DENIED and inside(name, path):
        return not_writable(path)
    return None


def _bytes_free(path: Path) -> int:
    try:
        found = os.statvfs(path)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def inside(name: str, path: Path) -> bool:
    """Whether a file's name lies below `path`."""
    return (os.path.abspath(name) + "/").startswith(f"{os.path.abspath(path)}/")  # noqa: PTH100


def disk_full(path: Path, bytes_: int = _NEARLY_NOTHING, files: int = _FEW) -> bool:
    """Whether less than so much room [next to none] is left on the file system of `path`, or for
    fewer files (some file systems do not count them)."""
    try:
        found = os.statvfs(path)
    except OSError:
        return False
    few = bool(found.f_files) and found.f_favail < files
    return few or found.f_bavail * found.f_frsize < bytes_
