"""An image's file system, read from its layers' tars without unpacking them.

Reading needs no root, so it serves at lock time too. Whiteouts: OCI image-spec, layer.md. A
`View` knows every name; contents are read again from the blobs when they are wanted.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from zstandard import ZstdError

from engine.errors import BuildError
from store import archives
from store.compression import decompressed
from store.errors import CorruptError
from store.layers import OPAQUE, as_bytes, as_text
from store.trees import hidden_by, is_bookkeeping, member_name, members, open_tar

_MAX_LINKS = 40  # symlinks followed in one path, as the kernel's ELOOP limit
_SMALL = 32 << 20  # bytes of a file that is read whole


@dataclass
class Node:
    """One file. `layer` counts from the bottom; `member` is its tar entry (None: a directory that
    no layer lists); `children` is None for what is no directory."""

    layer: int
    member: tarfile.TarInfo | None
    children: dict[str, Node] | None = None
    content: bytes | None = None

    @property
    def is_directory(self) -> bool:
        """Whether this is a directory."""
        return self.children is not None

    @property
    def link(self) -> str:
        """Where a symlink points; "" for what is none."""
        return self.member.linkname if self.member is not None and self.member.issym() else ""


@dataclass
class View:
    """A merged file system. `root` is its root directory."""

    root: Node = field(default_factory=lambda: Node(0, None, {}))

    def find(self, path: str, *, follow: bool = True) -> Node | None:
        """What is at `path`, symlinks followed (the last one only with `follow`); None: nothing."""
        where = self.resolve(path, follow=follow)
        return None if where is None else self._at(where)

    def _at(self, path: str) -> Node | None:
        node: Node | None = self.root
        for part in PurePosixPath(path).parts[1:]:
            node = (node.children or {}).get(part) if node is not None else None
        return node

    def resolve(self, path: str, *, follow: bool = True) -> str | None:
        """The absolute path of `path` without symlinks, or None when nothing is there."""
        todo = list(reversed(PurePosixPath("/", path).parts[1:]))
        done = PurePosixPath("/")
        node, links = self.root, 0
        while todo:
            part = todo.pop()
            if part == "..":
                done = done.parent
                node = self._at(str(done)) or self.root
                continue
            child = (node.children or {}).get(part)
            if child is None:
                return None
            if child.link and (todo or follow):
                links += 1
                if links > _MAX_LINKS:
                    return None
                target = PurePosixPath(child.link)
                if target.is_absolute():
                    done, node = PurePosixPath("/"), self.root
                todo += reversed([p for p in target.parts if p != "/"])
                continue
            done, node = done / part, child
        return str(done)

    def read(self, path: str) -> bytes | None:
        """The content of a file that was kept while the layers were read, or None."""
        node = self.find(path)
        return None if node is None else node.content

    def list(self, path: str) -> list[str]:
        """The names in a directory, sorted; none when it is no directory."""
        node = self.find(path)
        return sorted((node.children if node is not None else None) or {})


def view(blobs: Sequence[Path], keep: Callable[[str], bool] = lambda name: False) -> View:
    """The file system of an image's layer blobs, bottom first.

    `keep` says of a name (without a leading "/") whether its content is to be kept. Raises
    BuildError for a layer that is no tar.
    """
    merged = View()
    for number, blob in enumerate(blobs):
        try:
            with open_tar(decompressed(blob, foreign=True)) as archive:
                _apply(archive, number, merged, keep)
        except (tarfile.TarError, CorruptError, OSError, EOFError, zlib.error, ZstdError) as error:
            raise BuildError(f"layer {blob.name[:19]} cannot be read: {error}") from error
    return merged


def _apply(archive: tarfile.TarFile, number: int, merged: View, keep: Callable[[str], bool]) -> None:
    mine: dict[str, Node] = {}  # what this layer itself brings
    for member in members(archive):
        parts = PurePosixPath(member_name(member)).parts
        if not parts or ".." in parts or is_bookkeeping(as_bytes("/".join(parts))):
            continue
        parent = _directory(merged.root, parts[:-1], number)
        assert parent.children is not None
        name, path = parts[-1], "/".join(parts)
        if name == OPAQUE:
            _clear(parent, number)
        elif (hidden := hidden_by(as_bytes(path))) is not None:
            _remove(parent, as_text(hidden), number)
        elif member.islnk():
            source = mine.get(_linked(member.linkname))
            if source is not None:
                parent.children[name] = mine[path] = source
        elif member.isdir():
            there = parent.children.get(name)
            if there is not None and there.is_directory:
                there.layer, there.member = number, member
            else:
                parent.children[name] = Node(number, member, {})
        else:
            node = Node(number, member)
            if member.isreg() and member.size <= _SMALL and keep(path):
                node.content = b"".join(archives.content(archive, member))
            parent.children[name] = mine[path] = node


def _linked(link: str) -> str:
    """A hard link's target as a member's name."""
    return "/".join(p for p in PurePosixPath(link).parts if p not in ("/", "."))


def _directory(root: Node, parts: Sequence[str], number: int) -> Node:
    node = root
    for part in parts:
        assert node.children is not None
        child = node.children.get(part)
        if child is None or not child.is_directory:
            child = node.children[part] = Node(number, None, {})
        node = child
    return node


def _clear(directory: Node, number: int) -> None:
    """Take away what lower layers put there."""
    todo, found = [directory], []
    while todo:  # no recursion: a path may have more parts than Python's stack
        node = todo.pop()
        found.append(node)
        todo += [child for child in (node.children or {}).values() if child.is_directory]
    for node in reversed(found):  # children first
        assert node.children is not None
        for name, child in list(node.children.items()):
            if child.layer != number and not child.children:
                del node.children[name]


def _remove(parent: Node, name: str, number: int) -> None:
    assert parent.children is not None
    child = parent.children.get(name)
    if child is None:
        return
    if child.is_directory:
        _clear(child, number)
        if child.layer == number or child.children:
            return
    elif child.layer == number:
        return
    del parent.children[name]


def contents(blobs: Sequence[Path], wanted: Sequence[Node]) -> Iterator[tuple[Node, tarfile.TarFile]]:
    """Each of the regular files `wanted` once, with the archive to copy it from at once
    (`store.archives.copy`). Raises tarfile.TarError."""
    for number, blob in enumerate(blobs):
        names = {
            node.member.name: node
            for node in wanted
            if node.layer == number and node.member is not None and node.member.isreg()
        }
        if not names:
            continue
        with open_tar(decompressed(blob, foreign=True)) as archive:
            for member in members(archive):
                # Of two entries of one name, the last is the file.
                node = names.get(member.name)
                if node is not None and node.member is not None and member.offset == node.member.offset:
                    node.member = member
                    yield node, archive
