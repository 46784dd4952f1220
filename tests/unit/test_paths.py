"""Where the command looks for modules: never in a project's directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.core import own
from envd.paths import OWN, ROOT, searched

LIBRARY, SITE = "/usr/lib/python3.11", "/venv/lib/python3.11/site-packages"


@pytest.mark.parametrize(
    ("paths", "pythonpath", "here", "wanted"),
    [
        ([LIBRARY, ROOT], "", "", [LIBRARY, ROOT]),
        ([LIBRARY, SITE, ROOT], "", "", [LIBRARY, SITE, ROOT]),
        # Relative ones, empty ones and the current directory are the project's.
        (["/p", LIBRARY, ROOT], ".", "/p", [LIBRARY, ROOT]),
        (["/p/lib", "/p", LIBRARY, ROOT], "lib:", "/p", [LIBRARY, ROOT]),
        (["/p", LIBRARY, ROOT], "/p", "/p", [LIBRARY, ROOT]),
        (["/p", LIBRARY, ROOT], "/p/", "/p", [LIBRARY, ROOT]),
        # Others stay reachable, after what is installed.
        (["/mine", "/more", LIBRARY, ROOT], "/mine:/more", "/p", [LIBRARY, ROOT, "/mine", "/more"]),
        # Unless they are what leads here.
        ([ROOT, "/more", LIBRARY], f"{ROOT}:/more", "/p", [ROOT, "/more", LIBRARY]),
        ([ROOT, "/p", LIBRARY], f"{ROOT}:.", "/p", [ROOT, LIBRARY]),
        # A checkout that is the current directory.
        ([ROOT, LIBRARY], ".", ROOT, [ROOT, LIBRARY]),
        ([LIBRARY], "", "", [ROOT, LIBRARY]),
    ],
)
def test_the_path(paths: list[str], pythonpath: str, here: str, wanted: list[str]) -> None:
    assert searched(paths, pythonpath, here) == wanted


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose modules have the names of ours, and of what we import."""
    for name in (*OWN, "click", "rich"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the project has run')\n")
    (tmp_path / "build.envd").write_text("def build():\n    base()\n")
    return tmp_path


@pytest.mark.parametrize("pythonpath", [".", "HERE:/nonexistent"])
def test_a_python_of_our_own_runs_our_modules(project: Path, pythonpath: str) -> None:
    done = subprocess.run(
        own.command("engine.cli.entry", "parse"),
        cwd=project,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": pythonpath.replace("HERE", str(project))},
    )
    assert done.returncode == 0, done.stderr
    assert '"base"' in done.stdout


def test_in_the_directory_of_a_project(project: Path) -> None:
    """`python -m envd` there, where the name leads to us; a directory that is gone."""
    (project / "envd" / "__init__.py").unlink()
    argv = [sys.executable, "-m", "envd", "parse"]
    done = subprocess.run(argv, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (project / "gone").mkdir()
    script = 'cd gone; rmdir ../gone; exec "$@"'
    command = own.command("engine.cli.entry", "version")
    done = subprocess.run(
        ["sh", "-c", script, "sh", *command],
        cwd=project,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": "/nonexistent"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("envd ")


def test_a_program_that_imports_envd_keeps_its_own(project: Path) -> None:
    (project / "envd" / "__init__.py").unlink()
    (project / "envd").rmdir()
    for name in ("engine", "store", "grammar"):
        (project / name / "__init__.py").write_text("MINE = True\n")
    (project / "use.py").write_text(
        "import sys; before = list(sys.path)\n"
        "import envd\n"
        "try:\n    envd.lock('nowhere.envd')\nexcept envd.UsageError as error:\n    print(error)\n"
        "import engine, store, grammar\n"
        "assert engine.MINE and store.MINE and grammar.MINE and sys.path == before\n"
    )
    done = subprocess.run(
        [sys.executable, "use.py"],
        cwd=project,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f".:{ROOT}"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "nowhere.envd: no such file; write one, or name it with -f FILE\n"
