"""Extensions: from a gallery's real .vsix to what an editor's server lists."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.envd import Envd

SPEC = """
def build():
    base(os="debian12")
    install.vscode_extensions({names})
"""


def test_the_newest_version_is_locked_and_one_change_builds_one_object(
    tmp_path: Path, extensions: str
) -> None:
    # A store of its own: in the shared one other tests may have built the list of these two.
    envd = Envd(tmp_path / "store", tmp_path / "p", {"ENVD_VSCODE_GALLERY": extensions})
    envd.spec(SPEC.format(names='["acme.helper"]'))
    envd.run("build", "--no-load")
    envd.spec(SPEC.format(names='["acme.helper", "ms-python.python"]'))
    done = envd.run("build", "--no-load", "--progress=json")
    assert done.names("finish") == ["ms-python.python-2024.2.0", "vscode-extensions"]


def test_an_unknown_extension_is_named_with_its_place(
    shared_store: Path, tmp_path: Path, extensions: str
) -> None:
    envd = Envd(shared_store, tmp_path / "p", {"ENVD_VSCODE_GALLERY": extensions})
    envd.spec(SPEC.format(names='["acme.nothing", "acme.helpr", "acme.helper"]'))
    done = envd.run("lock", check=False)
    assert done.code == 1
    assert "build.envd:4:32: error: " in done.stderr and "build.envd:4:48: error: " in done.stderr
    assert "no extension 'acme.nothing'" in done.stderr
    assert "did you mean 'acme.helper'?" in done.stderr
    assert done.stderr.count("^") == 2 and "Traceback" not in done.stderr


def test_the_index_holds_no_times(shared_store: Path, tmp_path: Path, extensions: str) -> None:
    envd = Envd(shared_store, tmp_path / "p", {"ENVD_VSCODE_GALLERY": extensions})
    envd.spec(SPEC.format(names='["acme.helper"]'))
    root = envd.unpacked(tmp_path)
    index = root / "opt/envd/extensions/extensions.json"
    (row,) = json.loads(index.read_text())
    assert row["relativeLocation"] == "acme.helper-1.0.0"
    assert not [key for key in row["metadata"] if "time" in key.lower()]


def test_unknown_names_of_all_kinds_are_one_answer(
    shared_store: Path, tmp_path: Path, extensions: str
) -> None:
    envd = Envd(shared_store, tmp_path / "p", {"ENVD_VSCODE_GALLERY": extensions})
    envd.spec("""
def build():
    base(os="debian12", language="python3")
    install.apt_packages(["ripgrp", "tmuxx"])
    install.python_packages(["numpyy"])
    install.vscode_extensions(["acme.helpr"])
""")
    done = envd.run("lock", check=False)
    errors = [line for line in done.stderr.splitlines() if ": error: " in line]
    assert [line.split(": error: ")[0].rpartition("/")[2] for line in errors] == [
        "build.envd:4:27",
        "build.envd:4:37",
        "build.envd:5:30",
        "build.envd:6:32",
    ]
    for error, meant in zip(errors, ("ripgrep", "tmux", "numpy", "acme.helper"), strict=True):
        assert f"did you mean '{meant}'?" in error
    assert done.stderr.count("^") == 4 and done.code == 1
    assert not (envd.project / "envd.lock").exists()
