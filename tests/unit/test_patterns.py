"""Ignore files: Docker's rules, by its documentation and by what BuildKit does where that is silent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.core.patterns import PatternError, Rules, parse
from engine.realise.selection import Selection, SelectionError, sentence

# the lines of an ignore file, paths that they leave out, paths that they do not
_CASES = (
    ("build", ("build", "build/a", "build/a/b"), ("src/build", "builder")),
    ("build/", ("build", "build/a"), ("src/build",)),
    ("/build", ("build", "build/a"), ("src/build",)),
    ("./a/../b", ("b",), ("a", "a/b")),
    ("  spaces  ", ("spaces",), ()),
    ("*", ("a", "a/b", ".c"), ()),
    ("*/temp*", ("a/temp", "a/temporary/b"), ("temp", "a/b/temp")),
    ("*.md", ("a.md",), ("docs/a.md", "a.mdx")),
    ("**/*.go", ("a.go", "x/y/a.go"), ("a.goo",)),
    ("**/.env", (".env", "a/.env", "a/b/.env/c"), ("x.env", ".envrc")),
    ("**file", ("file", "myfile", "a/myfile"), ("files",)),
    ("a**", ("a", "ab", "a/b"), ("b/a",)),
    ("a/**", ("a/b", "a/b/c"), ("a", "ab")),
    ("a/**/z", ("a/z", "a/b/z", "a/b/c/z"), ("z", "a/zz")),
    ("**/node_modules/**", ("node_modules/x", "a/node_modules/x/y"), ("a/node_modules",)),
    ("a?c", ("abc", "a☺c"), ("a/c", "ac")),
    ("a[b-d]e", ("abe", "ade"), ("aee", "ae")),
    ("a[^b-d]e", ("aze",), ("abe",)),
    ("[\\]x]", ("]", "x"), ("y",)),
    ("a\\*b", ("a*b",), ("axb",)),
    ("a.b+(c)|{d}$", ("a.b+(c)|{d}$",), ("aXb+(c)|{d}$",)),
    ("# not this\n#nor this\nthis", ("this",), ("# not this", "#nor this")),
    (" # a name", ("# a name",), ()),
    ("\ufefffirst\r\nsecond\r\n", ("first", "second"), ()),
    ("", (), ("a",)),
    (".", (), ("a",)),
    ("docs\n!docs/README.md", ("docs", "docs/a"), ("docs/README.md",)),
    ("docs/*\n!docs/README.md", ("docs/a",), ("docs", "docs/README.md")),
    ("*.md\n!README*.md\nREADME-secret.md", ("a.md", "README-secret.md"), ("README.md",)),
    ("*.md\nREADME-secret.md\n!README*.md", ("a.md",), ("README.md", "README-secret.md")),
    ("!a.md\n*.md", ("a.md",), ()),
    ("**\n!src\n!*.toml", ("a", "sub/x.toml"), ("src", "src/a/b", "p.toml")),
    ("*\n!src/**/*.py", ("src", "src/a/b.txt"), ("src/a.py", "src/a/b.py")),
    ("!  a\na", ("a",), ()),
    ("a\n!a/b\na/b/c", ("a", "a/x", "a/b/c"), ("a/b", "a/b/d")),
)


@pytest.mark.parametrize(("lines", "out", "kept"), _CASES, ids=[repr(c[0]) for c in _CASES])
def test_what_a_file_leaves_out(lines: str, out: tuple[str, ...], kept: tuple[str, ...]) -> None:
    rules = Rules(parse(lines, ".dockerignore"))
    assert [p for p in out if rules.reason(p) is None] == []
    assert [p for p in kept if rules.reason(p) is not None] == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("!", "takes nothing back"),
        ("a[", "without its"),
        ("[]a]", "write"),
        ("[x-]", "write"),
        ("[z-a]", "empty range"),
        ("a\\", "backslash"),
        ("[^", "without its"),
    ],
)
def test_patterns_that_mean_nothing_are_named(line: str, words: str) -> None:
    with pytest.raises(PatternError, match=rf"^\.dockerignore:2: .*{words}"):
        parse(f"fine\n{line}\n", ".dockerignore")


def _project(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))
    return root


def _out(root: Path, source: str = ".", *exclude: str) -> list[str]:
    return sorted(os.fsdecode(n) for n in Selection(str(root), source, exclude).left_out())


def test_what_is_of_this_machine_is_left_out_unless_it_is_named(tmp_path: Path) -> None:
    root = _project(
        tmp_path,
        ".git/HEAD",
        ".venv/bin/x",
        ".env",
        "envd.lock",
        "a.py",
        "__pycache__/a.pyc",
        "sub/.env",
        "sub/.git/HEAD",
        "sub/envd.lock",
        "sub/b.py",
    )
    assert _out(root) == [".env", ".git", ".venv", "__pycache__", "envd.lock", "sub/.env", "sub/.git"]
    assert _out(root, "sub") == [".env", ".git"]
    assert _out(root, ".venv") == _out(root, ".git") == _out(root, "sub/.git") == []
    (root / ".dockerignore").write_text("!sub/.env\n")
    assert "sub/.env" not in _out(root)
    assert ".env" in _out(root)
    (root / "link").symlink_to(".venv")
    assert _out(root, "link") == []


def test_the_more_particular_ignore_file_counts_alone(tmp_path: Path) -> None:
    root = _project(tmp_path, "a", "b")
    (root / ".dockerignore").write_text("a\n")
    assert _out(root) == ["a"]
    (root / ".envdignore").write_text("b\n")
    assert _out(root) == ["b"]


def test_directories_that_are_taken_back_in_part(tmp_path: Path) -> None:
    root = _project(tmp_path, "d/a", "d/e/b", "d/e/c", "d/f/g", "h/i")
    (root / ".dockerignore").write_text("*\n!d/e/b\n!.dockerignore\n")
    assert _out(root) == ["d/a", "d/e/c", "d/f", "h"]
    assert _out(root, "d") == ["a", "e/c", "f"]
    with pytest.raises(SelectionError, match=r"'h' is left out by \.dockerignore:1 \('\*'\).*!h"):
        _out(root, "h")


def test_exclude_is_relative_to_the_source(tmp_path: Path) -> None:
    root = _project(tmp_path, "d/a.txt", "d/e/a.txt", "d/e/b", "d[x]/a.txt", "a.txt")
    assert _out(root, "d", "*.txt") == ["a.txt"]
    assert _out(root, "d", "**/*.txt", "!e/a.txt") == ["a.txt"]
    assert _out(root, "d[x]", "*") == ["a.txt"]
    with pytest.raises(SelectionError, match="exclude: "):
        _out(root, "d", "[")


def test_fingerprints_do_not_see_what_is_left_out(tmp_path: Path) -> None:
    root = _project(tmp_path, "a", "data/x", b"caf\xe9".decode("utf-8", "surrogateescape"))
    (root / ".dockerignore").write_text("data\ncaf?\n")
    before = Selection(str(root)).fingerprint()
    (root / "data/x").write_text("other")
    (root / "data/y").write_text("more")
    assert Selection(str(root)).fingerprint() == before
    (root / ".dockerignore").write_text("data/y\ncaf?\n")
    assert Selection(str(root)).fingerprint() != before


def test_names_that_no_layer_can_hold_are_found(tmp_path: Path) -> None:
    root = _project(tmp_path, "d/.wh.a", "e/.wh.b", "f.wh.c")
    (root / ".dockerignore").write_text("e\n")
    assert Selection(str(root)).whiteouts() == [b"d/.wh.a"]


def test_one_line_says_what_is_left_out() -> None:
    assert sentence(frozenset()) == ""
    assert sentence(frozenset({b"b/c", b"d", b"a"})) == "left out a, d, b/c"
    many = frozenset(b"%d" % n for n in range(10))
    assert sentence(many) == "left out 0, 1, 2, 3, 4, 5 and 4 more"
