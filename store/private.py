"""The store is its owner's alone: directories 0700, files 0600.

Unpacked trees hold files as they are in images: some are setuid root, some are secret. Behind
directories that nobody else can enter, neither can be used by another user of the machine; nor can
the locks be held, or the files replaced. What is made in there has modes of its own, which are an
image's.

A directory that is open to others is the mark of a store that an older envd has made: what is in it
is closed first, one file at a time, then the directory. So that happens once.
"""

from __future__ import annotations

import errno
import grp
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from store import notices
from store.errors import ReadOnlyError, StoreError, not_writable, user_name

DIRECTORIES = ("blobs", "blobs/sha256", "trees", "tmp", "locks")
_LATER = ("cache",)  # made by whoever needs it
_DATABASE = "db.sqlite"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_NO_MODES = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


def prepare(path: Path) -> None:
    """Make the directories of the store at `path` where they are missing, and close to others what
    is open. Raises StoreError (ReadOnlyError when it is another user's), OSError."""
    fresh = not os.path.lexists(path / _DATABASE)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in DIRECTORIES:
        (path / name).mkdir(mode=0o700, exist_ok=True)
    places = [path / name for name in (*DIRECTORIES, *_LATER) if os.path.lexists(path / name)]
    _check_owners(path, places)
    top = path.stat()
    own = not stat.S_IMODE(top.st_mode) & _OTHERS or _is_all_ours(path)
    still_open = [p for p in places if p.stat().st_mode & _OTHERS]
    if still_open or (own and top.st_mode & _OTHERS):
        _close_files(path)
        # `blobs` is below itself: deepest first, the top last.
        left = [p for p in [*still_open[::-1], *([path] if own else [])] if not _close(p, 0o700)]
        if left:
            notices.once(
                "store",
                f"{path}: its file system does not keep modes: other users of this machine may be able "
                "to use what is in the store; ENVD_STORE chooses another place",
            )
        elif still_open and not fresh:
            notices.say("store", f"{path}: was open to other users; it is yours alone now")
    if not own:
        _check_top(path, top)
    file = path / _DATABASE
    with suppress(FileExistsError):
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    if file.stat().st_mode & _OTHERS:
        _close(file, 0o600)


def _check_owners(path: Path, places: list[Path]) -> None:
    """Raise ReadOnlyError when another user made the store, or a part of it.

    Only the top may be another's: a directory that was prepared for us (a volume of a container's).
    """
    me = os.geteuid()
    for place in places:
        for info in (place.lstat(), place.stat()):  # the link too, when it is one to another disk
            if info.st_uid != me:
                raise ReadOnlyError(not_writable(path, _why(info.st_uid)))
    owner = path.stat().st_uid
    if me != 0 and owner not in (me, 0, _overflow()):
        raise ReadOnlyError(not_writable(path, _why(owner)))


def _why(uid: int) -> str:
    user = user_name(uid)
    if os.geteuid() != 0:
        return f": it belongs to another user ({user})"
    return (
        f": it belongs to another user ({user}), to whom what root puts there is of no use; run "
        f"envd as {user}"
    )


def _overflow() -> int:
    """The uid that a user namespace shows for users that it does not have, such as the real root."""
    try:
        return int(Path("/proc/sys/kernel/overflowuid").read_text("ascii"))
    except (OSError, ValueError):
        return 65534


def _is_all_ours(path: Path) -> bool:
    """Whether the directory is there for the store alone, and is ours: then its mode is, too."""
    names = {name.partition("/")[0] for name in (*DIRECTORIES, *_LATER)} | {"lost+found"}
    return path.stat().st_uid == os.geteuid() and all(
        name in names or name.startswith(_DATABASE)
        for name in os.listdir(path)  # noqa: PTH208
    )


def _check_top(path: Path, top: os.stat_result) -> None:
    """Raise StoreError when others could put something of theirs in the store's place."""
    if top.st_mode & stat.S_ISVTX or not top.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return
    if not top.st_mode & stat.S_IWOTH and _is_private_group(top.st_gid):
        return
    raise StoreError(
        f"{path}: others may write to this directory (mode {stat.S_IMODE(top.st_mode):04o}), and so "
        f"replace the store in it; give the store a directory of its own: ENVD_STORE={path / 'envd'}"
    )


def _is_private_group(gid: int) -> bool:
    """Whether the group is this user's own, as useradd(8) makes one for each."""
    if gid != os.getegid():
        return False
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return False
    user = user_name(os.geteuid())
    return group.gr_name == user and set(group.gr_mem) <= {user}


# -- closing ----------------------------------------------------------------------------------


def _close_files(path: Path) -> None:
    """Close the files of a store whose directories were open, and take device nodes away: from a
    tree that has one the whole tree, which is unpacked anew when it is needed."""
    for file in _files(path):
        with suppress(FileNotFoundError):
            _close(file, 0o600)
    if not (path / "trees").stat().st_mode & _OTHERS:
        return
    for tree in os.scandir(path / "trees"):
        if _holds_devices(tree.path):
            # Not removed: another build may have it as a lower directory just now.
            with suppress(FileNotFoundError):
                os.rename(tree.path, path / "tmp" / f"devices-{tree.name[:16]}-{os.urandom(4).hex()}")  # noqa: PTH104


def _files(path: Path) -> Iterator[Path]:
    yield from path.glob(f"{_DATABASE}*")
    for directory in ("locks", "blobs/sha256"):
        if (path / directory).stat().st_mode & _OTHERS:
            for entry in os.scandir(path / directory):
                if entry.is_file(follow_symlinks=False):
                    yield Path(entry.path)


def _holds_devices(tree: str) -> bool:
    """Whether a tree has a device node that is not overlayfs's mark of a removed file."""
    todo = [tree]
    while todo:
        try:
            entries = list(os.scandir(todo.pop()))
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                todo.append(entry.path)
            elif not entry.is_file(follow_symlinks=False) and not entry.is_symlink():
                info = entry.stat(follow_symlinks=False)
                if stat.S_ISBLK(info.st_mode) or (stat.S_ISCHR(info.st_mode) and info.st_rdev):
                    return True
    return False


def _close(path: Path, mode: int) -> bool:
    """Give a file or directory a mode; whether it has it then."""
    try:
        path.chmod(mode)
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise
        return False
    return not path.stat().st_mode & _OTHERS
