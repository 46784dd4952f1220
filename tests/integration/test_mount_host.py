"""run(mount_host=True): commands see the project, and a change in it runs them again."""

from __future__ import annotations

import os
from pathlib import Path

from tests.integration.envd import Envd

SPEC = """
def build():
    base(os="debian12")
    run(["pwd > /srv/where", "ls -A > /srv/listed", "cat data/one > /srv/one",
         "cp data/one /srv/copied", "! touch new 2>/dev/null",
         "stat -c '%u %a %Y' data/one > /srv/about"],
        mount_host=True)
    run(["cat /srv/one > /srv/after"])
"""


def test_commands_see_the_project_and_follow_its_changes(shared_store: Path, tmp_path: Path) -> None:
    envd = Envd(shared_store, tmp_path / "my-project")
    envd.spec(SPEC)
    envd.run("lock")
    (envd.project / "data").mkdir()
    (envd.project / ".git").mkdir()
    one = envd.project / "data/one"
    one.write_text(f"first {os.getpid()}\n")
    os.mkfifo(envd.project / "pipe")  # is no content, and nobody waits for it
    root = envd.unpacked(tmp_path)
    assert (root / "srv/where").read_text() == "/home/envd/my-project\n"
    assert (root / "srv/listed").read_text().split() == ["build.envd", "data"]
    assert (root / "srv/one").read_text() == one.read_text() == (root / "srv/after").read_text()
    assert (root / "srv/about").read_text() == "0 644 1704067200\n"
    assert not (root / "home/envd").exists()
    assert sorted(p.name for p in envd.project.iterdir()) == [
        ".git",
        "build.envd",
        "data",
        "envd.lock",
        "pipe",
    ]
    # neither git's own files, nor times and modes, are content
    (envd.project / ".git/index").write_text("x")
    one.chmod(0o600)
    os.utime(one, (1, 1))
    again = envd.run("build", "--no-load", "--progress=json")
    assert again.names("start") == []
    one.write_text(f"second {os.getpid()}\n")
    changed = envd.run("build", "--no-load", "--progress=json")
    assert len(changed.names("finish")) == 2
    assert changed.stdout != again.stdout
