"""What an idle build is made of: plain strings, and no imports that cost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli import plain
from engine.core import paths as locate
from engine.core.fingerprint import fingerprint
from engine.core.project import find
from engine.errors import UsageError

# Each of these takes longer to import than an idle build does all in all.
HEAVY = {
    "click",
    "dataclasses",
    "docker",
    "grammar",
    "http.client",
    "inspect",
    "lark",
    "pathlib",
    "requests",
    "rich",
    "typing",
    "urllib.parse",
}


def test_an_idle_build_imports_nothing_heavy(tmp_path: Path) -> None:
    """The whole of it, up to the question to an engine that is not there."""
    (tmp_path / "build.envd").write_text("def build():\n    base()\n")
    code = """if True:
        import sys
        bare = set(sys.modules)  # what the interpreter's own start brought
        sys.argv = ["envd", "build", "-t", "a:b"]
        from engine.app import fastpath
        from engine.core import paths as locate
        from engine.cli import entry
        from engine.docker import probe
        from engine.core.fingerprint import fingerprint
        from store.memos import read_memo
        assert probe.image_id("a:b") is None
        fingerprint("build.envd"), read_memo(locate.store(), "x")
        assert entry._idle(sys.argv[2:]) is False
        print(*set(sys.modules) - bare)
    """
    sqlite = tmp_path / "db.sqlite"
    sqlite.write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "ENVD_STORE": str(tmp_path), "DOCKER_HOST": "unix:///nonexistent"},
    )
    imported = set(done.stdout.split())
    assert "engine.app.fastpath" in imported
    assert imported & HEAVY == set()


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([], {}),
        (["-t", "a"], {"tag": ["a"]}),
        (["--tag=a", "-t", "b"], {"tag": ["a", "b"]}),
        (["-f", "x:y", "-p", "z", "--no-load"], {"file": ["x:y"], "path": ["z"], "--no-load": [""]}),
        (["--progress", "plain", "-j", "4"], {"progress": ["plain"], "jobs": ["4"]}),
        (["--progress", "fancy"], None),
        (["-j", "0"], None),
        (["-j", "many"], None),
        (["-t"], None),
        (["-tx"], None),
        (["--no-load=1"], None),
        (["--force"], None),
        (["-o", "oci:x"], None),
        (["--help"], None),
        (["word"], None),
    ],
)
def test_only_plain_options_are_read_without_click(
    words: list[str], options: dict[str, list[str]] | None
) -> None:
    assert plain.options(words) == options


def test_a_project_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "My Proj").mkdir()
    (tmp_path / "My Proj" / "build.envd").write_text("")
    (tmp_path / "My Proj" / "other.envd").write_text("")
    monkeypatch.chdir(tmp_path / "My Proj")
    found = find(None, None)
    assert (str(found.spec), found.function, found.name) == ("build.envd", "build", "my-proj")
    assert str(found.lock) == "envd.lock"
    assert found.directory == tmp_path / "My Proj"
    other = find("other.envd:serve", None)
    assert (other.function, str(other.lock)) == ("serve", "other.envd.lock")
    monkeypatch.chdir(tmp_path)
    assert str(find(None, "My Proj").lock) == "My Proj/envd.lock"
    assert find("My Proj/other.envd", None).directory == tmp_path / "My Proj"
    for file, path in (("nope.envd", None), (None, "nowhere"), (None, None)):
        with pytest.raises(UsageError):
            find(file, path)


@pytest.mark.parametrize(
    ("path", "absolute"), [("a", "/w/a"), ("./a//b", "/w/a/b"), ("../a", "/w/../a"), ("/x/./y", "/x/y")]
)
def test_absolute_paths(path: str, absolute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getcwd", lambda: "/w")
    assert locate.absolute(path) == absolute == str(Path("/w") / path)


def test_fingerprints_tell_what_counts(tmp_path: Path) -> None:
    def tree(name: str, text: str = "x", mode: int = 0o644, link: str = "a") -> str:
        top = tmp_path / name
        (top / "d").mkdir(parents=True)
        (top / "d" / "a").write_text(text)
        (top / "d" / "a").chmod(mode)
        (top / "l").symlink_to(link)
        return fingerprint(top)

    same = tree("one")
    assert tree("two") == same == fingerprint(str(tmp_path / "one"))
    assert tree("private", mode=0o600) == same
    assert len({same, tree("text", text="y"), tree("x", mode=0o755), tree("l", link="b")}) == 4
    # Pinned: a copy's derivation holds it.
    assert same == ("65480c4980c0531b818a8b12d93c775fbd92112f3ebf17899fab27967b448a4a")
