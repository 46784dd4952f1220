"""Layers: a directory in overlayfs upper form -> one canonical tar.

Form: PAX/ustar (IEEE 1003.1-2001) with OCI whiteouts (image-spec, layer.md): a character
device 0:0 becomes `.wh.NAME`, an opaque directory gains `.wh..wh..opq`. Entries are sorted by
their path's bytes, parents first; mtimes are whole seconds clamped to an epoch; owners are
numbers only; the root directory itself has no entry.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
AUFS = ".wh..wh."
_OPAQUE_XATTRS = ("trusted.overlay.opaque", "user.overlay.opaque")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class _Entry:
    path: str  # absolute, on disk
    name: str  # in the tar
    info: os.stat_result


def _walk(directory: str, prefix: str) -> Iterator[_Entry]:
    with os.scandir(directory) as listing:
        children = sorted(listing, key=lambda e: os.fsencode(e.name))
    for child in children:
        info = child.stat(follow_symlinks=False)
        entry = _Entry(child.path, prefix + child.name, info)
        yield entry
        if stat.S_ISDIR(info.st_mode):
            yield from _walk(child.path, f"{prefix}{child.name}/")


def _xattrs(entry: _Entry) -> list[str]:
    try:
        return os.listxattr(entry.path, follow_symlinks=False)
    except OSError:
        return []


def is_opaque(path: str) -> bool:
    """Whether a directory in upper form hides everything below it."""
    for name in _OPAQUE_XATTRS:
        try:
            if os.getxattr(path, name, follow_symlinks=False) == b"y":
                return True
        except OSError:
            continue
    return False


def is_whiteout(info: os.stat_result) -> bool:
    """Whether an entry in upper form says that the file below is gone."""
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def _header(name: str, entry: _Entry, epoch: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mode = stat.S_IMODE(entry.info.st_mode)
    member.uid, member.gid = entry.info.st_uid, entry.info.st_gid
    member.mtime = min(int(entry.info.st_mtime), epoch)
    return member


def _marker(name: str, epoch: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mode = 0o644
    member.mtime = epoch
    return member


def write_tar(tree: Path, write: Callable[[bytes], None], epoch: int) -> int:
    """Write the canonical tar of `tree` through `write`; its size in bytes.

    Raises OSError when the tree cannot be read.
    """
    linked: dict[tuple[int, int], str] = {}
    total = 0

    def put(data: bytes) -> None:
        nonlocal total
        total += len(data)
        write(data)

    def put_header(member: tarfile.TarInfo) -> None:
        put(member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))

    if is_opaque(str(tree)):
        put_header(_marker(OPAQUE, epoch))
    for entry in _walk(str(tree), ""):
        mode = entry.info.st_mode
        if stat.S_ISSOCK(mode):
            continue
        if is_whiteout(entry.info):
            parent, _, last = entry.name.rpartition("/")
            put_header(_marker(f"{parent}/{WHITEOUT}{last}" if parent else WHITEOUT + last, epoch))
            continue
        member = _header(entry.name, entry, epoch)
        attributes = {
            f"SCHILY.xattr.{name}": os.getxattr(
                entry.path, name, follow_symlinks=False
            ).decode("utf-8", "surrogateescape")
            for name in sorted(_xattrs(entry))
            if name == "security.capability"
            or (name.startswith("user.") and not name.startswith("user.overlay."))
        }
        if attributes:
            member.pax_headers = attributes
        if stat.S_ISDIR(mode):
            member.type = tarfile.DIRTYPE
            member.name += "/"
            put_header(member)
            if is_opaque(entry.path):
                put_header(_marker(f"{entry.name}/{OPAQUE}", epoch))
            continue
        if stat.S_ISLNK(mode):
            member.type = tarfile.SYMTYPE
            member.linkname = str(Path(entry.path).readlink())
            put_header(member)
            continue
        if stat.S_ISREG(mode):
            key = (entry.info.st_dev, entry.info.st_ino)
            if entry.info.st_nlink > 1 and key in linked:
                member.type = tarfile.LNKTYPE
                member.linkname = linked[key]
                put_header(member)
                continue
            linked[key] = entry.name
            member.size = entry.info.st_size
            put_header(member)
            _put_content(entry.path, member.size, put)
            continue
        member.type = {
            stat.S_IFCHR: tarfile.CHRTYPE, stat.S_IFBLK: tarfile.BLKTYPE,
            stat.S_IFIFO: tarfile.FIFOTYPE,
        }[stat.S_IFMT(mode)]
        member.devmajor, member.devminor = os.major(entry.info.st_rdev), os.minor(
            entry.info.st_rdev
        )
        put_header(member)
    put(b"\0" * (2 * tarfile.BLOCKSIZE))
    return total


def _put_content(path: str, size: int, put: Callable[[bytes], None]) -> None:
    left = size
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - hot path
        while left:
            data = file.read(min(left, _CHUNK))
            if not data:
                raise OSError(f"{path} shrank while it was read")
            put(data)
            left -= len(data)
    if padding := -size % tarfile.BLOCKSIZE:
        put(b"\0" * padding)


def clamp_times(tree: Path, epoch: int) -> None:
    """Set mtimes on disk to what the tar says, so that tree and tar agree."""
    # Children first: touching a child does not move its parent's mtime, but order is cheap.
    for entry in _walk(str(tree), ""):
        when = min(int(entry.info.st_mtime), epoch)
        if entry.info.st_mtime_ns != when * 1_000_000_000:
            os.utime(entry.path, (when, when), follow_symlinks=False)
