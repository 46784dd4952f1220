"""Trees: a layer's tar -> a directory in overlayfs upper form."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from store.errors import CorruptError
from store.layers import AUFS, OPAQUE, WHITEOUT


class _Chunks(io.RawIOBase):
    """A readable stream over chunks of bytes."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks: Iterator[bytes] = iter(chunks)
        self._rest = b""

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
        return b"".join(parts)


def open_tar(chunks: Iterable[bytes]) -> tarfile.TarFile:
    """An uncompressed tar, to be read once from its front."""
    return tarfile.open(fileobj=_Chunks(chunks), mode="r|", bufsize=1 << 20)


def member_name(member: tarfile.TarInfo) -> str:
    """A member's path without "./" and slashes around it; "" for the root itself."""
    name = member.name.removeprefix("./").strip("/")
    return "" if name == "." else name


def _inside(root: Path, name: str, checked: set[str]) -> Path:
    """The path of `name` under `root`; refuses names that leave it, also through a symlink."""
    parts = PurePosixPath(name).parts
    if ".." in parts or name.startswith("/"):
        raise CorruptError(f"layer holds an unsafe path: {name!r}")
    parent = str(PurePosixPath(*parts[:-1])) if len(parts) > 1 else ""
    if parent and parent not in checked:
        here = root
        for part in parts[:-1]:
            here = here / part
            try:
                mode = here.lstat().st_mode
            except FileNotFoundError:
                here.mkdir(mode=0o755)
                continue
            if not stat.S_ISDIR(mode):
                raise CorruptError(f"layer writes through a link or file: {name!r}")
        checked.add(parent)
    return root.joinpath(*parts)


def set_opaque(path: Path) -> None:
    """Mark a directory opaque, as overlayfs does for us: trusted.* as root, user.* elsewhere."""
    try:
        os.setxattr(path, "trusted.overlay.opaque", b"y")
    except PermissionError:
        os.setxattr(path, "user.overlay.opaque", b"y")


def unpack(chunks: Iterable[bytes], root: Path) -> None:
    """Unpack an uncompressed tar stream into the empty directory `root`.

    Whiteouts become character devices 0:0, opaque markers xattrs. Raises CorruptError for a
    path that leaves the directory and for a damaged tar.
    """
    directories: list[tuple[Path, tarfile.TarInfo]] = []
    checked: set[str] = set()
    try:
        with open_tar(chunks) as archive:
            for member in archive:
                _unpack_member(archive, member, root, directories, checked)
    except tarfile.TarError as error:
        raise CorruptError(f"damaged layer: {error}") from error
    for path, member in reversed(directories):
        dress(path, member)


def _unpack_member(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    root: Path,
    directories: list[tuple[Path, tarfile.TarInfo]],
    checked: set[str],
) -> None:
    name = member_name(member)
    if not name:
        return
    path = _inside(root, name, checked)
    last = path.name
    if last == OPAQUE:
        set_opaque(path.parent)
        return
    if last.startswith(AUFS):  # aufs's own bookkeeping, which old engines left in layers
        return
    if last.startswith(WHITEOUT):
        _hide(path.with_name(last.removeprefix(WHITEOUT)))
        return
    if member.isdir():
        if not path.is_dir() or path.is_symlink():
            hidden = os.path.lexists(path)  # by a whiteout before it, or a file: nothing shines through
            path.unlink(missing_ok=True)
            path.mkdir()
            if hidden:
                set_opaque(path)
        directories.append((path, member))
        return
    path.unlink(missing_ok=True)
    if member.isreg():
        source = archive.extractfile(member)
        assert source is not None
        with path.open("wb") as file:
            while data := source.read(1 << 20):
                file.write(data)
    elif member.issym():
        path.symlink_to(member.linkname)
    elif member.islnk():
        target = _inside(root, member.linkname.removeprefix("./").lstrip("/"), checked)
        os.link(target, path, follow_symlinks=False)
        return
    elif member.isfifo():
        os.mkfifo(path)
    elif member.ischr() or member.isblk():
        kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
        try:
            os.mknod(path, kind | 0o600, os.makedev(member.devmajor, member.devminor))
        except PermissionError:  # in a user namespace; a sandbox and a container bring their own
            return
    else:
        raise CorruptError(f"layer holds an entry of unknown type: {name!r}")
    dress(path, member)


def _hide(path: Path) -> None:
    """A whiteout. It hides what lower layers have, never what its own layer brings."""
    if path.is_dir() and not path.is_symlink():
        set_opaque(path)
    elif not os.path.lexists(path):
        os.mknod(path, stat.S_IFCHR | 0o000, 0)


def dress(path: Path, member: tarfile.TarInfo) -> None:
    """Give `path` the owner, mode, extended attributes and time of a member."""
    os.lchown(path, member.uid, member.gid)
    if not member.issym():
        path.chmod(member.mode)
    for key, value in member.pax_headers.items():
        name = key.removeprefix("SCHILY.xattr.")
        # As `layers.write_tar` keeps them: others belong to the machine (security.selinux, …).
        if name != key and (name == "security.capability" or name.startswith("user.")):
            os.setxattr(
                path, name, value.encode("utf-8", "surrogateescape"), follow_symlinks=False
            )
    os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)
