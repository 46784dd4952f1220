"""The whole path with real parts: spec to lock to image to a running container."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.integration import gallery, index, servers
from tests.integration.envd import Envd, docker

ROOT = Path(__file__).resolve().parents[2]

DEMO = """
def build():
    base(os="debian12", language="python3")
    install.vscode_extensions(["ms-python.python@2024.1.0"])
    install.python_packages(["numpy", "jupyter"])
    install.cuda(version="12.9")
    shell("zsh")
    config.jupyter(token="secret", port=%d)
"""

RUN = 'run(["echo built > /etc/built", "rm /etc/issue"])'
SMALL = """
def build():
    base(os="debian12", language="python3")
    install.python_packages({packages})
    shell("zsh")
    run(["echo built > /etc/built", "rm /etc/issue"])
"""


def small(packages: list[str]) -> str:
    return SMALL.format(packages=json.dumps(packages))


def test_demo_runs_in_docker(
    shared_store: Path, tmp_path: Path, docker_engine: str, extensions: str, editor_tools: gallery.Tools
) -> None:
    settings = {"DOCKER_HOST": docker_engine, "ENVD_VSCODE_GALLERY": extensions}
    envd = Envd(shared_store, tmp_path / "demo", settings)
    port = servers.free_port()
    envd.spec(DEMO % port)
    image = envd.run("build", "-t", "envd-test:demo").stdout
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", image)
    assert docker("inspect", "-f", "{{.Id}}", "envd-test:demo", host=docker_engine) == image

    tools = f"{editor_tools.directory}:{editor_tools.directory}:ro"

    def run(*argv: str) -> str:
        return docker("run", "--rm", "--network=none", "-v", tools, image, *argv, host=docker_engine)

    assert run("python3", "-c", "import numpy; print(numpy.arange(3).sum())") == "3"
    loads = "import ctypes; ctypes.CDLL('libcudart.so.12'); print('cuda')"
    assert run("python", "-c", loads) == "cuda"
    assert run("sh", "-c", "getent passwd root | cut -d: -f7; echo $SHELL").split() == [
        "/bin/zsh",
        "/bin/zsh",
    ]
    # code-server itself, where it looks by default
    listed = run(*editor_tools.code_server, "--list-extensions", "--show-versions").split()
    assert {"ms-python.python@2024.1.0", "acme.helper@1.0.0"} <= set(listed)
    assert run("ls", "/root/.vscode-server/extensions").split() == [
        "acme.helper-1.0.0",
        "extensions.json",
        "ms-python.python-2024.1.0",
    ]
    name = docker("run", "-d", "--network=host", image, host=docker_engine)
    try:
        assert _jupyter_answers(f"http://127.0.0.1:{port}/api/status?token=secret")
        assert servers.status(f"http://127.0.0.1:{port}/api/status") == 403
    finally:
        docker("stop", "-t", "30", name, host=docker_engine)
        code = docker("inspect", "-f", "{{.State.ExitCode}}", name, host=docker_engine)
        docker("rm", "-f", name, host=docker_engine)
    assert code == "0", "the container had to be killed"


def _jupyter_answers(url: str) -> bool:
    for _ in range(120):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return "started" in json.load(answer)
        except OSError:
            time.sleep(0.5)
    return False


def test_one_changed_package_builds_one_object(shared_store: Path, tmp_path: Path) -> None:
    envd = Envd(shared_store, tmp_path / "thirty")
    packages = [p for p in index.THIRTY if p != "six"]
    # no run(): that is over everything, and has to be done again when anything changes
    text = small([]).replace(RUN, "")
    for version in ("1.16.0", "1.15.0"):
        envd.spec(text.replace("[]", json.dumps([*packages, f"six=={version}"])))
        done = envd.run("build", "--no-load", "--progress=json")
    assert done.names("finish") == ["six-1.15.0"]
    assert done.names("start") == ["six-1.15.0"]
    assert len(done.names("fetch-finish")) == 1
    assert len([n for n in done.names("cached") if n.rpartition("-")[0] in packages]) == 29


def test_second_build_starts_nothing(shared_store: Path, tmp_path: Path, docker_engine: str) -> None:
    envd = Envd(shared_store, tmp_path / "again", {"DOCKER_HOST": docker_engine})
    envd.spec(small(["six"]))
    image = envd.run("build").stdout
    # a network namespace of its own: nothing but the engine's unix socket can be reached
    offline = Envd(shared_store, envd.project, envd.environment, ("unshare", "--net"))
    again = offline.run("build", "--progress=json")
    assert again.stdout == image
    assert again.names("start") == again.names("fetch-start") == []
    # the same without the memo: everything is found in the store
    (envd.project / "build.envd").write_text(small(["six"]) + "\n# a comment\n")
    slow = offline.run("build", "--progress=json")
    assert slow.stdout == image
    assert slow.names("start") == slow.names("fetch-start") == []
    assert slow.names("cached") != []


def test_kill_in_the_middle_then_build(tmp_path: Path) -> None:
    envd = Envd(tmp_path / "store", tmp_path / "killed")
    envd.spec(small(["six", "idna", "click"]))
    envd.run("lock")
    command = [
        str(ROOT / ".venv/bin/envd") if (ROOT / ".venv/bin/envd").exists() else "envd",
        "build",
        "--no-load",
        "--progress=json",
    ]
    for wait_for in ("fetch-finish", "start", "finish"):
        process = subprocess.Popen(
            command,
            cwd=envd.project,
            env={**os.environ, "ENVD_STORE": str(envd.store)},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("{") and json.loads(line)["kind"] == wait_for:
                break
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
    envd.run("build", "--no-load")
    assert envd.run("store", "verify").stdout == "store is clean"


def test_same_lock_gives_the_same_image_for_root_and_user(
    shared_store: Path, tmp_path: Path, ordinary_user: str, readable_copy: Path
) -> None:
    root = Envd(shared_store, tmp_path / "asroot", {"TZ": "Asia/Kolkata", "LANG": "C.UTF-8"})
    root.spec(small(["six", "numpy"]))
    root.run("build", "-o", f"oci:{tmp_path}/root.tar")
    home = Path(f"~{ordinary_user}").expanduser()
    project = home / "elsewhere" / "asroot"
    project.mkdir(parents=True)
    for name in ("build.envd", "envd.lock"):
        shutil.copy(root.project / name, project / name)
    subprocess.run(["chown", "-R", f"{ordinary_user}:", str(home)], check=True)
    script = (
        f"umask 077; cd {project} && exec {Path(sys.executable).resolve()} -m engine.cli.main"
        f" build --locked -o oci:{home}/user.tar"
    )
    done = subprocess.run(
        [
            "runuser",
            "-u",
            ordinary_user,
            "--",
            "env",
            "-i",
            "PATH=/usr/bin:/bin:/usr/sbin:/sbin",
            f"HOME={home}",
            "TZ=America/New_York",
            "LC_ALL=C",
            f"ENVD_STORE={home}/deep/store",
            f"PYTHONPATH={readable_copy}:{readable_copy}/site-packages",
            *(f"{k}={v}" for k, v in os.environ.items() if k.endswith(("CERT_FILE", "CERT_DIR", "_proxy"))),
            "sh",
            "-c",
            script,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert (home / "user.tar").read_bytes() == (tmp_path / "root.tar").read_bytes()


def test_others_accept_the_image_and_pull_gives_the_same_id(
    shared_store: Path, tmp_path: Path, docker_engine: str, registry: str
) -> None:
    envd = Envd(shared_store, tmp_path / "peer", {"DOCKER_HOST": docker_engine})
    envd.spec(small(["six"]))
    image = envd.run("build").stdout
    reference = f"{registry}/team/peer:v1"
    pushed = envd.run("push", reference).stdout
    digest = pushed.rpartition("@")[2]
    skopeo = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", f"docker://{reference}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(skopeo.stdout)["Digest"] == digest
    docker("rmi", "-f", image, host=docker_engine)
    docker("pull", reference, host=docker_engine)
    assert docker("inspect", "-f", "{{.Id}}", reference, host=docker_engine) == image

    envd.run("build", "-o", f"oci-dir:{tmp_path}/layout")
    subprocess.run(
        ["umoci", "unpack", "--image", f"{tmp_path}/layout:dev", f"{tmp_path}/bundle"],
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "bundle/rootfs/etc/built").read_text() == "built\n"
    assert not (tmp_path / "bundle/rootfs/etc/issue").exists()


@pytest.mark.parametrize(
    ("spec", "code", "says"),
    [
        ("def build(:\n", 2, "build.envd:1:11"),
        ("def build():\n    bse()\n", 2, "base"),
        ("def build():\n    install.apt_packages(['no-such-package-here'])\n", 1, "build.envd:2:"),
    ],
)
def test_bad_input_gives_one_clear_error(
    shared_store: Path, tmp_path: Path, spec: str, code: int, says: str
) -> None:
    envd = Envd(shared_store, tmp_path / "bad")
    envd.spec(spec)
    done = envd.run("build", "--no-load", check=False)
    assert done.code == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in envd.project.iterdir()] == ["build.envd"]
