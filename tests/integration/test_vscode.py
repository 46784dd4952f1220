"""Extensions: from a gallery's real .vsix to what an editor's server lists."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import gallery
from tests.integration.envd import Envd

SPEC = """
def build():
    base(os="debian12")
    install.vscode_extensions({names})
"""


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> gallery.Tools:
    """A real vsce and a real code-server."""
    return gallery.install_tools(tmp_path_factory.mktemp("npm") / "tools")


@pytest.fixture(scope="module")
def extensions(
    tmp_path_factory: pytest.TempPathFactory, tools: gallery.Tools
) -> Iterator[str]:
    """A gallery with ms-python.python, which depends on a second one."""
    directory = tmp_path_factory.mktemp("gallery")
    files = [
        gallery.make_vsix(tools, directory, "ms-python", "python", "2024.1.0", ["acme.helper"]),
        gallery.make_vsix(tools, directory, "ms-python", "python", "2024.2.0", ["acme.helper"]),
        gallery.make_vsix(tools, directory, "acme", "helper", "1.0.0"),
    ]
    with gallery.serve(files) as url:
        yield url


def test_code_server_lists_what_was_installed(
    shared_store: Path, tmp_path: Path, extensions: str, tools: gallery.Tools
) -> None:
    envd = Envd(shared_store, tmp_path / "p", {"ENVD_VSCODE_GALLERY": extensions})
    envd.spec(SPEC.format(names='["ms-python.python@2024.1.0"]'))
    root = envd.unpacked(tmp_path)
    directory = root / "opt/envd/extensions"
    # extensions.json names the place inside the image: the server looks there
    link = Path("/opt/envd/extensions")
    assert not link.exists()
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(directory)
    try:
        done = subprocess.run(
            [*tools.code_server, "--extensions-dir", str(link), "--user-data-dir",
             str(tmp_path / "user"), "--list-extensions", "--show-versions"],
            capture_output=True, text=True, check=True,
        )
    finally:
        link.unlink()
    assert {"ms-python.python@2024.1.0", "acme.helper@1.0.0"} <= set(done.stdout.split())
    assert (root / "root/.vscode-server/extensions").is_symlink()


def test_the_newest_version_is_locked_and_one_change_builds_one_object(
    shared_store: Path, tmp_path: Path, extensions: str
) -> None:
    envd = Envd(shared_store, tmp_path / "p", {"ENVD_VSCODE_GALLERY": extensions})
    envd.spec(SPEC.format(names='["acme.helper"]'))
    envd.run("build", "--no-load")
    envd.spec(SPEC.format(names='["acme.helper", "ms-python.python"]'))
    done = envd.run("build", "--no-load", "--progress=json")
    assert done.names("finish") == ["ms-python.python-2024.2.0", "vscode-extensions"]


def test_an_unknown_extension_is_named_with_its_place(
    shared_store: Path, tmp_path: Path, extensions: str
) -> None:
    envd = Envd(shared_store, tmp_path / "p", {"ENVD_VSCODE_GALLERY": extensions})
    envd.spec(SPEC.format(names='["acme.nothing"]'))
    done = envd.run("lock", check=False)
    assert done.code == 1
    assert "build.envd:4:" in done.stderr
    assert "no extension 'acme.nothing'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_index_holds_no_times(shared_store: Path, tmp_path: Path, extensions: str) -> None:
    envd = Envd(shared_store, tmp_path / "p", {"ENVD_VSCODE_GALLERY": extensions})
    envd.spec(SPEC.format(names='["acme.helper"]'))
    root = envd.unpacked(tmp_path)
    index = root / "opt/envd/extensions/extensions.json"
    (row,) = json.loads(index.read_text())
    assert row["relativeLocation"] == "acme.helper-1.0.0"
    assert not [key for key in row["metadata"] if "time" in key.lower()]
