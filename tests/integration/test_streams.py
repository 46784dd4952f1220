"""Standard streams that are closed, full, no terminal, or read by nobody."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from store import Store
from tests.integration.envd import ENVD
from tests.integration.tiny import tiny_image


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with enough images that a listing is longer than a pipe's first read."""
    path = tmp_path_factory.mktemp("streams") / "store"
    opened = Store.open(path)
    try:
        for number in range(3):
            tiny_image(opened, f"streams:{number}")
    finally:
        opened.close()
    return path


def shell(command: str, store: Path, **environment: str) -> tuple[int, str, str]:
    """Exit status, standard output and error of a shell command in which $E is envd."""
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        cwd=store.parent,
        env={
            **os.environ,
            "E": str(ENVD),
            "ENVD_STORE": str(store),
            "DOCKER_HOST": "unix:///nonexistent",
            **environment,
        },
    )
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("$E images >&-", 0, ""),
        ("$E images >&- 2>&- <&-", 0, ""),
        ("$E store ls -f json >&-", 0, ""),
        ("$E images >/dev/full", 1, "No space left on device"),
        ("$E images -f json >/dev/full", 1, "No space left on device"),
        ("$E --help >/dev/full", 1, "No space left on device"),
        ("$E build --bogus 2>&-", 2, ""),
        ("set -o pipefail; $E images | true", 1, ""),
        ("$E login example.org </dev/null", 2, "no terminal"),
        ("$E login example.org <&-", 2, "no terminal"),
    ],
)
def test_streams(store: Path, command: str, code: int, says: str) -> None:
    if command.endswith("| true"):
        # Whoever is quicker decides whether the pipe broke: both ends are in order.
        assert shell(command, store)[0] in (0, code)
        return
    status, _, err = shell(command, store)
    assert status == code, err
    assert says in err
    assert err.count("\n") <= 1


def test_files_do_not_become_standard_streams(store: Path, tmp_path: Path) -> None:
    """With descriptors 0 to 2 closed, what is opened first must not be what is printed to."""
    before = {p: p.read_bytes() for p in store.rglob("*") if p.is_file()}
    assert shell("$E images <&- >&- 2>&-; $E store verify <&- >&- 2>&-", store)[0] == 0
    for path, content in before.items():
        if path.name.startswith("db.sqlite-"):  # the write-ahead log goes with its last reader
            continue
        assert path.read_bytes() == content, path


def test_colours_only_on_terminals_that_want_them(store: Path) -> None:
    assert "\x1b" not in shell("$E images", store, FORCE_COLOR="")[1]

    def terminal(**environment: str) -> str:
        script = "script -qec '$E images' /dev/null"
        return shell(script, store, COLUMNS="100", **environment)[1]

    assert "\x1b[1m" in terminal(TERM="xterm", NO_COLOR="")
    assert "\x1b" not in terminal(TERM="xterm", NO_COLOR="1")
    assert "\x1b" not in terminal(TERM="dumb", NO_COLOR="")


def test_errors_are_one_line_without_a_terminal(store: Path) -> None:
    for command in ("$E images describe nothing", "$E build", "$E -x", "$E context use nowhere"):
        status, out, err = shell(command, store)
        assert (status, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
