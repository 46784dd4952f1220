"""The completion scripts in the real shells, driven as by hands on a keyboard."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.runtime import environments
from tests.integration import servers
from tests.integration.envd import ENVD, Envd, docker

IMAGE = "cli-completion/img:v1.5"


@pytest.fixture
def envd(tmp_path: Path, docker_engine: str) -> Iterator[Envd]:
    """The command with a context and an image that can be completed."""
    (tmp_path / "project").mkdir()
    empty = io.BytesIO()
    tarfile.open(fileobj=empty, mode="w").close()
    subprocess.run(
        ["docker", "import", "--change", "LABEL io.envd.packages=[]", "-", IMAGE],
        input=empty.getvalue(),
        env={**os.environ, "DOCKER_HOST": docker_engine},
        check=True,
        capture_output=True,
    )
    made = Envd(
        tmp_path / "store",
        tmp_path / "project",
        {
            "XDG_CONFIG_HOME": str(tmp_path / "settings"),
            "DOCKER_CONFIG": str(tmp_path / "docker"),
            "DOCKER_HOST": docker_engine,
            "HOME": str(tmp_path),
            "TERM": "dumb",
            "ENVD_STORE": str(tmp_path / "store"),
            "PATH": f"{ENVD.parent}:{os.environ['PATH']}",
        },
    )
    made.run("context", "create", "remote-one", "--host", "tcp://127.0.0.1:1")
    container = docker(
        "create", "--label", f"{environments.NAME}=cli-completion-env", IMAGE, "/x", host=docker_engine
    )
    try:
        yield made
    finally:
        docker("rm", container, host=docker_engine)
        docker("rmi", "-f", IMAGE, host=docker_engine)


SHELLS = {
    "bash": (["--norc", "-i"], "source <(envd completion bash)"),
    "zsh": (["-f", "-i"], "autoload -Uz compinit; compinit -u -D; source <(envd completion zsh)"),
}


@pytest.mark.parametrize("name", SHELLS)
def test_typing_in_a_shell(envd: Envd, name: str) -> None:
    options, setup = SHELLS[name]
    shown = typed(
        envd,
        [servers.program(name, name), *options],
        setup,
        [
            "envd contex\tinspect rem\t-f js\t",
            "envd completion fi\t",
            "envd images describe cli-completion/im\t-f json",
            "envd images describe cli-completion/img:v\t-f json",
        ],
    )
    assert '"host": "tcp://127.0.0.1:1"' in shown[0]
    assert "__fish_complete_directories" in shown[1]
    assert f'"{IMAGE}"' in shown[2]
    assert f'"{IMAGE}"' in shown[3]


def typed(envd: Envd, shell: list[str], setup: str, lines: list[str]) -> list[str]:
    """What a shell on a terminal shows when each of `lines` (with tabs) is typed after `setup`."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(envd.project)
        os.execvpe(shell[0], shell, {**os.environ, **envd.environment})
    shown = b""

    def wait(mark: str) -> str:
        nonlocal shown
        end = time.monotonic() + servers.PATIENCE
        while mark.encode() not in shown:
            assert time.monotonic() < end, shown.decode(errors="replace")
            if select.select([terminal], [], [], 0.1)[0]:
                shown += os.read(terminal, 1 << 16)
        before, _, shown = shown.partition(mark.encode())
        return before.decode(errors="replace")

    try:
        # Marks are put together by printf, so that the echo of what is typed is none.
        os.write(terminal, f"{setup}; printf '%s%s\\n' REA DY\n".encode())
        wait("READY")
        answers = []
        for line in lines:
            os.write(terminal, f"{line}; printf '%s%s\\n' DO NE\n".encode())
            answers.append(wait("DONE"))
        return answers
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


def test_fish(envd: Envd) -> None:
    def complete(line: str) -> list[str]:
        # fish completes a line that it is asked about as it would one that is typed
        done = subprocess.run(
            [
                servers.program("fish", "fish"),
                "--no-config",
                "-c",
                f"envd completion fish | source; complete -C '{line}'",
            ],
            env={**os.environ, **envd.environment},
            cwd=envd.project,
            capture_output=True,
            text=True,
            check=True,
        )
        return [line.partition("\t")[0] for line in done.stdout.splitlines()]

    assert complete("envd contex") == ["context"]
    assert complete("envd build --forc") == ["--force"]
    assert complete("envd context use rem") == ["remote-one"]
    assert IMAGE in complete("envd images describe cli-compl")
    assert complete("envd envs describe --env cli-compl") == ["cli-completion-env"]
    assert complete("envd new -t tor") == ["torch"]


def test_without_a_shell_one_error(envd: Envd) -> None:
    done = envd.run("completion", check=False)
    assert (done.code, done.stdout) == (2, "")
    assert "bash, zsh or fish" in done.stderr
