"""run(..., network=True): the lock pins what it gives, whatever the network says later."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.integration import web
from tests.integration.envd import Envd

SPEC = """
def build():
    base(os="debian12", language="python3")
    run(["python3 -c 'import urllib.request as u; u.urlretrieve(\\"{url}/f\\", \\"/srv/f\\")'",
         "date +%N >/root/.wget-hsts", "echo {salt} >/srv/salt", "[ $ftp_proxy = {proxy} ]"],
        network=True)
    run(["cat /srv/f >/srv/g", "[ -z ${{ftp_proxy-}} ]"])
"""
PROXY = "http://127.0.0.1:9"
LOCKED = ("build", "--no-load", "--locked", "--progress=json")


def rows(envd: Envd) -> list[dict[str, Any]]:
    found: list[dict[str, Any]]
    found = tomllib.loads((envd.project / "envd.lock").read_text()).get("steps", [])
    return found


@pytest.fixture
def project(shared_store: Path, tmp_path: Path) -> Envd:
    # a proxy that nobody runs, for what nobody fetches
    return Envd(shared_store, tmp_path / "one", {"ftp_proxy": PROXY})


def test_the_lock_pins_what_a_step_gave(project: Envd, tmp_path: Path) -> None:
    served = tmp_path / "www"
    served.mkdir()
    (served / "f").write_text("first")
    with web.serve(served) as site:
        project.spec(SPEC.format(url=site.url, salt=uuid.uuid4(), proxy=PROXY))
        project.run("lock")
        unpinned = project.run(*LOCKED, check=False)
        assert unpinned.code == 2 and "build.envd:4:5: error: run-" in unpinned.stderr
        assert "without --locked once" in unpinned.stderr
        assert site.asked == []
        built = project.run("build", "--no-load", "--progress=json")
        (row,) = rows(project)
        assert set(row) == {"name", "key", "object", "diff_id", "size"}
        assert PROXY not in (project.project / "envd.lock").read_text()
        stored = {o["id"]: o for o in project_objects(project)}
        assert stored[row["object"]]["diff_id"] == row["diff_id"]

        # what the network says now is of no matter, also to another checkout of another name
        (served / "f").write_text("second")
        assert project.run(*LOCKED).stdout == built.stdout
        other = replace(project, project=tmp_path / "two", environment={})
        shutil.copytree(project.project, other.project)
        assert row["name"] in other.run(*LOCKED).names("cached")
        assert len(site.asked) == 1

        # built anew it is compared, and what differs is named
        changed = project.run("build", "--no-load", "--force", check=False)
        assert changed.code == 1 and len(site.asked) == 2
        assert "build.envd:4:5: error:" in changed.stderr
        assert "srv/f: content (5 bytes -> 6 bytes)" in changed.stderr
        assert "wget-hsts" not in changed.stderr and "srv/salt" not in changed.stderr
        assert f"envd lock --update-step {row['name']}" in changed.stderr
        assert rows(project) == [row]

        wrong = project.run("lock", "--update-step", row["name"] + "x", check=False)
        assert wrong.code == 2 and f"did you mean '{row['name']}'" in wrong.stderr
        accepted = project.run("lock", "--update-step", row["name"])
        assert "srv/f: content (5 bytes -> 6 bytes)" in accepted.stderr
        (new,) = rows(project)
        assert new["key"] == row["key"] and new["object"] != row["object"]
        assert project.run(*LOCKED).stdout != built.stdout

        # other layers below: the pin is for something else, and is renewed; not with --locked
        text = (project.project / "build.envd").read_text()
        project.spec(text.replace('    run(["python3', "    run(['touch /srv/x'])\n    run([\"python3"))
        stale = project.run(*LOCKED, check=False)
        assert stale.code == 2 and "other layers below" in stale.stderr
        renewed = project.run("build", "--no-load")
        assert "its pin is renewed" in renewed.stderr
        assert [r["object"] for r in rows(project)] == [new["object"]]

        # without the step there is no row
        project.spec('def build():\n    base(os="debian12", language="python3")\n')
        project.run("build", "--no-load")
        assert rows(project) == []
        none = project.run("lock", "--update-step", "all", check=False)
        assert none.code == 2 and "no run(..., network=True)" in none.stderr


def project_objects(envd: Envd) -> list[dict[str, Any]]:
    import json

    found: list[dict[str, Any]] = json.loads(envd.run("store", "ls", "--format=json").stdout)
    return found


def test_a_clone_gives_the_same_bytes_twice(project: Envd, tmp_path: Path) -> None:
    """Neither the times in git's index nor its logs stay."""
    repository = tmp_path / "www/repo"
    repository.mkdir(parents=True)
    git = ["git", "-C", str(repository), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    (repository / "file").write_text(str(uuid.uuid4()))
    for command in (["init", "-q"], ["add", "file"], ["commit", "-qm", "m"], ["update-server-info"]):
        subprocess.run([*git, *command], check=True)
    with web.serve(tmp_path / "www") as site:
        project.spec(f"""
def build():
    base(os="debian12")
    install.apt_packages(["git"])
    run(["git clone -q {site.url}/repo/.git /srv/repo", "cd /srv/repo", "git status >/srv/status"],
        network=True)
""")
        project.run("build", "--no-load")
        project.run("build", "--no-load", "--force")
        assert "HEAD" in " ".join(site.asked)
    root = project.unpacked(tmp_path)
    assert (root / "srv/repo/file").read_text() == (repository / "file").read_text()
    clean = subprocess.run(
        [
            "git",
            "-c",
            f"safe.directory={root}/srv/repo",
            "-C",
            str(root / "srv/repo"),
            "status",
            "--porcelain",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    assert clean.stdout == ""
