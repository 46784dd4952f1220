"""The wheel, in a fresh virtual environment, in a project that has an engine and a store of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration import channel, web

ROOT = Path(__file__).resolve().parents[2]
UV = str(Path(sys.executable).parent / "uv")
SPEC = """
def build():
    base(os="debian12", language="python3")
    install.python_packages(["six"])
"""
SCRIPT = """
import engine, store, grammar
import envd

assert engine.MINE and store.MINE and grammar.MINE
try:
    envd.lock("nowhere.envd")
except envd.UsageError as error:
    assert "nowhere.envd: no such file" in str(error) and error.exit_code == 2
locked = envd.lock(check=True)
built = envd.build(tags=["wheel:again"], load=False, locked=True)
assert not locked.changed and not built.fetched
print(built.image_id, len(built.layers))
"""


def _newest() -> str:
    """The newest Python for Linux that uv brings, else the newest that this machine has."""
    brought = subprocess.run(
        [UV, "python", "install", "-q", "3"],
        capture_output=True,
        text=True,
        env={**os.environ, "UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": "60"},
    )
    if brought.returncode == 0:
        options = ["--managed-python", "3"]
        return subprocess.run(
            [UV, "python", "find", *options], capture_output=True, text=True, check=True
        ).stdout.strip()
    places = [*os.environ["PATH"].split(":"), *map(str, Path.home().glob(".pyenv/versions/*/bin"))]
    found = {
        int(match[1]): str(path)
        for place in places
        for path in Path(place).glob("python3.*")
        if (match := re.fullmatch(r"python3\.(\d+)", path.name)) and _runs(path)
    }
    newest = max(found)
    warnings.warn(f"uv brings no Python here; the newest that this machine has is 3.{newest}", stacklevel=1)
    return found[newest]


def _runs(python: Path) -> bool:
    """Whether it is a Python, and not pyenv's stand-in for one."""
    code = "import ssl, sqlite3, sys; assert sys.version_info >= (3, 11)"
    return subprocess.run([python, "-c", code], capture_output=True).returncode == 0


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheel, and a project beside it."""

    venv: Path
    project: Path
    environment: dict[str, str]

    def run(self, *argv: str) -> str:
        """What a command of the environment prints, run in the project."""
        done = subprocess.run(
            [self.venv / "bin" / argv[0], *argv[1:]],
            cwd=self.project,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as a release's is."""
    directory = tmp_path_factory.mktemp("wheel")
    subprocess.run([UV, "build", "-q", "--wheel", "-o", directory, ROOT], check=True)
    return next(directory.glob("envd-*.whl"))


@pytest.fixture(scope="module", params=["oldest", "newest"])
def installed(
    request: pytest.FixtureRequest, wheel: Path, shared_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installed]:
    """The wheel in a virtual environment of the oldest Python that envd runs on, and of the newest."""
    directory = tmp_path_factory.mktemp(f"installed-{request.param}")
    venv, project = directory / "venv", directory / "project"
    python = str(Path(sys.executable).resolve()) if request.param == "oldest" else _newest()
    subprocess.run([UV, "venv", "-q", "--python", python, venv], check=True)
    subprocess.run([UV, "pip", "install", "-q", "--python", venv / "bin/python", wheel], check=True)
    project.mkdir()
    for name in ("store", "grammar"):
        (project / name).mkdir()
        (project / name / "__init__.py").write_text("MINE = True\n")
    (project / "engine.py").write_text("MINE = True\n")
    # What is not of this project, the command must not take from it either.
    (project / "click.py").write_text("raise SystemExit('the project has run')\n")
    (project / "build.envd").write_text(SPEC)
    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "DOCKER_HOST")}
    yield Installed(
        venv,
        project,
        {**environment, "PYTHONPATH": ".", "ENVD_STORE": str(shared_store), "DOCKER_HOST": "unix:///none"},
    )


def test_it_holds_all_that_belongs_to_it(installed: Installed) -> None:
    assert installed.run("envd", "version").startswith("envd ")
    assert "torch" in installed.run("envd", "new", "--list")
    assert installed.run("python", "-P", "-c", "import envd; print(envd.__version__)")
    assert json.loads(installed.run("python", "-m", "envd", "parse"))["base"]["os"] == "debian12"
    code = "import pathlib, envd; print((pathlib.Path(envd.__file__).parent / 'py.typed').exists())"
    assert installed.run("python", "-P", "-c", code) == "True"


def test_lock_build_and_push(installed: Installed, registry: str) -> None:
    assert "files pinned" in installed.run("envd", "lock")
    image = installed.run("envd", "build", "--no-load", "-t", "wheel:dev")
    assert image == installed.run("envd", "build", "--no-load", "-t", "wheel:dev")
    reference = f"{registry}/wheel/{installed.venv.parent.name}:v1"
    digest = installed.run("envd", "push", reference).rpartition("@")[2]
    found = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{reference}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(found.stdout)["config"]["digest"] == image
    assert digest.startswith("sha256:")

    (installed.project / "use.py").write_text(textwrap.dedent(SCRIPT))
    name, layers = installed.run("python", "use.py").split()
    assert name == image and int(layers) > 2


def test_the_solver_of_conda_is_our_own(installed: Installed, tmp_path: Path) -> None:
    """It runs in a Python of its own."""
    channel.make_package(tmp_path, "greet", "1.0", {"share/greeting": b"hello\n"}, [])
    channel.index(tmp_path)
    spec = installed.project / "conda.envd"
    with web.serve(tmp_path) as server:
        spec.write_text(
            f'def build():\n    base(os="debian12")\n    config.conda_channel("{server.url}")\n'
            '    install.conda_packages(["greet"])\n'
        )
        assert "files pinned" in installed.run("envd", "lock", "-f", "conda.envd")
