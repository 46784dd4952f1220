"""Trees: a layer's tar -> a directory in overlayfs upper form."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from store.errors import CorruptError
from store.layers import OPAQUE, WHITEOUT


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
        with tarfile.open(fileobj=_Chunks(chunks), mode="r|", bufsize=1 << 20) as archive:
            for member in archive:
                _unpack_member(archive, member, root, directories, checked)
    except tarfile.TarError as error:
        raise CorruptError(f"damaged layer: {error}") from error
    for path, member in reversed(directories):
        _dress(path, member)


def _unpack_member(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    root: Path,
    directories: list[tuple[Path, tarfile.TarInfo]],
    checked: set[str],
) -> None:
    name = member.name.removeprefix("./").strip("/")
    if name in ("", "."):
        return
    path = _inside(root, name, checked)
    last = path.name
    if last == OPAQUE:
        set_opaque(path.parent)
        return
    if last.startswith(WHITEOUT):
        os.mknod(path.with_name(last.removeprefix(WHITEOUT)), stat.S_IFCHR | 0o000, 0)
        return
    if not member.isdir():
        path.unlink(missing_ok=True)
    if member.isdir():
        if not path.is_dir() or path.is_symlink():
            path.unlink(missing_ok=True)
            path.mkdir()
        directories.append((path, member))
        return
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
        os.mknod(path, kind | 0o600, os.makedev(member.devmajor, member.devminor))
    else:
        raise CorruptError(f"layer holds an entry of unknown type: {name!r}")
    _dress(path, member)


def _dress(path: Path, member: tarfile.TarInfo) -> None:
    os.lchown(path, member.uid, member.gid)
    if not member.issym():
        path.chmod(member.mode)
    for key, value in member.pax_headers.items():
        if key.startswith("SCHILY.xattr."):
            os.setxattr(
                path, key.removeprefix("SCHILY.xattr."),
                value.encode("utf-8", "surrogateescape"), follow_symlinks=False,
            )
    os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)
