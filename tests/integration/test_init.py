"""`envd init` and `envd new` by the command itself: what they write can be locked."""

from __future__ import annotations

import json
import os
import pty
import select
import time
from pathlib import Path

import pytest

from engine import templates
from grammar.evaluate import evaluate
from tests.integration import servers
from tests.integration.envd import ENVD, Envd

NOTEBOOK = json.dumps({"cells": [{"cell_type": "code", "source": ["import six\n", "import idna\n"]}]})


@pytest.fixture
def envd(shared_store: Path, tmp_path: Path) -> Envd:
    """The command in a project with requirements and a notebook."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "requirements.txt").write_text("six>=1.15\n")
    (project / "look.ipynb").write_text(NOTEBOOK)
    return Envd(shared_store, project, {"XDG_CONFIG_HOME": str(tmp_path / "settings")})


def test_what_init_writes_can_be_locked(envd: Envd) -> None:
    dry = envd.run("init", "--dry-run")
    assert sorted(p.name for p in envd.project.iterdir()) == ["look.ipynb", "requirements.txt"]
    done = envd.run("init")
    spec = envd.project / "build.envd"
    assert spec.read_text().strip() == dry.stdout
    assert "found Python packages" in done.stderr
    assert "note: 'idna' is imported but not declared (look.ipynb)" in done.stderr
    envd.run("lock")
    assert '"six"' in (envd.project / "envd.lock").read_text()
    refused = envd.run("init", check=False)
    assert (refused.code, refused.stderr) == (2, "error: build.envd: already exists; --force overwrites it\n")
    envd.run("init", "--force", "--lang", "r")
    assert 'language="r"' in spec.read_text()
    (envd.project / "requirements.txt").write_text("git+https://example.org/x.git\n")
    warned = envd.run("init", "--force")
    assert "requirements.txt:1:1" in warned.stderr
    assert "fix it" in warned.stderr


def test_on_a_terminal_it_asks(envd: Envd) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(envd.project)
        os.environ.update({**envd.environment, "TERM": "dumb", "ENVD_STORE": str(envd.store)})
        os.execv(ENVD, ["envd", "init"])
    shown = b""
    answers = {b"shell": b"zsh\n", b"Jupyter": b"n\n", b"declared (idna)": b"y\n"}
    end = time.monotonic() + servers.PATIENCE
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                shown += os.read(terminal, 1 << 16)
            except OSError:
                break  # the other end is closed
        for question in [q for q in answers if q in shown and shown.rstrip().endswith(b":")]:
            os.write(terminal, answers.pop(question))
            shown = b""
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert answers == {}
    text = (envd.project / "build.envd").read_text()
    assert 'shell("zsh")' in text
    assert "config.jupyter" not in text
    assert '\n    install.python_packages(["idna"])\n' in text


def test_templates(envd: Envd) -> None:
    own = Path(envd.environment["XDG_CONFIG_HOME"]) / "envd/templates"
    own.mkdir(parents=True)
    (own / "mine.envd").write_text("# Ours.\ndef build():\n    base()\n")
    rows = json.loads(envd.run("new", "--list", "--format", "json").stdout)
    names = {row["name"]: row["source"] for row in rows}
    assert names.pop("mine") == "user"
    assert set(names) == {"codex", "conda", "julia", "pixi", "python", "r", "torch", "uv"}
    for template in templates.listed():
        evaluate(template.path.read_text(), str(template.path))
        assert template.about, template.name
    envd.run("new", "-t", "mine")
    assert (envd.project / "build.envd").read_text() == (own / "mine.envd").read_text()
    there = envd.run("new", "-t", "torch", check=False)
    assert (there.code, "--force" in there.stderr) == (2, True)
    wrong = envd.run("new", "-t", "troch", check=False)
    assert (wrong.code, "did you mean 'torch'?" in wrong.stderr) == (2, True)
