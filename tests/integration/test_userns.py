"""Building as root and as an ordinary user in a user namespace gives the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.realise import userns

PROJECT = Path(__file__).parents[2]
PYTHON = Path(sys.executable).resolve()  # which every user may read, as the project's own may not be

# Makes a root, changes it in the sandbox as many uids, captures both: prints the objects' ids.
BUILD = """
import sys
from pathlib import Path
from engine.realise import sandbox
from engine.realise import userns
from store import Store
from tests.integration import small_root

if not userns.is_root_like():
    userns.enter([sys.executable, *sys.orig_argv[1:]])
place = Path(sys.argv[1])
store = Store.open(place / "store")
script = '''
mkdir -p /srv/a /opt/gone/deep; echo 1 >/srv/a/one; chown 33:33 /srv/a/one; chmod 4755 /srv/a/one
echo 2 >/srv/two; chown 1000:100 /srv/two; chown -h 65534:65534 /srv; ln -s two /srv/link
ln /srv/two /srv/hard; rm /usr/bin/sleep; rm -r /old; mkdir /old; echo n >/old/new
'''
with store.scratch("base") as scratch:
    root = small_root.make(scratch / "upper")
    (root / "old").mkdir()
    (root / "old/file").write_text("x")
    base = store.capture(root, "base")
with store.scratch("top") as scratch:
    upper = sandbox.run(["sh", "-ec", script], layers=[store.tree(base.id)], scratch=scratch,
                        log=lambda line: print(line, file=sys.stderr), name="top")
    top = store.capture(upper, "top", [base.id])
print(base.id, top.id, top.diff_id, top.digest)
"""


@pytest.fixture
def user() -> Iterator[tuple[str, Path]]:
    """A fresh ordinary user with subordinate ids, and a directory of its own."""
    name = f"envdtest{os.getpid()}"
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", name], check=True)
    place = Path(tempfile.mkdtemp(prefix="envd-userns-"))
    try:
        shutil.chown(place, name, name)
        place.chmod(0o755)
        yield name, place
    finally:
        subprocess.run(["userdel", "--remove", name], check=True, capture_output=True)
        shutil.rmtree(place)


def paths(copy: Path) -> dict[str, str]:
    """The variables that make a copy of everything be used."""
    return {"PYTHONPATH": f"{copy}:{copy}/site-packages"}


def build(prefix: list[str], place: Path, copy: Path) -> str:
    done = subprocess.run(
        [*prefix, str(PYTHON), "-c", BUILD, str(place)],
        capture_output=True,
        text=True,
        cwd=copy,
        env={**os.environ, **paths(copy)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_root_and_user_make_the_same_bytes(
    user: tuple[str, Path], tmp_path: Path, readable_copy: Path
) -> None:
    name, place = user
    shutil.copytree(PROJECT / "tests", readable_copy / "tests")
    as_user = build(["runuser", "-u", name, "--"], place, readable_copy)
    as_root = build([], tmp_path, readable_copy)
    assert as_user == as_root
    assert len(as_root.split()) == 4


def test_a_user_without_subordinate_ids_is_told_what_to_do(
    user: tuple[str, Path], readable_copy: Path
) -> None:
    name, _ = user
    for option, path in (("--del-subuids", "/etc/subuid"), ("--del-subgids", "/etc/subgid")):
        for line in Path(path).read_text().splitlines():
            owner, first, count = line.split(":")
            if owner == name:
                last = int(first) + int(count) - 1
                subprocess.run(["usermod", option, f"{first}-{last}", name], check=True)
    done = subprocess.run(
        [
            "runuser",
            "-u",
            name,
            "--",
            str(PYTHON),
            "-c",
            "from engine.realise import userns; print(userns.reason_unavailable())",
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=readable_copy,
        env={**os.environ, **paths(readable_copy)},
    )
    assert done.stdout == (
        f"/etc/subuid gives '{name}' no range of 65536 ids; run `usermod --add-subuids "
        f"100000-165535 --add-subgids 100000-165535 {name}` as root\n"
    )


def test_a_namespace_of_one_uid_is_not_root_like() -> None:
    done = subprocess.run(
        [
            "unshare",
            "--user",
            "--map-root-user",
            sys.executable,
            "-c",
            "from engine.realise import userns; print(userns.is_root_like())",
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT,
    )
    assert done.stdout == "False\n"


def test_entry_is_marked_and_keeps_the_outer_uid() -> None:
    argv, environment = userns.entry(["envd", "build"], {"A": "b", userns.OUTER_UID: "1000"})
    assert argv[-3:] == ["--", "envd", "build"]
    assert environment == {"A": "b", userns.MARK: "1", userns.OUTER_UID: "1000"}


def test_a_failed_entry_does_not_loop() -> None:
    done = subprocess.run(
        [
            "unshare",
            "--user",
            "--map-root-user",
            sys.executable,
            "-c",
            "from engine.realise import userns; userns.ensure()",
        ],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        env={**os.environ, userns.MARK: "1"},
    )
    assert done.returncode == 1
    assert "UsageError: the user namespace was entered but" in done.stderr
