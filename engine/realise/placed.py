"""Placing: an independent layer is made to fit the layers that it comes to lie upon.

Wheels, tools, copied files and their like are built without knowing the base, so that a change of
the base rebuilds none of them. What a *raw* layer then needs of everything below it is the skeleton
alone: a directory that exists there keeps its owner and mode, a symlink to a directory is
followed, and what cannot be, such as a file where a directory is, is an error. As a rule nothing has
to change, and the placed layer is the raw one, the same object. Otherwise it is written anew, under
a key made of the raw layer's id and of what has to change.

Where a copy goes is decided here too, as BuildKit's copy does: what is there decides whether the
target is a directory to copy into.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from engine.core.derivation import Derivation, Input
from engine.errors import BuildError
from engine.realise.places import MODES
from store.hashing import hash_value
from store.skeleton import DIRECTORY, LINK, PLAIN, LoopError, Node, NotADirectoryInPathError, View, node_at

KIND = "placed"
VERSION = 1

_Status = tuple[int, int, int]


@dataclass(frozen=True)
class Target:
    """Where a copy is to go: to `path` (absolute), or into it as `name` when a directory is there
    or when `into`. A copy without a name is of a directory's contents."""

    path: str
    into: bool
    name: str

    @property
    def guess(self) -> str:
        """Where it goes when no layer below has anything at `path`."""
        if self.name and (self.into or self.path == "/"):
            return str(PurePosixPath(self.path, self.name))
        return self.path


def target(text: str, name: str, home: str) -> Target:
    """The target of a copy as the spec writes it: "~" is `home`, what is relative is below "/"."""
    into = text.endswith(("/", "/.", "/..")) or text in ("~", ".", "..")
    if text == "~" or text.startswith("~/"):
        text = home + text[1:]
    # normpath keeps two leading slashes
    return Target("/" + os.path.normpath(f"/{text}").lstrip("/"), into, name)


# -- in a plan --------------------------------------------------------------------------------


def derivation(
    raw: Derivation, below: Sequence[Derivation], to: Target | None = None, *, overlay: bool = False
) -> Derivation:
    """The derivation of `raw` placed upon `below` (bottom first). `to` says where a copy goes, whose
    raw layer has it at `to.guess`; `overlay` that `raw` was made in an overlay over its own layers:
    where it differs from these it means to."""
    parameters: dict[str, Any] = {"overlay": True} if overlay else {}
    if to is not None:
        parameters["target"] = {"path": to.path, "into": to.into, "name": to.name}
    return Derivation(
        KIND,
        raw.name,
        VERSION,
        (Input("raw", raw), *(Input("below", d) for d in below)),
        parameters,
        where=raw.where,
    )


def stacked(
    layers: Sequence[Derivation], bottom: Collection[str], overlay: Collection[str]
) -> list[Derivation]:
    """`layers` (bottom first), each placed upon those before it. What is of a kind in `bottom` is
    taken as it is; what is of one in `overlay` was made in an overlay over its own layers, and is
    taken as it is when these are all that lies below it."""
    made: list[Derivation] = []
    for raw in layers:
        own = [i.derivation.drv_id for i in raw.inputs if i.role == "layer"]
        over = raw.kind in overlay
        if raw.kind in bottom or (over and own == [d.drv_id for d in made]):
            made.append(raw)
        else:
            made.append(derivation(raw, made, overlay=over))
    return made


def raw_of(derivation: Derivation) -> Derivation:
    """What is placed; a derivation of another kind is that itself."""
    if derivation.kind != KIND:
        return derivation
    raw = derivation.inputs[0].derivation
    assert isinstance(raw, Derivation)
    return raw


# -- what has to change -----------------------------------------------------------------------


@dataclass(frozen=True)
class Placement:
    """What has to change of a raw layer. `top` is the one path of it that counts and where that
    goes, when not all of it stays; `moves` maps other directories of it to where these go, and
    `directories` gives the mode, uid and gid of directories of the result."""

    top: tuple[bytes, bytes] | None = None
    moves: Mapping[bytes, bytes] = field(default_factory=dict)
    directories: Mapping[bytes, _Status] = field(default_factory=dict)

    @property
    def unchanged(self) -> bool:
        """Whether the raw layer can be used as it is."""
        return self.top is None and not self.moves and not self.directories

    def key(self, raw: str) -> str:
        """The key of what comes of it, for the raw layer with the object id `raw`."""

        def text(path: bytes) -> str:
            return path.decode("latin-1")  # any bytes are

        return hash_value(
            "envd placed layer v1",
            {
                "version": VERSION,
                "raw": raw,
                "top": [text(p) for p in self.top or ()],
                "moves": [[text(a), text(b)] for a, b in sorted(self.moves.items())],
                "directories": [[text(path), *status] for path, status in sorted(self.directories.items())],
            },
        )


@dataclass(frozen=True)
class Surroundings:
    """What a layer is placed upon: the merged `view` of all that is below, `owner`, which names the
    layer that has a path, and `made_over`, the view of a layer's own layers if it was made in an
    overlay."""

    view: View
    owner: Callable[[bytes], str]
    made_over: View | None = None


def fit(placed: Derivation, raw: Node, around: Surroundings) -> Placement:
    """What has to change of the layer whose skeleton is `raw`. Raises BuildError, which names both
    layers and the path, when it does not fit."""
    fitting = _Fitting(placed, around)
    try:
        return fitting.run(raw)
    except LoopError as error:
        raise fitting.error(
            f"symbolic links of the layers below go round in circles at {_shown(error.path)}"
        ) from error
    except NotADirectoryInPathError as error:
        raise fitting.below_a_file(error.path) from error


class _Fitting:
    def __init__(self, placed: Derivation, around: Surroundings) -> None:
        self._placed = placed
        self._around = around
        self._view = around.view
        self._moves: dict[bytes, bytes] = {}
        self._directories: dict[bytes, _Status] = {}
        self._todo: list[tuple[Node, bytes, bytes, Node]] = []

    def run(self, raw: Node) -> Placement:
        top: tuple[bytes, bytes] | None = None
        if (given := self._placed.parameters.get("target")) is not None:
            to = Target(**given)
            at = os.fsencode(to.guess)
            node = node_at(raw, at)
            if node is None:
                raise self.error(f"it has nothing at {_shown(at)}")
            where = self._destination(to, is_directory=node.is_directory)
            if where != at:
                top = (at, where)
        if top is None:
            self._todo.append((raw, b"", b"", self._view.root))
        else:
            above = self._parents(top[1])
            there = self._view.at(top[1])
            inner = node_at(raw, top[0]) or raw
            if there is not None:
                self._entry(inner, *top, there)
            else:
                self._new(inner, *top, above)
        while self._todo:  # no recursion: a tree may be deeper than Python's stack
            self._inside(*self._todo.pop())
        return Placement(top, self._moves, self._directories)

    def _destination(self, to: Target, *, is_directory: bool) -> bytes:
        where, there = self._view.follow(os.fsencode(to.path))
        inside = where.rstrip(b"/") + b"/" + os.fsencode(to.name) if to.name else where
        if there is None:
            return inside if to.into else where
        if there.is_directory:
            return inside
        if is_directory or to.into:
            raise self.below_a_file(where)
        return where

    def _inside(self, raw: Node, path: bytes, place: bytes, there: Node) -> None:
        """Fit what the directory `raw` has. `path` is its own, `place` where it goes; `there` is the
        directory that lies there."""
        for name, child in sorted(raw.children.items()):
            below = there.children.get(name)
            if below is not None and below.is_there:
                self._entry(child, path + b"/" + name, place + b"/" + name, below)
            else:
                self._new(child, path + b"/" + name, place + b"/" + name, there.status)

    def _entry(self, raw: Node, path: bytes, place: bytes, there: Node) -> None:
        if not raw.is_there:
            return
        resolved, end = (place, there) if there.kind != LINK else self._view.follow(place)
        if not raw.is_directory:
            if end is not None and end.is_directory and not (raw.kind == LINK == there.kind):
                raise self._over_a_directory(raw, place, resolved)
            return
        if raw.opaque:
            return  # it replaces what is there
        if end is not None and not end.is_directory:
            raise self.below_a_file(resolved, place)
        if resolved != place:
            self._moves[path] = resolved
            above = self._parents(resolved)
            if end is not None:
                self._directories[resolved] = end.status
            else:
                self._new(raw, path, resolved, above)
        elif end is not None and raw.status != end.status and not self._is_meant(raw, path):
            self._directories[resolved] = end.status
        if end is not None:
            self._todo.append((raw, path, resolved.rstrip(b"/"), end))

    def _is_meant(self, raw: Node, path: bytes) -> bool:
        """Whether an overlay's command has set the owner or mode of the directory at `path`."""
        if self._around.made_over is None:
            return False
        before = self._around.made_over.at(path)
        return before is not None and before.kind == DIRECTORY and before.status != raw.status

    def _new(self, raw: Node, path: bytes, place: bytes, above: _Status) -> None:
        """In a directory with the set-group-ID bit, new ones get that too, as mkdir(2) has it. What is
        copied keeps the mode that it has, and what a command made has been made so."""
        if not above[0] & stat.S_ISGID or self._around.made_over is not None:
            return
        todo = [(raw, path, place)]
        while todo:
            raw, path, place = todo.pop()
            if raw.is_directory and not self._is_copied(path):
                self._directories[place] = (raw.status[0] | stat.S_ISGID, *raw.status[1:])
                todo += [
                    (child, path + b"/" + name, place + b"/" + name) for name, child in raw.children.items()
                ]

    def _is_copied(self, path: bytes) -> bool:
        given = self._placed.parameters.get("target")
        return given is not None and (path + b"/").startswith(os.fsencode(Target(**given).guess) + b"/")

    def _parents(self, place: bytes) -> _Status:
        """The directories above `place` are as they are below, or as a distribution makes them. Of
        the lowest the mode and owner."""
        parts = [p for p in place.split(b"/") if p][:-1]
        above = self._view.root.status
        for depth in range(1, len(parts) + 1):
            path = b"/" + b"/".join(parts[:depth])
            there = self._view.at(path)
            mode = MODES.get(os.fsdecode(path[1:]), PLAIN[0]) | (above[0] & stat.S_ISGID)
            above = there.status if there is not None else (mode, *PLAIN[1:])
            self._directories[path] = above
        return above

    def error(self, text: str) -> BuildError:
        placed = self._placed
        if placed.where is not None and "target" in placed.parameters:
            return BuildError(f"{placed.name}: {text}", position=placed.where, subject="io.copy")
        return BuildError(text, position=placed.where, subject=placed.name)

    def below_a_file(self, file: bytes, place: bytes = b"") -> BuildError:
        """The error for a directory of the layer, or a path through one, where a file is below."""
        through = f" (through the link {_shown(place)})" if place not in (b"", file) else ""
        return self.error(
            f"it needs a directory at {_shown(file)}{through}, where {self._around.owner(file)} has "
            f"a file; {self._advice()}"
        )

    def _over_a_directory(self, raw: Node, place: bytes, directory: bytes) -> BuildError:
        kind = "a link" if raw.kind == LINK else "a file"
        through = f", a link to {_shown(directory)}" if directory != place else ""
        return self.error(
            f"it has {kind} at {_shown(place)}{through}, where {self._around.owner(directory)} has "
            f"a directory; {self._advice()}"
        )

    def _advice(self) -> str:
        if "target" in self._placed.parameters:
            return "choose another target"
        return "an image cannot have both: leave one of the two out"


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")


# -- writing it anew --------------------------------------------------------------------------


def rewrite(tree: Path, placement: Placement, upper: Path, name: str) -> None:
    """Write the layer unpacked at `tree` to `upper` (which is not there yet) as `placement` says.
    Raises BuildError, which names the layer `name`."""
    _Writer(os.fsencode(tree), os.fsencode(upper), placement, name).run()


def _copy_attributes(source: bytes, target: bytes) -> None:
    for name in os.listxattr(source, follow_symlinks=False):
        if name == "security.capability" or not name.startswith(("security.", "system.")):
            value = os.getxattr(source, name, follow_symlinks=False)
            os.setxattr(target, name, value, follow_symlinks=False)


class _Writer:
    def __init__(self, tree: bytes, upper: bytes, placement: Placement, name: str) -> None:
        self._from, self._upper = tree, upper
        self._placement = placement
        self._name = name
        self._times: list[tuple[bytes, int]] = []
        self._linked: dict[tuple[int, int], bytes] = {}

    def run(self) -> None:
        os.mkdir(self._upper)  # noqa: PTH102 - bytes
        os.chmod(self._upper, 0o755)  # noqa: PTH101
        path, place = self._placement.top or (b"", b"")
        source = self._from + path
        if stat.S_ISDIR(os.lstat(source).st_mode):
            self._tree(source, path.rstrip(b"/"), place.rstrip(b"/"))
        else:
            self._make(os.path.dirname(place), PLAIN)  # noqa: PTH120
            self._copy(source, place)
        for directory, when in reversed(self._times):
            os.utime(directory, ns=(when, when))

    def _tree(self, source: bytes, path: bytes, place: bytes) -> None:
        todo = [(source, path, place)]
        while todo:
            source, path, place = todo.pop()
            info = os.lstat(source)
            made = self._make(place, (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid))
            _copy_attributes(source, made)
            self._times.append((made, info.st_mtime_ns))
            with os.scandir(source) as listing:
                children = sorted(listing, key=lambda e: e.name)
            for child in children:
                inner = path + b"/" + child.name
                to = self._placement.moves.get(inner, place + b"/" + child.name)
                if child.is_dir(follow_symlinks=False):
                    todo.append((child.path, inner, to))
                else:
                    self._copy(child.path, to)

    def _make(self, place: bytes, status: _Status) -> bytes:
        """Make a directory and those above it; `status` is for one that is not below."""
        target = self._upper + place
        if place in (b"", b"/") or os.path.isdir(target):  # noqa: PTH112
            return target
        self._make(os.path.dirname(place), PLAIN)  # noqa: PTH120
        try:
            os.mkdir(target)  # noqa: PTH102
        except FileExistsError as error:
            raise self._clash(place) from error
        mode, uid, gid = self._placement.directories.get(place, status)
        os.chown(target, uid, gid)
        os.chmod(target, mode)  # noqa: PTH101
        return target

    def _copy(self, source: bytes, place: bytes) -> None:
        """Not hard links to the raw layer's files: commands of a later step would see how many names
        a file has, which depends on what else the store happens to hold."""
        target = self._upper + place
        try:
            if os.path.lexists(target):
                os.unlink(target)  # noqa: PTH108
        except IsADirectoryError as error:
            raise self._clash(place) from error
        info = os.lstat(source)
        key = (info.st_dev, info.st_ino)
        if (first := self._linked.get(key)) is not None:
            os.link(first, target, follow_symlinks=False)
            return
        if info.st_nlink > 1:
            self._linked[key] = target
        if stat.S_ISLNK(info.st_mode):
            os.symlink(os.readlink(source), target)  # noqa: PTH115, PTH211
        elif stat.S_ISREG(info.st_mode):
            shutil.copyfile(source, target)
        else:
            os.mknod(target, info.st_mode, info.st_rdev)
        os.lchown(target, info.st_uid, info.st_gid)
        if not stat.S_ISLNK(info.st_mode):
            os.chmod(target, stat.S_IMODE(info.st_mode))  # noqa: PTH101
        _copy_attributes(source, target)
        os.utime(target, ns=(info.st_mtime_ns, info.st_mtime_ns), follow_symlinks=False)

    def _clash(self, place: bytes) -> BuildError:
        return BuildError(
            f"with the links of the layers below, it has both a file and a directory at {_shown(place)}",
            subject=self._name,
        )
