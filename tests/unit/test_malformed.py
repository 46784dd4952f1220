"""Malformed specs: each gives one good error and exit code 2, and nothing is written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli.main import main

# name, file, where, what is said ("HERE" is the project's directory)
Case = tuple[str, bytes, str, str]


def _cases() -> list[Case]:
    """The specs of malformed.txt."""
    text = (Path(__file__).parent / "malformed.txt").read_text("utf-8")
    found = []
    for entry in re.split(r"^=== ", text, flags=re.MULTILINE)[1:]:
        name, rest = entry.split("\n", 1)
        spec, last = re.split(r"^--- ", rest, flags=re.MULTILINE)
        where, message = last.strip().split(" ", 1)
        found.append((name, spec.encode(), where, message))
    return found


# What a text file of specs cannot hold.
OTHERS: list[Case] = [
    ("empty", b"", "1:1", "no function 'build'; write `def build():`"),
    ("only blanks", b" \n\n", "1:1", "no function 'build'; write `def build():`"),
    ("no line break at the end", b"def build(): base(", "1:18", "'(' is never closed"),
    ("carriage returns", b"def build():\r    shell('zhs')\r", "2:11", "no shell 'zhs'"),
    ("line breaks of Windows", b"def build():\r\n    shell('zhs')\r\n", "2:11", "no shell 'zhs'"),
    ("mark of UTF-8", b"\xef\xbb\xbfdef build():\n    shell('zhs')\n", "2:11", "no shell 'zhs'"),
    ("NUL byte", b"def build():\n    base()\0\n", "2:11", "a NUL byte in the file"),
    ("form feed", b"def build():\n\x0c    base()\n", "2:1", "unexpected character 'U+000C'"),
    ("Latin-1", "def build():\n    # größe\n".encode("latin-1"), "2:9", "not UTF-8: save it as UTF-8"),
    ("UTF-16", "def build():\n".encode("utf-16"), "1:1", "the file is UTF-16: save it as UTF-8"),
    ("UTF-16 without a mark", "def build():\n".encode("utf-16-le"), "1:2", "a NUL byte in the file"),
    ("binary", bytes(range(128, 256)), "1:1", "not UTF-8: save it as UTF-8"),
    ("ELF", b"\x7fELF\x02\x01\x01\0\0", "1:8", "a NUL byte in the file"),
    ("gzip", b"\x1f\x8b\x08\0\0\0", "1:2", "not UTF-8: save it as UTF-8"),
    ("too large", b"# " + b"x" * (1 << 20) + b"\n", "1:1", "the file is larger than 1048576 characters"),
    (
        "wide characters before the mistake",
        "def build(): run(['日本'], x=1)\n".encode(),
        "1:26",
        "run() has no parameter 'x'",
    ),
    ("a very long line", b"x = [" + b"1, " * 500 + b"oops]\n", "1:1506", "unknown name 'oops'"),
]
CASES = [*_cases(), *OTHERS]


def check(case: Case, errors: str, directory: Path) -> None:
    """One error at its place, with a caret under it, and nothing of Python's."""
    name, _, where, message = case
    lines = errors.replace(str(directory), "HERE").splitlines()
    assert lines[0].startswith(f"build.envd:{where}: error: {message}"), (name, lines[0])
    assert errors.count(": error: ") == 1, errors
    line, column = (int(x) for x in where.split(":"))
    assert lines[1].startswith(f"{line:>5} | "), errors
    caret = lines[2].index("^") - len("      | ")
    shown = lines[1].removeprefix(f"{line:>5} | ")
    wide = sum(c in "日本🙂" for c in shown[: column - 1])  # two columns of a terminal each
    assert caret == column - 1 + wide or column > len(shown), errors
    assert all(not re.match(r" *\d+ \|", x) for x in lines[3:]), errors
    for word in ("Traceback", "<class", "object at 0x", "builtin_function", "Error("):
        assert word not in errors


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_one_good_error(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "build.envd").write_bytes(case[1])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["build"])
    assert stopped.value.code == 2
    shown = capsys.readouterr()
    check(case, shown.err, tmp_path)
    assert shown.out == ""
    assert [p.name for p in tmp_path.iterdir()] == ["build.envd"]


@pytest.mark.parametrize("case", CASES[::70], ids=[case[0] for case in CASES[::70]])
def test_the_real_process_says_the_same(case: Case, tmp_path: Path) -> None:
    (tmp_path / "build.envd").write_bytes(case[1])
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli.entry", "build"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "ENVD_STORE": str(tmp_path / "store"),
        },
    )
    assert (done.returncode, done.stdout) == (2, "")
    check(case, done.stderr, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["build.envd"]


def test_there_are_many_and_all_differ() -> None:
    assert len({case[1] for case in CASES}) == len({case[0] for case in CASES}) == len(CASES)
    assert len(CASES) >= 400


@pytest.mark.parametrize("make", ["directory", "nothing", "broken link"])
def test_what_is_no_file(
    make: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "build.envd"
    if make == "directory":
        spec.mkdir()
    elif make == "broken link":
        spec.symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["build"])
    assert stopped.value.code == 2
    shown = capsys.readouterr().err
    assert re.match(r"error: \S*build\.envd: (no such file|a directory)", shown), shown
    assert len(shown.splitlines()) == 1


def test_copies_of_nothing_are_named_before_anything_is_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "build.envd").write_text(
        'def build():\n    io.copy("nope", "/x")\n    io.copy("../..", "/y")\n'
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["build"])
    first, _, caret, second, *_ = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and caret.endswith("    ^")
    assert first.startswith("build.envd:2:5: error: io.copy: no such file 'nope'")
    assert second.startswith("build.envd:3:5: error: io.copy: '../..' is outside")
    assert [p.name for p in tmp_path.iterdir()] == ["build.envd"]
