"""Functions of the language that no other test shows at work."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.envd import Envd, docker


def test_what_a_spec_says_of_itself_is_in_the_image(
    shared_store: Path, tmp_path: Path, docker_engine: str
) -> None:
    envd = Envd(shared_store, tmp_path / "p", {"DOCKER_HOST": docker_engine})
    envd.spec("""
def build():
    base(os="debian12")
    install.system_packages(["jq"])
    config.repo("https://git.example/x", description="What it holds")
    config.gpu(0)
    io.mount(src="~/data", dest="/data")
    runtime.command({"jq": "jq --version"})
""")
    warning = "build.envd:7:5: warning: io.mount() is deprecated; write runtime.mount"
    assert warning in envd.run("parse").stderr
    done = envd.run("build", "--progress=json")
    lines = [json.loads(line) for line in done.stderr.splitlines()]  # nothing else is there
    assert "warning: io.mount() is deprecated; write runtime.mount" in [x.get("text") for x in lines]
    labels = json.loads(docker("inspect", "-f", "{{json .Config.Labels}}", done.stdout, host=docker_engine))
    assert labels["org.opencontainers.image.source"] == "https://git.example/x"
    assert labels["org.opencontainers.image.description"] == "What it holds"
    assert json.loads(labels["io.envd.mounts"]) == [["~/data", "/data"]]
    assert json.loads(labels["io.envd.commands"]) == {"jq": "jq --version"}
    shown = docker("run", "--rm", "--network=none", done.stdout, "jq", "--version", host=docker_engine)
    assert shown.startswith("jq-1.6")
