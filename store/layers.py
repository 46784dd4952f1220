"""Layers: a directory in overlayfs upper form -> one canonical tar.

Form: PAX/ustar (IEEE 1003.1-2001) with OCI whiteouts (image-spec, layer.md): a character
device 0:0 becomes `.wh.NAME`, an opaque directory gains `.wh..wh..opq`. Entries are sorted by
their path's bytes, parents first; mtimes are whole seconds clamped to an epoch; owners are
numbers only; the root directory itself has no entry.

Names, link targets and attributes are bytes, as the kernel has them: what is written does not
depend on the machine's locale. `as_text` and `as_bytes` are the one way between them and the
strings that `tarfile` wants. A name that is not UTF-8 goes into a PAX record as it is, marked
`hdrcharset=BINARY` (POSIX pax, "pax Extended Header"); Docker, umoci and tar(1) take it so.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from store.errors import UnstorableError

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
AUFS = ".wh..wh."
_CAP_SYS_ADMIN = 21
_CHUNK = 1 << 20


# How a name's bytes are a string, and back, in tars: whatever the machine's own encoding is.
ENCODING, ERRORS = "utf-8", "surrogateescape"


def as_text(name: bytes) -> str:
    """A name's bytes as the string that stands for them in a tar's members."""
    return name.decode(ENCODING, ERRORS)


def as_bytes(name: str) -> bytes:
    """The bytes of a name, link target or attribute of a tar's member."""
    return name.encode(ENCODING, ERRORS)


def printable(name: bytes) -> str:
    """A name for a message: what cannot be printed is escaped."""
    text = name.decode(ENCODING, "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def check_name(name: bytes) -> None:
    """Raise UnstorableError for a path of which a part means something else inside a layer.

    In a layer a file `.wh.NAME` says that NAME is gone (image-spec, layer.md, "Whiteouts"): it
    would not be there itself, and would take away a file of the layers below.
    """
    for part in name.split(b"/"):
        if part.startswith(WHITEOUT.encode()):
            raise UnstorableError(
                f"'{printable(name)}': a file whose name begins with \".wh.\" cannot be in an "
                "image: there such a name says that another file is removed; rename it or "
                "leave it out"
            )


@dataclass(frozen=True)
class _Entry:
    path: bytes  # absolute, on disk
    name: bytes  # in the tar
    info: os.stat_result


def _walk(root: bytes) -> Iterator[_Entry]:
    todo = _children(root, b"")[::-1]
    while todo:
        entry = todo.pop()
        yield entry
        if stat.S_ISDIR(entry.info.st_mode):
            todo += _children(entry.path, entry.name + b"/")[::-1]


def _children(directory: bytes, prefix: bytes) -> list[_Entry]:
    try:
        listing = os.scandir(directory)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise UnstorableError(
            f"'{printable(prefix[:60])}…' ({prefix.count(b'/')} directories deep): its path is too long "
            "to be in an image; remove it"
        ) from error
    with listing:
        return [
            _Entry(child.path, prefix + child.name, child.stat(follow_symlinks=False))
            for child in sorted(listing, key=lambda e: e.name)
        ]


def _attributes(entry: _Entry) -> dict[str, str]:
    """The extended attributes that a layer keeps, as PAX records."""
    try:
        names = sorted(os.fsencode(name) for name in os.listxattr(entry.path, follow_symlinks=False))
    except OSError:
        return {}
    found = {}
    for name in names:
        if name != b"security.capability" and (
            not name.startswith(b"user.") or name.startswith(b"user.overlay.")
        ):
            continue
        key = as_text(name)
        if "=" in key or not key.isprintable():  # surrogates are not printable
            raise UnstorableError(
                f"'{printable(entry.name)}': its extended attribute '{printable(name)}' cannot be "
                "in an image; remove it"
            )
        value = os.getxattr(entry.path, name, follow_symlinks=False)
        found[f"SCHILY.xattr.{key}"] = as_text(value)
    return found


@cache
def opaque_mark() -> str:
    """The attribute by which overlayfs marks a directory opaque for this process: trusted.* for who
    may mount in the machine's own user namespace, user.* elsewhere (xattr(7), overlayfs.rst).

    Only the one: where the mark is trusted.*, a build step may give any file a user.* of that name,
    and overlayfs takes no notice.
    """
    with open("/proc/self/uid_map", encoding="ascii") as file:
        mapped = file.read().split() != ["0", "0", "4294967295"]
    with open("/proc/self/status", "rb") as file:
        able = next(int(line.split()[1], 16) for line in file if line.startswith(b"CapEff:"))
    trusted = not mapped and able >> _CAP_SYS_ADMIN & 1
    return "trusted.overlay.opaque" if trusted else "user.overlay.opaque"


def is_opaque(path: str | bytes) -> bool:
    """Whether a directory in upper form hides everything below it."""
    try:
        return os.getxattr(path, opaque_mark(), follow_symlinks=False) == b"y"
    except OSError:
        return False


def is_whiteout(info: os.stat_result) -> bool:
    """Whether an entry in upper form says that the file below is gone."""
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def _header(entry: _Entry, epoch: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(as_text(entry.name))
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

    Raises OSError when the tree cannot be read, UnstorableError for what cannot be in a layer.
    """
    root = os.fsencode(tree)
    linked: dict[tuple[int, int], bytes] = {}
    total = 0

    def put(data: bytes) -> None:
        nonlocal total
        total += len(data)
        write(data)

    def put_header(member: tarfile.TarInfo) -> None:
        put(member.tobuf(tarfile.PAX_FORMAT, ENCODING, ERRORS))

    if is_opaque(root):
        put_header(_marker(OPAQUE, epoch))
    for entry in _walk(root):
        mode = entry.info.st_mode
        if stat.S_ISSOCK(mode):
            continue
        if b".wh." in entry.name:  # cheap: few names have it anywhere
            check_name(entry.name)
        if is_whiteout(entry.info):
            parent, _, last = as_text(entry.name).rpartition("/")
            put_header(_marker(f"{parent}/{WHITEOUT}{last}" if parent else WHITEOUT + last, epoch))
            continue
        member = _header(entry, epoch)
        if attributes := _attributes(entry):
            member.pax_headers = attributes
        if stat.S_ISDIR(mode):
            member.type = tarfile.DIRTYPE
            member.name += "/"
            put_header(member)
            if is_opaque(entry.path):
                put_header(_marker(f"{as_text(entry.name)}/{OPAQUE}", epoch))
            continue
        if stat.S_ISREG(mode):
            key = (entry.info.st_dev, entry.info.st_ino)
            if entry.info.st_nlink > 1 and key in linked:
                member.type = tarfile.LNKTYPE
                member.linkname = as_text(linked[key])
                put_header(member)
                continue
            linked[key] = entry.name
            member.size = entry.info.st_size
            put_header(member)
            _put_content(entry.path, member.size, put)
            continue
        _set_special(member, entry)
        put_header(member)
    put(b"\0" * (2 * tarfile.BLOCKSIZE))
    return total


def _set_special(member: tarfile.TarInfo, entry: _Entry) -> None:
    """What the header of a symlink, a device or a pipe has beyond that of a file."""
    kind = stat.S_IFMT(entry.info.st_mode)
    if kind == stat.S_IFLNK:
        member.type = tarfile.SYMTYPE
        member.linkname = as_text(os.readlink(entry.path))
        return
    member.type = {
        stat.S_IFCHR: tarfile.CHRTYPE,
        stat.S_IFBLK: tarfile.BLKTYPE,
        stat.S_IFIFO: tarfile.FIFOTYPE,
    }[kind]
    device = entry.info.st_rdev
    member.devmajor, member.devminor = os.major(device), os.minor(device)


def _put_content(path: bytes, size: int, put: Callable[[bytes], None]) -> None:
    left = size
    with open(path, "rb", buffering=0) as file:
        while left:
            data = file.read(min(left, _CHUNK))
            if not data:
                raise OSError(f"{printable(path)} shrank while it was read")
            put(data)
            left -= len(data)
    if padding := -size % tarfile.BLOCKSIZE:
        put(b"\0" * padding)


def clamp_times(tree: Path, epoch: int) -> None:
    """Set mtimes on disk to what the tar says, so that tree and tar agree."""
    # Children first: touching a child does not move its parent's mtime, but order is cheap.
    for entry in _walk(os.fsencode(tree)):
        when = min(int(entry.info.st_mtime), epoch)
        if entry.info.st_mtime_ns != when * 1_000_000_000:
            os.utime(entry.path, (when, when), follow_symlinks=False)
