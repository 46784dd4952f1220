"""Skeletons: what a layer holds, without any contents; and what several layers make together.

Of a directory its mode, owner and opaqueness count, of a symlink where it points; of every other
file only that it is there. A layer's skeleton is made once, from its unpacked tree when there is
one and else from its blob, and is remembered. Names are bytes, as the file system has them.
"""

from __future__ import annotations

import base64
import os
import stat
import tarfile
import zlib
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zstandard import ZstdError

from store import elsewhere, trees
from store.compression import decompressed
from store.errors import CorruptError, StoreError
from store.layers import OPAQUE, as_bytes, is_opaque, is_whiteout

if TYPE_CHECKING:
    from store.store import Store

DIRECTORY, FILE, LINK, GONE = b"d", b"f", b"l", b"w"
# What a directory has that a layer implies without an entry of its own, as trees.unpack makes it.
PLAIN = (0o755, 0, 0)

_MEMO = "skeleton 1 "
_MAX_LINKS = 40  # symlinks followed in one path, as the kernel's ELOOP limit


class LoopError(Exception):
    """Symlinks that lead nowhere but to each other. `path` is where it was noticed."""

    def __init__(self, path: bytes) -> None:
        super().__init__(os.fsdecode(path))
        self.path = path


class NotADirectoryInPathError(Exception):
    """A path that leads through a file. `path` is the file's."""

    def __init__(self, path: bytes) -> None:
        super().__init__(os.fsdecode(path))
        self.path = path


@dataclass(slots=True)
class Node:
    """One name. `kind` is DIRECTORY, FILE, LINK or GONE (a whiteout); `status` is a directory's
    mode, uid and gid; an `opaque` directory hides what lower layers have in it. Nodes may be
    shared: only a `View` changes those that it made itself."""

    kind: bytes
    status: tuple[int, int, int] = PLAIN
    link: bytes = b""
    opaque: bool = False
    children: dict[bytes, Node] = field(default_factory=dict)

    @property
    def is_directory(self) -> bool:
        """Whether this is a directory."""
        return self.kind == DIRECTORY

    @property
    def is_there(self) -> bool:
        """Whether there is something here, and no whiteout."""
        return self.kind != GONE


def node_at(root: Node, path: bytes) -> Node | None:
    """What `root` itself has at `path` ("/a/b", no symlink is followed), or None."""
    node: Node | None = root
    for part in parts_of(path):
        node = node.children.get(part) if node is not None else None
    return node if node is not None and node.is_there else None


def parts_of(path: bytes) -> list[bytes]:
    """The names of an absolute path."""
    return [part for part in path.split(b"/") if part]


# -- one layer --------------------------------------------------------------------------------


def of_object(store: Store, object_id: str, fresh: MutableMapping[str, str]) -> Node:
    """The skeleton of a layer: its root directory. What is worth remembering is put into `fresh`,
    for `Store.set_memos`: one transaction for many layers.

    Raises StoreError for an unknown object, CorruptError for a layer that is not a tar, or whose
    paths cannot be.
    """
    key = _MEMO + object_id
    if (text := fresh.get(key) or store.memo(key)) is not None:
        return parse(zlib.decompress(base64.b64decode(text)))
    if (store.path / "trees" / object_id).is_dir():
        lines = list(_walk(os.fsencode(store.tree(object_id))))
    else:
        found = store.get(object_id)
        if found is None:
            raise StoreError(f"object {object_id[:16]} is not in the store")
        blob = elsewhere.layer_file(store, found)
        try:
            lines = list(_members(decompressed(blob)))
        except (tarfile.TarError, CorruptError, EOFError, zlib.error, ZstdError) as error:
            raise CorruptError(f"{found.name} ({found.digest}): {error}") from error
    data = b"\0".join(lines)
    fresh[key] = base64.b64encode(zlib.compress(data, 1)).decode("ascii")
    return parse(data)


def _line(kind: bytes, path: bytes, status: tuple[int, int, int] | None = None) -> bytes:
    return kind + path if status is None else b"%s%o %d %d %s" % (kind, *status, path)


def _walk(root: bytes) -> Iterator[bytes]:
    """The lines of an unpacked tree, parents first."""
    if is_opaque(root):
        yield _line(b"o", b"", PLAIN)
    todo = [(root, b"")]
    while todo:  # no recursion: a tree may be deeper than Python's stack
        directory, prefix = todo.pop()
        with os.scandir(directory) as listing:
            children = sorted(listing, key=lambda e: e.name)
        for child in children:
            path = prefix + child.name
            if child.is_symlink():
                yield _line(LINK, path)
                yield os.readlink(child.path)  # noqa: PTH115 - bytes
            elif child.is_dir(follow_symlinks=False):
                info = child.stat(follow_symlinks=False)
                status = (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid)
                yield _line(b"o" if is_opaque(child.path) else DIRECTORY, path, status)
                todo.append((child.path, path + b"/"))
            elif child.is_file(follow_symlinks=False):
                yield _line(FILE, path)
            else:
                info = child.stat(follow_symlinks=False)
                if is_whiteout(info):
                    yield _line(GONE, path)
                elif not stat.S_ISSOCK(info.st_mode):
                    yield _line(FILE, path)


def _members(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a layer's tar."""
    with trees.open_tar(chunks) as archive:
        for member in trees.members(archive):
            name = trees.member_name(member)
            path = as_bytes(name)
            if not path or b".." in path.split(b"/") or trees.is_bookkeeping(path):
                continue
            parent, _, last = path.rpartition(b"/")
            if last == OPAQUE.encode():
                yield _line(b"O", parent)
            elif (hidden := trees.hidden_by(path)) is not None:
                yield _line(GONE, parent + b"/" + hidden if parent else hidden)
            elif member.isdir():
                yield _line(DIRECTORY, path, (member.mode & 0o7777, member.uid, member.gid))
            elif member.issym():
                yield _line(LINK, path)
                yield as_bytes(member.linkname)
            else:
                yield _line(FILE, path)


def parse(data: bytes) -> Node:
    """A skeleton from its lines, separated by NUL: kind, then what that has, then the path."""
    root = Node(DIRECTORY)
    directories = {b"": root}

    def directory(path: bytes) -> Node:
        found = directories.get(path)
        if found is not None:
            return found
        found, done = root, b""
        for part in path.split(b"/"):
            done = done + b"/" + part if done else part
            if done not in directories:
                # In place of a file, or of what a whiteout hides: nothing shines through.
                hidden = found.children.get(part) is not None
                directories[done] = found.children[part] = Node(DIRECTORY, opaque=hidden)
            found = directories[done]
        return found

    lines = iter(data.split(b"\0"))
    for line in lines:
        kind, rest = line[:1], line[1:]
        if kind in (b"d", b"o"):
            mode, uid, gid, path = rest.split(b" ", 3)
            node = directory(path)
            node.status = (int(mode, 8), int(uid), int(gid))
            node.opaque = node.opaque or kind == b"o"
            continue
        if kind == b"O":
            directory(rest).opaque = True
            continue
        if not kind:
            continue
        parent, _, name = rest.rpartition(b"/")
        siblings = directory(parent).children
        if kind == GONE:
            # It hides what lower layers have, never what its own layer brings.
            there = siblings.get(name)
            if there is None:
                siblings[name] = Node(GONE)
            elif there.is_directory:
                there.opaque = True
            continue
        link = next(lines, b"") if kind == LINK else b""
        directories.pop(rest, None)
        siblings[name] = Node(kind, link=link)
    return root


# -- several layers ---------------------------------------------------------------------------


class View:
    """The merged skeleton of layers, which are added from the bottom up."""

    def __init__(self) -> None:
        self.root = Node(DIRECTORY)
        self._own = {id(self.root)}  # the other nodes belong to layers, and are shared
        self._kept: list[Node] = []  # so that no id of `_own` is given again

    def add(self, layer: Node) -> None:
        """Put a layer upon those that are there."""
        if layer.opaque:
            self.root.children = {}
        todo = [(self.root, layer)]
        while todo:
            into, directory = todo.pop()
            for name, child in directory.children.items():
                there = into.children.get(name)
                if child.kind == GONE:
                    into.children.pop(name, None)
                elif child.is_directory and there is not None and there.is_directory and not child.opaque:
                    there = self._changeable(into, name, there)
                    there.status = child.status
                    todo.append((there, child))
                else:
                    into.children[name] = child

    def _changeable(self, parent: Node, name: bytes, node: Node) -> Node:
        """`node`, or a copy in its place when it is a layer's."""
        if id(node) in self._own:
            return node
        copy = Node(DIRECTORY, node.status, children=dict(node.children))
        self._own.add(id(copy))
        self._kept.append(copy)
        parent.children[name] = copy
        return copy

    def at(self, path: bytes) -> Node | None:
        """What is at `path` ("/a/b"), which leads through no symlink; None: nothing."""
        return node_at(self.root, path)

    def follow(self, path: bytes) -> tuple[bytes, Node | None]:
        """Where `path` leads when every symlink in it is followed, as chroot(2) would have it, and
        what is there. Nothing need be there: a missing part is taken as it is written.

        Raises LoopError, and NotADirectoryInPathError when it leads through a file.
        """
        todo = parts_of(path)[::-1]
        done: list[bytes] = []
        links = 0
        while todo:
            part = todo.pop()
            if part == b".":
                continue
            if part == b"..":
                del done[-1:]
                continue
            node = self.at(b"/" + b"/".join([*done, part]))
            if node is not None and node.kind == LINK:
                links += 1
                if links > _MAX_LINKS:
                    raise LoopError(path)
                if node.link.startswith(b"/"):
                    done = []
                todo += parts_of(node.link)[::-1]
                continue
            done.append(part)
            if node is not None and node.kind == FILE and todo:
                raise NotADirectoryInPathError(b"/" + b"/".join(done))
        where = b"/" + b"/".join(done)
        return where, self.at(where)
