"""`run`: bash with pipefail in the project's directory; what fails is named, and why."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.integration.envd import Envd

SPEC = """
def build():
    base(os="debian12")
    run({commands})
"""


def test_commands_are_bashs_in_the_projects_directory(shared_store: Path, tmp_path: Path) -> None:
    envd = Envd(shared_store, tmp_path / "my project")
    envd.spec("""
def build():
    base(os="debian12")
    run(["source /etc/os-release", "echo $ID >/srv/id", "cat >>/srv/id <<EOF", "$PWD", "EOF"])
    run(["mkdir inner", "cd inner", "pwd >/srv/inner", "touch here"])
    run(["pwd >/srv/last", "ls >>/srv/last", "[[ $- == *e* ]]", "chmod 700 /srv"])
""")
    root = envd.unpacked(tmp_path)
    assert (root / "srv/id").read_text() == "debian\n/home/envd/my project\n"
    assert (root / "srv/inner").read_text() == "/home/envd/my project/inner\n"
    assert (root / "srv/last").read_text() == "/home/envd/my project\ninner\n"
    # the directory is only where something was written into it, by the second step
    assert [p.name for p in (root / "home/envd/my project").rglob("*")] == ["inner", "here"]
    assert not (root / "run/envd").exists()


@pytest.mark.parametrize(
    ("commands", "says"),
    [
        (["echo one", "false | cat", "echo two"], "exit status 1 at `false | cat`"),
        (["echo one", "x=1\nls /nowhere \\\n  /here\n"], "exit status 2 at `ls /nowhere"),
        (["echo $NOWHERE"], "exit status 1 at `echo $NOWHERE`"),
        (["true", "exit 3"], "exit status 3 at `exit 3`"),
        (["cat >/srv/x <<E", "a", "E", "cd /nowhere"], "exit status 1 at `cd /nowhere`"),
        (["true", "(exit 4)"], "exit status 4 at `(exit 4)`"),
    ],
)
def test_the_command_that_failed_is_named(
    shared_store: Path, tmp_path: Path, commands: list[str], says: str
) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec(SPEC.format(commands=commands))
    done = envd.run("build", "--no-load", check=False)
    assert done.code == 1
    last = done.stderr.splitlines()
    assert any(line.startswith("build.envd:4:5: error: run-") and says in line for line in last), last
    assert "network" not in done.stderr


@pytest.mark.parametrize(
    "commands",
    [
        ["getent hosts nowhere.example"],
        ["echo one", "(echo >/dev/tcp/192.0.2.1/443) 2>/dev/null | sh"],
        ["python3 -c 'import urllib.request as u; u.urlopen(\"http://192.0.2.1/\")'"],
    ],
)
def test_what_needs_the_network_says_so(shared_store: Path, tmp_path: Path, commands: list[str]) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec(SPEC.format(commands=commands).replace('"debian12"', '"debian12", language="python3"'))
    done = envd.run("build", "--no-load", check=False)
    assert done.code == 1
    assert "build.envd:4:5: error: run-" in done.stderr
    assert "io.http" in done.stderr and "run(..., network=True)" in done.stderr


def test_going_on_without_the_network_is_said(shared_store: Path, tmp_path: Path) -> None:
    """apt-get update, for one, ends with 0."""
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec(SPEC.format(commands=[f"getent hosts {uuid.uuid4()}.example || true"]))
    done = envd.run("build", "--no-load")
    assert "build.envd:4:5: it tried to use the network" in done.stderr
    # what talks to itself is not meant
    envd.spec(SPEC.format(commands=[f"(echo >/dev/tcp/127.0.0.1/9) || echo {uuid.uuid4()}"]))
    assert "network" not in envd.run("build", "--no-load").stderr
