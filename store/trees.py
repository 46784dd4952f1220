"""Trees: a layer's tar -> a directory in overlayfs upper form. Names are bytes, as in `layers`."""

from __future__ import annotations

import errno
import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from store import archives
from store.errors import CorruptError
from store.layers import AUFS, ENCODING, ERRORS, OPAQUE, WHITEOUT, as_bytes, opaque_mark, printable

_AUFS, _OPAQUE, _WHITEOUT = AUFS.encode(), OPAQUE.encode(), WHITEOUT.encode()
_PATIENCE = 64  # reads behind the end


class _Chunks(io.RawIOBase):
    """A readable stream over chunks of bytes."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks: Iterator[bytes] = iter(chunks)
        self._rest = b""
        self._asked_in_vain = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        parts, got = [], 0
        while size < 0 or got < size:
            if not self._rest:
                self._rest = next(self._chunks, b"")
                if not self._rest:
                    break
            take = self._rest if size < 0 else self._rest[: size - got]
            self._rest = self._rest[len(take) :]
            parts.append(take)
            got += len(take)
        if not got and size:
            # To skip what is not there, tarfile asks for it piece by piece: of an exabyte, for ever.
            self._asked_in_vain += 1
            if self._asked_in_vain > _PATIENCE:
                raise EOFError("unexpected end of data")
        return b"".join(parts)


def open_tar(chunks: Iterable[bytes]) -> tarfile.TarFile:
    """An uncompressed tar, to be read once from its front: see `members`. Names are as
    `layers.as_text` says. Raises tarfile.TarError."""
    with archives.faults_as_read_errors():  # it reads the first header at once
        return tarfile.open(
            fileobj=_Chunks(chunks),
            mode="r|",
            bufsize=1 << 20,
            encoding=ENCODING,
            errors=ERRORS,
            tarinfo=archives.Member,
        )


def members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """What a layer's tar holds, each entry once. Raises tarfile.TarError for what cannot be."""
    return archives.members(archive, keep=False)


def hidden_by(path: bytes) -> bytes | None:
    """The name that a whiteout at `path` hides in its directory; None for another file's path. Raises
    CorruptError for a whiteout of no name, which would be the directory itself or the one above."""
    last = path.rpartition(b"/")[2]
    if not last.startswith(_WHITEOUT):
        return None
    hidden = last.removeprefix(_WHITEOUT)
    if hidden in (b"", b".", b".."):
        raise CorruptError(f"layer holds an unsafe path: '{printable(path)}'")
    return hidden


def is_bookkeeping(name: bytes) -> bool:
    """Whether an entry is aufs's own, which old engines left in layers: it says nothing."""
    return _AUFS in name and any(part.startswith(_AUFS) and part != _OPAQUE for part in name.split(b"/"))


def member_name(member: tarfile.TarInfo) -> str:
    """A member's path without "./" and slashes around it; "" for the root itself."""
    name = member.name.removeprefix("./").strip("/")
    return "" if name == "." else name


def _inside(root: bytes, name: bytes, checked: set[bytes]) -> bytes:
    """The path of `name` under `root`; refuses names that leave it, also through a symlink."""
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts or name.startswith(b"/") or b"\0" in name:
        raise CorruptError(f"layer holds an unsafe path: '{printable(name)}'")
    if _WHITEOUT in name and any(part.startswith(_WHITEOUT) for part in parts[:-1]):
        raise CorruptError(f"layer holds a path below a whiteout: '{printable(name)}'")
    parent = b"/".join(parts[:-1])
    if parent and parent not in checked:
        here = root
        for part in parts[:-1]:
            here += b"/" + part
            try:
                mode = os.lstat(here).st_mode
            except FileNotFoundError:
                os.mkdir(here, 0o755)
                continue
            if not stat.S_ISDIR(mode):
                raise CorruptError(f"layer writes through a link or file: '{printable(name)}'")
        checked.add(parent)
    return b"/".join([root, *parts])


def set_opaque(path: Path | bytes) -> None:
    """Mark a directory opaque, as overlayfs does for us."""
    os.setxattr(path, opaque_mark(), b"y")


def unpack(chunks: Iterable[bytes], root: Path) -> None:
    """Unpack an uncompressed tar stream into the empty directory `root`.

    Whiteouts become character devices 0:0, opaque markers xattrs; device nodes are left out.
    Raises CorruptError for a path that leaves the directory and for a damaged tar.
    """
    directories: list[tuple[bytes, tarfile.TarInfo]] = []
    checked: set[bytes] = set()
    place = os.fsencode(root)
    try:
        with open_tar(chunks) as archive:
            for member in members(archive):
                with archives.naming(member, _refused):
                    _unpack_member(archive, member, place, directories, checked)
    except tarfile.TarError as error:
        raise CorruptError(f"damaged layer: {error}") from error
    for path, member in reversed(directories):
        with archives.naming(member, _refused):
            dress(path, member)


def _refused(what: str) -> CorruptError:
    return CorruptError(f"layer holds an entry that cannot be unpacked: {what}")


def _unpack_member(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    root: bytes,
    directories: list[tuple[bytes, tarfile.TarInfo]],
    checked: set[bytes],
) -> None:
    name = as_bytes(member_name(member))
    if not name or is_bookkeeping(name):
        return
    path = _inside(root, name, checked)
    parent, _, last = path.rpartition(b"/")
    if last == _OPAQUE:
        set_opaque(parent)
        return
    if (hidden := hidden_by(name)) is not None:
        _hide(parent + b"/" + hidden)
        return
    if member.isdir():
        if not _is_directory(path):
            replaced = os.path.lexists(path)  # a whiteout before it, or a file: nothing shines through
            if replaced:
                os.unlink(path)
            os.mkdir(path)
            if replaced:
                set_opaque(path)
        directories.append((path, member))
        return
    if os.path.lexists(path):
        os.unlink(path)  # refuses a directory: what was checked and what will be dressed stays so
    if member.isreg():
        with open(path, "wb") as file:
            archives.copy(archive, member, file.write)
    elif member.issym():
        os.symlink(as_bytes(member.linkname), path)
    elif member.islnk():
        target = as_bytes(member.linkname.removeprefix("./").lstrip("/"))
        os.link(_inside(root, target, checked), path, follow_symlinks=False)
        return
    elif member.isfifo():
        os.mkfifo(path)
    elif member.ischr() or member.isblk():
        # Stays in the layer alone: on disk it would be the host's own device (a world-writable node
        # of its disk). Build steps have a /dev of their own, and so do containers. What lower
        # layers have there is hidden all the same. (0:0 is overlayfs's mark for just that.)
        _hide(path)
        return
    else:
        raise CorruptError(f"layer holds an entry of unknown type: '{printable(name)}'")
    dress(path, member)


def _is_directory(path: bytes) -> bool:
    """Whether there is a directory, not a link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _hide(path: bytes) -> None:
    """A whiteout. It hides what lower layers have, never what its own layer brings."""
    if _is_directory(path):
        set_opaque(path)
    elif not os.path.lexists(path):
        os.mknod(path, stat.S_IFCHR | 0o000, 0)


def dress(path: Path | bytes, member: tarfile.TarInfo) -> None:
    """Give `path` the owner, mode, extended attributes and time of a member."""
    try:
        os.chown(path, member.uid, member.gid, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise OSError(
            errno.EINVAL,
            f"it belongs to user {member.uid} and group {member.gid}, and your user namespace does not "
            "have both; build as root, or have wider ranges in /etc/subuid and /etc/subgid",
        ) from error
    if not member.issym():
        os.chmod(path, member.mode)
    for key, value in member.pax_headers.items():
        name = key.removeprefix("SCHILY.xattr.")
        # As `layers.write_tar` keeps them: others belong to the machine (security.selinux, …), and
        # overlayfs's are its own marks, which only some machines would obey.
        if (
            name != key
            and (name == "security.capability" or name.startswith("user."))
            and not name.startswith("user.overlay.")
        ):
            os.setxattr(path, as_bytes(name), as_bytes(value), follow_symlinks=False)
    os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)
