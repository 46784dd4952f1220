"""What images say of themselves: an image cannot choose what of the host its container sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.ecosystems.steps import dev
from engine.ecosystems.steps.dev import LABEL
from engine.errors import UsageError
from engine.runtime import labels
from engine.runtime.container import Mount, Options, runtime_of, wanted
from grammar.evaluate import evaluate

USER = (1000, 1000)


def runtime(**facts: Any) -> dict[str, Any]:
    return runtime_of({LABEL: json.dumps(facts)}, "evil:1")


@pytest.mark.parametrize("source", ["/", "/etc", "/root/.ssh", "~/.ssh", "~", "../..", "."])
def test_an_image_gets_no_directory_of_the_host(source: str, tmp_path: Path) -> None:
    options = Options(project=tmp_path, name="evil", from_spec=False)
    want = wanted("id", runtime(mounts=[[source, "/host", False]]), options, USER)
    assert [m.source for m in want.mounts] == [str(tmp_path)]
    assert [m.target for m in want.left_out] == ["/host"]


def test_an_image_gets_its_volumes(tmp_path: Path) -> None:
    options = Options(project=tmp_path, name="good", from_spec=False)
    want = wanted("id", runtime(mounts=[["set", "/data", True]]), options, USER)
    assert want.mounts[1] == Mount("volume", "envd-data-set", "/data")
    assert not want.left_out


@pytest.mark.parametrize("source", ["/", "/etc", "..", "../other", "link", "inside/../.."])
def test_a_spec_asks_for_what_is_outside(source: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "inside").mkdir(parents=True)
    (project / "link").symlink_to("/etc")
    facts = runtime(mounts=[[source, "/host", False]])
    with pytest.raises(UsageError, match="--allow-mount"):
        wanted("id", facts, Options(project=project, name="evil"), USER)
    real = str((project / source).resolve())
    allowed = Options(project=project, name="evil", allow_mounts=(real,))
    assert len(wanted("id", facts, allowed, USER).mounts) == 2


def test_a_spec_has_the_project_and_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    facts = runtime(mounts=[["~/notes", "/notes", False], ["data", "/data", False]])
    want = wanted("id", facts, Options(project=tmp_path / "project", name="good"), USER)
    assert [m.source for m in want.mounts[1:]] == [f"{home}/notes", f"{tmp_path}/project/data"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "5",
        "{",
        "[" * 100_000,
        '{"mounts": 5}',
        '{"mounts": [5]}',
        '{"mounts": [["a"]]}',
        '{"mounts": [["/", "/host", "no"]]}',
        '{"mounts": [["../x", "/data", true]]}',
        '{"mounts": [["a/b", "/data", true]]}',
        '{"mounts": [["", "/data", true]]}',
        '{"mounts": [["a", "", true]]}',
        '{"mounts": [["a\\nb", "/x", false]]}',
        '{"jupyter": [99999999, ""]}',
        '{"jupyter": "8888"}',
        '{"jupyter": [true, ""]}',
        '{"expose": [[80]]}',
        '{"expose": [["80", null, "", ""]]}',
        '{"expose": [[80, -1, "", ""]]}',
        '{"owner": [0, "0"]}',
        '{"owner": [-1, 0]}',
        '{"gpu": -1}',
        '{"gpu": "all"}',
        '{"shm_size": 1e9}',
        '{"shm_size": "1g"}',
        '{"commands": {"a": 5}}',
        '{"commands": ["a"]}',
        '{"python": "numpy"}',
        '{"shell": ["sh", "-c"]}',
        '{"cuda": 12}',
    ],
)
def test_a_malformed_label_is_one_error(text: str) -> None:
    with pytest.raises(UsageError, match=r"^evil:1: ") as caught:
        runtime_of({LABEL: text}, "evil:1")
    assert "\n" not in str(caught.value)


def test_what_envd_writes_is_known() -> None:
    """A fact that the label gets and this list does not would be dropped without a word."""
    spec = """def build():
    base(dev=True, language="python3")
    install.cuda(version="12.9", cudnn="9")
    install.apt_packages(["git"])
    install.python_packages(["numpy"])
    install.conda_packages(["zlib"])
    config.jupyter(token="t", port=8889)
    config.gpu(2)
    config.shm_size(128)
    config.owner(1000, 1000)
    runtime.mount(host_path=data.envd("set"), envd_path="/data")
    runtime.mount(host_path="~/notes", envd_path="/notes")
    runtime.expose(envd_port=80, host_port=8080, service="web")
    runtime.command(commands={"train": "python train.py"})
    runtime.init(["true"])
    shell("zsh")
"""
    written = json.loads(dev.label(evaluate(spec, "build.envd")))
    assert len(written) == 14
    assert labels.checked(written) == written


def test_what_is_not_known_is_left_out() -> None:
    assert runtime(privileged=True, shell="zsh") == {"shell": "zsh"}
