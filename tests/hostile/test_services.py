"""Servers with a shell in them: nobody enters without the token, and nobody else can read it."""

from __future__ import annotations

import json
import re
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration import servers
from tests.integration.conftest import docker_engine
from tests.integration.envd import Envd, docker

__all__ = ["docker_engine"]

SPEC = """
def build():
    base(os="debian12", language="python3")
    install.python_packages(["numpy", "jupyter"])
    config.jupyter(port={port}{token})
"""
Start = Callable[[str], tuple[str, str, int]]


@pytest.fixture
def start(shared_store: Path, tmp_path: Path, docker_engine: str) -> Iterator[Start]:
    """Build and run an image with Jupyter: its container, its image and its port."""
    made: list[str] = []

    def begin(token: str) -> tuple[str, str, int]:
        port = servers.free_port()
        envd = Envd(shared_store, tmp_path / "p", {"DOCKER_HOST": docker_engine})
        envd.spec(SPEC.format(port=port, token=token))
        image = envd.run("build").stdout
        made.append(
            docker("run", "-d", "--network=host", "-e", "ENVD_LISTEN=127.0.0.1", image, host=docker_engine)
        )
        return made[-1], image, port

    yield begin
    for container in made:
        docker("rm", "-f", container, host=docker_engine)


def status(url: str) -> int:
    """The status, once something answers."""
    end = time.monotonic() + servers.PATIENCE
    while not (found := servers.status(url)):
        assert time.monotonic() < end
        time.sleep(0.2)
    return found


def seen_by_others(container: str, image: str, engine: str) -> str:
    """What an image, a container and its processes show to who has no business with them."""
    return docker("inspect", container, image, host=engine) + docker(
        "exec",
        "-u",
        "65534",
        container,
        "sh",
        "-c",
        "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ; cat /etc/envd/private/* /etc/envd/services/*/*",
        host=engine,
        check=False,
    )


def test_without_a_token_there_is_a_random_one(start: Start, docker_engine: str) -> None:
    container, image, port = start("")
    url = f"http://127.0.0.1:{port}/api/contents"
    assert status(url) == 403
    logs = docker("logs", container, host=docker_engine)
    match = re.search(rf"http://127\.0\.0\.1:{port}/\S*token=(\w{{32,}})", logs)
    assert match is not None
    assert status(f"{url}?token={match[1]}") == 200
    assert match[1] not in seen_by_others(container, image, docker_engine)
    assert "token=" not in seen_by_others(container, image, docker_engine)


def test_the_specs_own_token_is_roots_to_read(start: Start, docker_engine: str) -> None:
    token = f"it's {uuid.uuid4()} \\\" $HOME"
    container, image, port = start(f', token="{token}"')
    url = f"http://127.0.0.1:{port}/api/contents"
    assert status(url) == 403
    request = urllib.request.Request(url, headers={"Authorization": "token " + json.loads(f'"{token}"')})
    with urllib.request.urlopen(request, timeout=120) as answer:
        assert answer.status == 200
    assert token.split()[1] not in seen_by_others(container, image, docker_engine)
    assert docker(
        "exec",
        container,
        "stat",
        "-c",
        "%a",
        "/etc/envd/private",
        "/etc/envd/private/jupyter-token",
        host=docker_engine,
    ).split() == ["700", "600"]
