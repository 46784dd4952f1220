"""Paths below a directory that foreign code wrote: nothing outside is read, written or removed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from engine import confined


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
    return sorted(p.relative_to(victim).as_posix() for p in victim.rglob("*")) == [
        "deep", "deep/keep", "keep",
    ] and (victim / "keep").read_text() == (victim / "deep/keep").read_text() == "mine"


@pytest.mark.parametrize(
    "pattern",
    ["var/cache/man/*", "var/log/*", "var/log/deep/*", "var/*/keep", "*/*/*/keep", "etc/loop/*",
     "etc/pipe/*", "etc/machine-id/*", "nothing/*"],
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
