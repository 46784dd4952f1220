"""All of this once more as an ordinary user, in the way that envd itself runs as one.

In CI tests run as root. What an ordinary user builds with is root in a user namespace, where chown,
mknod, mounts and attributes do less: so every case here runs there too, by a pytest of its own, but
for those that are about the machine's real root (the mark needs_root).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What is said of URLs is the same for any user, and takes minutes to ask.
LEFT_OUT = ("test_urls.py",)


@pytest.fixture
def environment(readable_copy: Path) -> dict[str, str]:
    """The variables of a pytest that an ordinary user can run, with an `envd` beside its Python."""
    venv = readable_copy / "venv"
    python = Path(sys.executable).resolve()
    subprocess.run([str(python), "-m", "venv", "--without-pip", str(venv)], check=True)
    site = next((venv / "lib").glob("python3*/site-packages"))
    (site / "copied.pth").write_text(f"{readable_copy}/site-packages\n{readable_copy}\n")
    envd = venv / "bin/envd"
    envd.write_text(f"#!{venv}/bin/python\nfrom envd.__main__ import main\nmain()\n")
    envd.chmod(0o755)
    shutil.copy(Path(sys.executable).parent / "uv", venv / "bin/uv")
    for name in ("tests", "scripts", "docs", "pyproject.toml", "README.md"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, readable_copy / name)
    subprocess.run(["chmod", "-R", "a+rX", str(readable_copy)], check=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "ENVD_", "DOCKER_"))}
    return {**kept, "PATH": f"{venv}/bin:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.mark.xdist_group("hostile as a user")
def test_all_of_it_as_an_ordinary_user(
    ordinary_user: str, readable_copy: Path, environment: dict[str, str]
) -> None:
    home, place = Path(f"~{ordinary_user}").expanduser(), readable_copy / "tmp"
    place.mkdir()
    shutil.chown(place, ordinary_user)
    done = subprocess.run(
        [
            "runuser",
            "-u",
            ordinary_user,
            "--",
            "unshare",
            "--user",
            "--map-root-user",
            "--map-auto",
            str(readable_copy / "venv/bin/python"),
            "-m",
            "pytest",
            "-v",
            "--tb=short",
            f"--basetemp={place}/run",
            "-m",
            "not needs_root",
            "tests/hostile",
            *(f"--ignore=tests/hostile/{name}" for name in LEFT_OUT),
        ],
        cwd=readable_copy,
        env={**environment, "HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout  # said with -v, for pyproject.toml has -q
    assert "skipped" not in done.stdout
