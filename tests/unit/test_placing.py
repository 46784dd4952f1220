"""Placing: where copies go, what has to change of a layer, and what of the layers below counts."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.core.derivation import Derivation
from engine.errors import BuildError
from engine.realise import placed
from engine.realise.placed import Placement, Surroundings, fit, target
from store import Store, skeleton
from store.skeleton import LoopError, Node, NotADirectoryInPathError, View

RAW = Derivation("raw", "raw-1.0")
Entries = Mapping[str, str | int]  # a path's mode (a directory), or "->TARGET", "file", "gone"


def layer(entries: Entries, uid: int = 0) -> Node:
    lines = []
    for name, what in entries.items():
        if isinstance(what, int):
            lines.append(f"d{what:o} {uid} {uid} {name}".encode())
        elif what.startswith("->"):
            lines += [f"l{name}".encode(), what[2:].encode()]
        else:
            lines.append({"file": "f", "gone": "w"}[what].encode() + name.encode())
    return skeleton.parse(b"\0".join(lines))


def view(*layers: Node) -> View:
    made = View()
    for one in layers:
        made.add(one)
    return made


def placement(below: View, raw: Node, to: placed.Target | None = None, **more: View) -> Placement:
    derivation = placed.derivation(RAW, (), to, overlay=bool(more))
    return fit(derivation, raw, Surroundings(below, lambda path: "lower-1.0", **more))


def test_targets_as_they_are_written() -> None:
    def where(text: str, name: str = "f") -> tuple[str, bool, str]:
        to = target(text, name, "/home/jo")
        return to.path, to.into, to.guess

    assert where("/a/b") == ("/a/b", False, "/a/b")
    assert where("/a/b/") == where("/a/b/.") == ("/a/b", True, "/a/b/f")
    assert where("/") == where("./") == where(".") == where("//") == ("/", True, "/f")
    assert where("a/../b") == ("/b", False, "/b")
    assert where("../..") == ("/", True, "/f")
    assert where("~") == where("~/") == ("/home/jo", True, "/home/jo/f")
    assert where("~/x") == ("/home/jo/x", False, "/home/jo/x")
    assert where("~jo/x") == ("/~jo/x", False, "/~jo/x")
    assert where("/", "") == ("/", True, "/") and where("/a/", "")[2] == "/a"


def test_nothing_in_the_way_changes_nothing() -> None:
    raw = layer({"usr": 0o755, "usr/bin": 0o755, "usr/bin/x": "file"})
    for below in (view(), view(raw), view(layer({"usr": 0o755, "usr/lib": 0o700, "opt": "file"}))):
        assert placement(below, raw).unchanged


def test_modes_owners_and_links_of_what_is_below() -> None:
    raw = layer({"bin": 0o755, "bin/x": "file", "srv/drop/x": "file", "new/x": "file"})
    base = layer({"usr/bin": 0o711, "bin": "->usr/bin", "srv": 0o755, "srv/drop": 0o3777}, uid=5)
    found = placement(view(base), raw)
    assert found.moves == {b"/bin": b"/usr/bin"} and found.top is None
    assert found.directories == {
        b"/usr": (0o755, 0, 0),
        b"/usr/bin": (0o711, 5, 5),
        b"/srv": (0o755, 5, 5),
        b"/srv/drop": (0o3777, 5, 5),
    }


def test_where_nothing_of_the_base_that_matters_differs_the_key_is_one() -> None:
    raw = layer({"srv/x": "file"})
    first = placement(view(layer({"srv": 0o700, "etc/a": "file"})), raw)
    second = placement(view(layer({"srv": 0o700, "etc/b": "file", "opt": 0o777})), raw)
    third = placement(view(layer({"srv": 0o750})), raw)
    assert first.key("id") == second.key("id") != third.key("id")
    assert first.key("id") != first.key("other")


def test_upper_layers_and_whiteouts_count() -> None:
    raw = layer({"a/x": "file"})
    base = layer({"a": 0o700, "b": 0o711})
    assert placement(view(base, layer({"a": 0o777})), raw).directories == {b"/a": (0o777, 0, 0)}
    assert placement(view(base, layer({"a": "gone"})), raw).unchanged
    assert placement(view(base, layer({"a": "->b"})), raw).moves == {b"/a": b"/b"}
    with pytest.raises(BuildError, match=r"raw-1\.0: it needs a directory at /a, where lower-1\.0"):
        placement(view(base, layer({"a": "file"})), raw)
    # a shared node is not changed by what comes upon it
    assert base.children[b"a"].status == (0o700, 0, 0)


def test_an_opaque_directory_hides_what_is_below() -> None:
    upper = layer({"a": 0o755, "a/y": "file"})
    upper.children[b"a"].opaque = True
    merged = view(layer({"a/x": "file", "a/y": 0o755}), upper)
    assert sorted(merged.root.children[b"a"].children) == [b"y"]


def test_what_a_command_changed_is_meant() -> None:
    base = layer({"var": 0o755, "etc": 0o755})
    above = layer({"etc": 0o700})  # of a layer that the command did not see
    raw = layer({"var": 0o700, "etc": 0o755})
    found = placement(view(base, above), raw, made_over=view(base))
    assert found.directories == {b"/etc": (0o700, 0, 0)}


@pytest.mark.parametrize(
    ("there", "to", "where"),
    [
        ({}, "/a", "/a"),
        ({"a": 0o755}, "/a", "/a/f"),
        ({"a": "file"}, "/a", "/a"),
        ({"a": "->b", "b": 0o755}, "/a", "/b/f"),
        ({"a": "->b", "b": "file"}, "/a", "/b"),
        ({"a": "->b"}, "/a", "/b"),
        ({"x/a": "->../../b"}, "/x/a", "/b"),
        ({"a": "->b", "b": "->c", "c/d": 0o755}, "/a/d/", "/c/d/f"),
        ({}, "/a/b/", "/a/b/f"),
    ],
)
def test_where_a_file_goes(there: Entries, to: str, where: str) -> None:
    wanted = target(to, "f", "/root")
    raw = layer({wanted.guess.lstrip("/"): "file"})
    found = placement(view(layer(there)), raw, wanted)
    assert (found.top or (b"", wanted.guess.encode()))[1] == where.encode()


def test_what_cannot_be_copied() -> None:
    wanted = target("/a", "f", "/root")
    for raw, there, message in (
        (layer({"a": 0o755}), {"a": "file"}, "it needs a directory at /a, where lower-1.0 has a file"),
        (layer({"a": "file"}), {"a": "->b", "b": "->a"}, "go round in circles"),
        (layer({"a": "file"}), {"a/f": 0o755}, "it has a file at /a/f, where lower-1.0 has a dir"),
    ):
        with pytest.raises(BuildError, match=message):
            placement(view(layer(there)), raw, wanted)


def test_paths_that_lead_nowhere() -> None:
    merged = view(layer({"a": "->a", "f": "file", "up": "->../../x"}))
    with pytest.raises(LoopError):
        merged.follow(b"/a/b")
    with pytest.raises(NotADirectoryInPathError):
        merged.follow(b"/f/b")
    assert merged.follow(b"/up/y") == (b"/x/y", None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def _tree(root: Path) -> None:
    root.mkdir()
    root.chmod(0o755)
    (root / "d").mkdir()
    (root / "d").chmod(0o3777)
    (root / os.fsdecode(b"d/\xff")).write_text("x")
    (root / "d/l").symlink_to("../nowhere")
    os.link(root / os.fsdecode(b"d/\xff"), root / "d/hard")
    os.mkfifo(root / "fifo")
    (root / "hidden").mkdir()
    os.setxattr(root / "hidden", "trusted.overlay.opaque", b"y")
    os.mknod(root / "gone", stat.S_IFCHR, 0)


def test_a_skeleton_is_the_same_from_tree_and_blob(store: Store, tmp_path: Path) -> None:
    with store.scratch("t") as scratch:
        _tree(scratch / "upper")
        made = store.capture(scratch / "upper", "t")
    fresh: dict[str, str] = {}
    from_tree = skeleton.of_object(store, made.id, fresh)
    assert from_tree.children[b"d"].status[0] == 0o3777
    assert from_tree.children[b"d"].children[b"l"].link == b"../nowhere"
    assert from_tree.children[b"hidden"].opaque and not from_tree.children[b"gone"].is_there
    assert skeleton.of_object(store, made.id, fresh) == from_tree  # remembered
    shutil.rmtree(store.path / "trees" / made.id)
    assert skeleton.of_object(store, made.id, {}) == from_tree


def test_a_layer_is_written_anew_with_all_that_it_has(store: Store, tmp_path: Path) -> None:
    _tree(tmp_path / "tree")
    found = Placement(
        moves={b"/d": b"/usr/e"}, directories={b"/usr": (0o711, 1, 2), b"/usr/e": (0o2750, 3, 4)}
    )
    upper = tmp_path / "upper"
    placed.rewrite(tmp_path / "tree", found, upper, "t")
    info = (upper / "usr/e").stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == (0o2750, 3, 4)
    assert stat.S_IMODE((upper / "usr").stat().st_mode) == 0o711
    assert (upper / "usr/e/l").readlink() == Path("../nowhere")
    assert (upper / "usr/e/hard").stat().st_ino == (upper / os.fsdecode(b"usr/e/\xff")).stat().st_ino
    # no name of the raw layer's own file: commands would see how many a file has
    assert (upper / "usr/e/hard").stat().st_nlink == 2
    assert os.getxattr(upper / "hidden", "trusted.overlay.opaque") == b"y"
    assert stat.S_ISCHR((upper / "gone").lstat().st_mode) and (upper / "fifo").is_fifo()
    assert not (upper / "d").exists()


def test_trees_deeper_than_pythons_stack(store: Store) -> None:
    path = b"/".join([b"d"] * 1500)
    raw = skeleton.parse(b"d700 0 0 " + path)
    base = skeleton.parse(b"d755 0 0 " + path)
    assert placement(view(base), raw).directories == {b"/" + path: (0o755, 0, 0)}
