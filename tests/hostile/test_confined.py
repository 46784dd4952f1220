"""Paths below a directory that foreign code wrote: nothing outside is read, written or removed."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from engine.realise import confined, openat2


@pytest.fixture(autouse=True, params=["openat2", "walk"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With openat2(2), and as on a kernel that lacks it."""
    if request.param == "walk":
        monkeypatch.setattr(openat2, "_NUMBER", 1_000_000)  # no such system call
    return str(request.param)


def test_both_ways_are_taken(tree: Path, way: str) -> None:
    top = os.open(tree, os.O_RDONLY)
    try:
        found = openat2.directory(top, "var/cache")
        assert (found is None) is (way == "walk")
        if found is not None:
            os.close(found)
            for path in ("var/cache/man", "var/log", "etc/loop", "/etc"):
                with pytest.raises(OSError):
                    openat2.directory(top, path)
            # Where somebody on this machine mounts or renames meanwhile, the kernel cannot tell of "..".
            for path in ("..", "var/../../victim"):
                with suppress(OSError):
                    assert openat2.directory(top, path) is None
    finally:
        os.close(top)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of links to a directory beside it, which holds `keep` and `deep/keep`."""
    victim, upper = tmp_path / "victim", tmp_path / "upper"
    (victim / "deep").mkdir(parents=True)
    (victim / "keep").write_text("mine")
    (victim / "deep/keep").write_text("mine")
    (upper / "var/cache").mkdir(parents=True)
    (upper / "etc").mkdir()
    (upper / "var/cache/man").symlink_to(victim)
    (upper / "var/log").symlink_to("../../victim")
    (upper / "etc/machine-id").symlink_to(victim / "keep")
    (upper / "etc/loop").symlink_to("loop")
    os.mkfifo(upper / "etc/pipe")
    (upper / "etc/hard").hardlink_to(victim / "keep")
    (upper / "srv").mkdir()
    (upper / "srv/a.log").write_text("a")
    (upper / "srv/b.log").mkdir()
    (upper / "srv/b.log/link").symlink_to(victim)
    return upper


def unharmed(tree: Path) -> bool:
    victim = tree.parent / "victim"
    return (
        sorted(p.relative_to(victim).as_posix() for p in victim.rglob("*")) == ["deep", "deep/keep", "keep"]
        and (victim / "keep").read_text() == (victim / "deep/keep").read_text() == "mine"
    )


@pytest.mark.parametrize(
    "pattern",
    [
        "var/cache/man/*",
        "var/log/*",
        "var/log/deep/*",
        "var/*/keep",
        "*/*/*/keep",
        "etc/loop/*",
        "etc/pipe/*",
        "etc/machine-id/*",
        "nothing/*",
    ],
)
def test_a_pattern_ends_at_a_link(tree: Path, pattern: str) -> None:
    for path in confined.find(tree, pattern):
        confined.remove(tree, path)
    assert confined.find(tree, pattern) == []
    assert unharmed(tree)


def test_patterns_find_what_is_there(tree: Path) -> None:
    assert confined.find(tree, "srv/*.log") == ["srv/a.log", "srv/b.log"]
    assert confined.find(tree, "var/cache/man") == ["var/cache/man"]
    assert confined.find(tree, "s?v/[a]*") == ["srv/a.log"]


@pytest.mark.parametrize(
    "path", ["var/cache/man", "var/log", "etc/machine-id", "srv/b.log", "etc/loop", "etc/hard", "etc"]
)
def test_what_is_removed_is_the_link(tree: Path, path: str) -> None:
    assert confined.remove(tree, path)
    assert confined.lstat(tree, path) is None
    assert unharmed(tree)


@pytest.mark.parametrize("path", ["var/cache/man/keep", "var/log/deep", "var/log/keep", "etc/pipe/x"])
def test_nothing_is_found_behind_a_link(tree: Path, path: str) -> None:
    assert confined.lstat(tree, path) is None
    assert confined.read(tree, path) is None
    assert not confined.remove(tree, path)
    with pytest.raises(OSError, match="Not a directory"):
        confined.write(tree, path, b"theirs")
    assert unharmed(tree)


@pytest.mark.parametrize("path", ["../victim/keep", "var/../../victim", "..", "a/../../../etc"])
def test_nothing_climbs(tree: Path, path: str) -> None:
    for call in (confined.lstat, confined.read, confined.remove, confined.find):
        with pytest.raises(ValueError, match="climb"):
            call(tree, path)
    assert unharmed(tree)


@pytest.mark.parametrize("path", ["etc/machine-id", "etc/hard", "etc/pipe", "etc/loop", "etc/new"])
def test_what_is_written_is_a_file_of_its_own(tree: Path, path: str) -> None:
    confined.write(tree, path, b"", 0o600)
    found = confined.lstat(tree, path)
    assert found is not None
    assert (stat.S_ISREG(found.st_mode), stat.S_IMODE(found.st_mode), found.st_size) == (True, 0o600, 0)
    assert unharmed(tree)


@pytest.mark.parametrize("path", ["etc/machine-id", "etc/pipe", "etc/loop", "etc", "etc/none"])
def test_only_files_are_read(tree: Path, path: str) -> None:
    assert confined.read(tree, path) is None


def test_a_file_is_read(tree: Path) -> None:
    assert confined.read(tree, "srv/a.log") == b"a"
    assert confined.read(tree, "srv/a.log", 0) == b""


@pytest.mark.parametrize("path", ["etc/machine-id", "etc/loop", "etc/pipe", "etc", "var/log/keep", "no"])
def test_only_files_are_rewritten(tree: Path, path: str) -> None:
    with pytest.raises(OSError):
        confined.rewrite(tree, path, b"theirs")
    assert unharmed(tree)


def test_a_rewritten_file_is_the_same_file(tree: Path) -> None:
    (tree / "srv/a.log").chmod(0o640)
    (tree / "srv/c.log").hardlink_to(tree / "srv/a.log")
    os.chown(tree / "srv/a.log", 7, 8)
    confined.rewrite(tree, "srv/a.log", b"")
    info = confined.lstat(tree, "srv/c.log")
    assert info is not None
    assert (info.st_size, stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == (0, 0o640, 7, 8)


@pytest.mark.parametrize("path", ["var/cache/man/x", "var/log/x/y", "etc/machine-id", "etc/pipe/x", "etc"])
def test_nothing_is_added_behind_a_link(tree: Path, path: str) -> None:
    assert confined.add(tree, path, b"theirs", 0o644) is False
    assert unharmed(tree)


def test_what_is_added_has_its_directories(tree: Path) -> None:
    before = os.umask(0o077)
    try:
        assert confined.add(tree, "opt/a/b", b"x", 0o755)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tree / "opt/a").stat().st_mode) == 0o755
    assert stat.S_IMODE((tree / "opt/a/b").stat().st_mode) == 0o755
    assert confined.add(tree, "srv/a.log", b"new", 0o644)
    assert (tree / "srv/a.log").read_bytes() == b"new"


@pytest.mark.parametrize("path", ["var/cache/man", "var/log", "var/cache", "srv/b.log", "etc/machine-id"])
def test_only_what_is_empty_is_removed(tree: Path, path: str) -> None:
    assert confined.remove_empty(tree, path) is False
    assert os.path.lexists(tree / path)
    assert unharmed(tree)


def test_what_is_empty_is_removed(tree: Path) -> None:
    (tree / "srv/empty").mkdir()
    (tree / "srv/nothing").touch()
    assert confined.remove_empty(tree, "srv/empty") and confined.remove_empty(tree, "srv/nothing")
    assert confined.remove_empty(tree, "srv/empty") is False


def test_a_walk_follows_no_link(tree: Path) -> None:
    assert sorted(confined.files(tree)) == ["etc/hard", "srv/a.log"]
    found = sorted(path for path, _ in confined.walk(tree, "var"))
    assert found == ["var/cache", "var/cache/man", "var/log"]
    assert list(confined.walk(tree, "var/log")) == list(confined.walk(tree, "no")) == []
    assert confined.link_target(tree, "var/log") == "../../victim"
    assert confined.link_target(tree, "srv/a.log") is None


def test_marks_of_what_is_gone_are_nothing(tree: Path) -> None:
    os.mknod(tree / "srv/gone", stat.S_IFCHR, 0)
    assert confined.find(tree, "srv/g*") == confined.find(tree, "srv/gone") == ["srv/gone"]
    assert confined.find(tree, "srv/g*", whiteouts=False) == []
    assert confined.find(tree, "srv/gone", whiteouts=False) == []


def test_a_tree_deeper_than_a_path_may_be_long(tree: Path) -> None:
    top = os.open(tree, os.O_RDONLY)
    for _ in range(40):
        os.mkdir("d" * 200, dir_fd=top)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=top)
        os.close(top)
        top = inner
    descriptor = os.open("deep", os.O_WRONLY | os.O_CREAT, dir_fd=top)
    os.close(descriptor)
    os.close(top)
    assert len([path for path in confined.files(tree) if path.endswith("/deep")]) == 1
    confined.remove(tree, "d" * 200)
    assert confined.find(tree, "d*") == []
