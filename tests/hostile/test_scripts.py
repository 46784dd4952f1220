"""scripts/with-docker where another user of the machine was first: nothing of root's is overwritten,
and nobody else's socket is spoken to."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/with-docker"
NOBODY = 65534


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in /tmp, as other users see it; the last part of its name is unpredictable."""
    path = Path(tempfile.mkdtemp(prefix="hostile-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def start(data: Path | None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DOCKER_HOST": "unix:///nonexistent/sock"}
    environment.pop("ENVD_DOCKER_DATA", None)
    if data is not None:
        environment["ENVD_DOCKER_DATA"] = str(data)
    return subprocess.run(
        [str(SCRIPT), "sh", "-c", "echo started $DOCKER_HOST"],
        env=environment,
        text=True,
        capture_output=True,
        check=False,
        timeout=120,
    )


def mine(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY)


def shared(path: Path) -> None:
    path.chmod(0o777)


def group_may_write(path: Path) -> None:
    path.chmod(0o770)


def below_mine(path: Path) -> None:
    os.chown(path.parent, NOBODY, NOBODY)


def a_link(path: Path) -> None:
    for name in ("sock", "pid", "log"):
        (path / name).unlink(missing_ok=True)
    path.rename(path.parent / "real")
    os.chown(path.parent / "real", NOBODY, NOBODY)
    path.symlink_to("real")


def own_with_link(path: Path) -> None:
    path.chmod(0o700)


@pytest.mark.parametrize(
    "prepare",
    [mine, shared, group_may_write, below_mine, a_link, own_with_link],
    ids=lambda f: str(f.__name__),
)
def test_a_data_directory_of_others_is_refused(prepare: Callable[[Path], None], place: Path) -> None:
    victim = place / "victim"
    victim.write_text("root's own\n")
    data = place / "data"
    data.mkdir(mode=0o755)
    (data / "log").symlink_to(victim)
    prepare(data)
    outcome = start(data)
    assert outcome.returncode == 1, outcome.stderr
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("with-docker: ") and outcome.stderr.count("\n") == 1
    assert victim.read_text() == "root's own\n"


@pytest.mark.needs_root
def test_a_predictable_name_is_not_used(place: Path) -> None:
    victim = place / "victim"
    victim.write_text("root's own\n")
    old = Path(f"/tmp/envd-docker-{os.getuid()}")
    made = not old.exists()
    if made:
        old.mkdir(mode=0o755)
        (old / "log").symlink_to(victim)
        os.chown(old, NOBODY, NOBODY)
    try:
        outcome = start(None)
        assert outcome.returncode == 0, outcome.stderr
        socket = Path(outcome.stdout.removeprefix("started unix://").strip())
        assert socket.parent != old
        assert not socket.parent.exists()  # its data went with it
        assert victim.read_text() == "root's own\n"
    finally:
        if made:
            shutil.rmtree(old)


@pytest.mark.needs_root
def test_a_directory_of_ones_own_is_kept(place: Path) -> None:
    data = place / "data"
    outcome = start(data)
    assert outcome.stdout == f"started unix://{data}/sock\n", outcome.stderr
    assert data.stat().st_mode & 0o777 == 0o700
    assert (data / "log").is_file()
