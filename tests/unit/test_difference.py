"""What differs between two layers, as `envd build --force` names it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from store.difference import Difference, differences
from store.errors import CorruptError
from store.layers import write_tar

EPOCH = 1704067200


def tar_of(tree: Path) -> bytes:
    data = bytearray()
    write_tar(tree, data.extend, EPOCH)
    return bytes(data)


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("old", "new"):
        tree = tmp_path / name
        (tree / "etc").mkdir(parents=True)
        (tree / "etc/a").write_text("first")
        (tree / "etc/b").symlink_to("a")
        for path in (tree / "etc/a", tree / "etc"):
            os.utime(path, (1, 1))
        os.utime(tree / "etc/b", (1, 1), follow_symlinks=False)
    return tmp_path / "old", tmp_path / "new"


def again(path: Path) -> None:
    os.utime(path, (1, 1), follow_symlinks=False)


def content(tree: Path) -> None:
    (tree / "etc/a").write_text("second")
    again(tree / "etc/a")


def same_size(tree: Path) -> None:
    (tree / "etc/a").write_text("other")
    again(tree / "etc/a")


def mode_and_owner(tree: Path) -> None:
    (tree / "etc/a").chmod(0o600)
    os.chown(tree / "etc/a", 12, 34)


def link(tree: Path) -> None:
    (tree / "etc/b").unlink()
    (tree / "etc/b").symlink_to("c")
    again(tree / "etc/b")
    again(tree / "etc")


def kind(tree: Path) -> None:
    (tree / "etc/b").unlink()
    (tree / "etc/b").write_text("first")
    again(tree / "etc")


def more(tree: Path) -> None:
    (tree / "etc/c\udcff").write_text("")
    again(tree / "etc")


def fewer(tree: Path) -> None:
    (tree / "etc/a").unlink()
    again(tree / "etc")


def time(tree: Path) -> None:
    os.utime(tree / "etc/a", (2, 2))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (content, "etc/a: content (5 bytes -> 6 bytes)"),
        (same_size, "etc/a: content"),
        (mode_and_owner, f"etc/a: mode, owner (0644, {os.getuid()}:{os.getgid()} -> 0600, 12:34)"),
        (link, "etc/b: link (a -> c)"),
        (kind, "etc/b: type (link -> file)"),
        (more, r"etc/c\xff: added"),
        (fewer, "etc/a: removed"),
        (time, "etc/a: time (1 -> 2)"),
    ],
)
def test_each_kind_of_difference(trees: tuple[Path, Path], change: Callable[[Path], None], said: str) -> None:
    old, new = trees
    assert differences([tar_of(old)], [tar_of(new)]) == []
    change(new)
    found = differences([tar_of(old)], [tar_of(new)])
    assert [str(one) for one in found] == [said]


def test_all_are_named_and_sorted(trees: tuple[Path, Path]) -> None:
    old, new = trees
    for change in (content, link, more):
        change(new)
    found = differences([tar_of(old)], [tar_of(new)])
    assert [one.path for one in found] == ["etc/a", "etc/b", "etc/c\udcff"]
    assert found[2] == Difference("etc/c\udcff", "added")


def test_a_damaged_layer(trees: tuple[Path, Path]) -> None:
    old, _ = trees
    with pytest.raises(CorruptError, match="damaged layer"):
        differences([tar_of(old)], [b"nonsense" * 200])
