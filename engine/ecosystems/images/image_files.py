"""`io.copy(..., image=REF)`: files of another image, as a layer of their own.

What the image's layers make together is what is copied: whiteouts hide, later layers win.
Owners, modes, symlinks and hard links stay; of the source itself a symlink is followed, as
Dockerfile's COPY does.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from engine.core.derivation import Derivation, Input
from engine.errors import BuildError
from engine.lock.packages import Layer
from engine.oci.filesystem import Node, contents, view
from engine.realise import placed
from engine.realise.context import BuildContext
from engine.realise.places import make_parents
from grammar.environment import Copy
from store import archives
from store.errors import CorruptError
from store.trees import dress

KIND = "image-files"
VERSION = 2


def target_of(step: Copy, home: str = "/root") -> placed.Target:
    """Where it goes; of "/" the contents."""
    return placed.target(step.target, PurePosixPath(_source(step)).name, home)


def _source(step: Copy) -> str:
    return "/" + os.path.normpath(f"/{step.source}").lstrip("/")


def derivation(step: Copy, layers: Sequence[Layer], home: str = "/root") -> Derivation:
    """The derivation of one copy out of the image of `layers` (bottom first), at the place where it
    goes when nothing is there; `home` is what "~" stands for."""
    files = [p.file for p in layers]
    return Derivation(
        KIND,
        f"copy-{PurePosixPath(_source(step)).name or 'image'}",
        VERSION,
        tuple(Input("file", f.fetch()) for f in files),
        {"source": _source(step), "target": target_of(step, home).guess},
        where=step.position,
    )


@dataclass
class _Copying:
    """What one copy has made so far."""

    files: dict[int, list[Path]] = field(default_factory=dict)  # id of a node -> its places
    nodes: dict[int, Node] = field(default_factory=dict)
    directories: list[tuple[Path, Node]] = field(default_factory=list)

    def take(self, node: Node, target: Path) -> None:
        """Make everything but contents; those come when the layers are read again."""
        todo = [(node, target)]
        while todo:  # no recursion: a path may have more parts than Python's stack
            node, target = todo.pop()
            if node.children is None:
                self._take_file(node, target)
                continue
            target.mkdir(exist_ok=True)
            self.directories.append((target, node))
            todo += [(child, target / name) for name, child in sorted(node.children.items())][::-1]

    def _take_file(self, node: Node, target: Path) -> None:
        assert node.member is not None
        if node.member.isreg():
            self.nodes[id(node)] = node
            self.files.setdefault(id(node), []).append(target)
        elif node.member.issym():
            target.symlink_to(node.member.linkname)
            dress(target, node.member)
        elif node.member.isfifo():
            os.mkfifo(target)
            dress(target, node.member)
        # devices are the container's business


def build(context: BuildContext) -> Path:
    """Copy. Raises BuildError when the image has no such file."""
    source = str(context.parameters["source"])
    blobs = [path for _, path in context.files]
    image = view(blobs)
    node = image.find(source)
    if node is None:
        raise BuildError(f"the image has no {source}", subject=context.name)
    target = PurePosixPath(str(context.parameters["target"]))
    upper = context.scratch / "upper"
    place = upper / target.relative_to("/")
    if place == upper:
        upper.mkdir()
        upper.chmod(0o755)
    else:
        make_parents(upper, place)
    copying = _Copying()
    copying.take(node, place)
    try:
        _fill(blobs, copying)
    except (tarfile.TarError, CorruptError) as error:
        raise BuildError(str(error), subject=context.name) from error
    for directory, made in reversed(copying.directories):
        if made.member is not None:
            dress(directory, made.member)
        elif directory != upper:
            directory.chmod(0o755)
    return upper


def _fill(blobs: Sequence[Path], copying: _Copying) -> None:
    """Read the layers again, for the files' contents."""
    for found, archive in contents(blobs, list(copying.nodes.values())):
        assert found.member is not None
        first, *others = copying.files[id(found)]
        with first.open("wb") as output:
            archives.copy(archive, found.member, output.write)
        dress(first, found.member)
        for other in others:
            os.link(first, other)
