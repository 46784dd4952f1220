"""Builders that the other tests do not reach, through the real command."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.integration import servers
from tests.integration.envd import Envd, docker


def test_an_sdist_is_built_in_the_sandbox(shared_store: Path, tmp_path: Path) -> None:
    # docopt was never published as a wheel
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec(
        'def build():\n    base(os="debian12", language="python3")\n'
        '    install.python_packages(["docopt==0.6.2"])\n'
    )
    root = envd.unpacked(tmp_path)
    ran = subprocess.run(
        ["chroot", str(root), "/usr/bin/python3", "-c", "import docopt; print(docopt.__version__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "0.6.2\n"
    assert not list(root.rglob("envd-tools"))


def test_steps_in_order_copies_and_settings(shared_store: Path, tmp_path: Path, docker_engine: str) -> None:
    envd = Envd(shared_store, tmp_path / "p", {"DOCKER_HOST": docker_engine})
    envd.spec(
        """
def build():
    base(os="debian12")
    install.apt_packages(["git"])
    io.copy("data", "/srv/data")
    run(["cp /srv/data/a /srv/b", "rm /srv/data/a", "echo $FLAVOUR > /srv/flavour"])
    git_config(name="Ann O'Nym", email="ann@example.org")
    runtime.environ(env={"FLAVOUR": "plum"}, extra_path=["/srv/bin"])
    runtime.expose(envd_port=8000)
    config.entrypoint(["/bin/sh", "-c", "cat /srv/b; git config user.name; cat /srv/flavour"])
"""
    )
    (envd.project / "data").mkdir()
    (envd.project / "data/a").write_text("first\n")
    image = envd.run("build").stdout

    assert docker("run", "--rm", "--network=none", image, host=docker_engine).split("\n") == [
        "first",
        "Ann O'Nym",
        "plum",
    ]
    config = json.loads(docker("inspect", "-f", "{{json .Config}}", image, host=docker_engine))
    assert any(e.startswith("PATH=/srv/bin:") for e in config["Env"])
    assert "8000/tcp" in config["ExposedPorts"]
    # a changed file is noticed, and only what stands on it is done again
    (envd.project / "data/a").write_text("second\n")
    done = envd.run("build", "--progress=json")
    assert len(done.names("finish")) == 2
    assert docker("run", "--rm", "--network=none", done.stdout, host=docker_engine)[:6] == "second"


def test_a_failing_run_says_which_and_leaves_nothing(shared_store: Path, tmp_path: Path) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec('def build():\n    base(os="debian12")\n    run(["echo before", "false", "echo after"])\n')
    done = envd.run("build", "--no-load", check=False)
    assert done.code == 1
    assert "before" in done.stderr and "after" not in done.stderr.replace("echo after", "")
    assert "failed with exit status 1" in done.stderr
    assert "Traceback" not in done.stderr
    name = re.search(r"run-[0-9a-f]{8}", done.stderr)
    assert name is not None
    assert not list((shared_store / "tmp").glob(f"{name[0]}-*"))  # others build here, too


def test_builds_have_no_network(shared_store: Path, tmp_path: Path) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    only_loopback = "test $(grep -c : /proc/net/dev) = 1"
    envd.spec(f'def build():\n    base(os="debian12")\n    run(["{only_loopback}"])\n')
    envd.run("build", "--no-load")


def test_without_an_engine_the_image_is_built_and_that_is_said(shared_store: Path, tmp_path: Path) -> None:
    envd = Envd(shared_store, tmp_path / "p", {"DOCKER_HOST": f"unix://{tmp_path}/no.sock"})
    envd.spec('def build():\n    base(os="debian12")\n')
    done = envd.run("build")
    assert done.stdout.startswith("sha256:")
    assert "no Docker engine answers" in done.stderr


def test_a_lock_that_does_not_fit_is_refused_when_locked(shared_store: Path, tmp_path: Path) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec('def build():\n    base(os="debian12")\n')
    done = envd.run("build", "--no-load", "--locked", check=False)
    assert done.code == 2 and "run `envd lock`" in done.stderr
    envd.run("lock")
    before = (envd.project / "envd.lock").read_text()
    envd.spec('def build():\n    base(os="debian12")\n    install.apt_packages(["tree"])\n')
    done = envd.run("build", "--no-load", "--locked", check=False)
    assert done.code == 2 and "apt: +tree" in done.stderr
    assert (envd.project / "envd.lock").read_text() == before


def test_garbage_collection_keeps_what_images_need(tmp_path: Path) -> None:
    envd = Envd(tmp_path / "store", tmp_path / "p")
    envd.spec('def build():\n    base(os="debian12")\n    run(["echo 1 > /one"])\n')
    envd.run("build", "--no-load")
    envd.spec('def build():\n    base(os="debian12")\n    run(["echo 2 > /two"])\n')
    envd.run("build", "--no-load")
    before = json.loads(envd.run("store", "ls", "--format=json").stdout)
    envd.run("store", "gc")
    after = json.loads(envd.run("store", "ls", "--format=json").stdout)
    gone = {o["id"] for o in before} - {o["id"] for o in after}
    assert len(gone) == 1
    done = envd.run("build", "--no-load", "--progress=json", "--jobs=1")
    assert done.names("start") == []
    assert envd.run("store", "verify").stdout == "store is clean"


def test_pushing_needs_the_right_user_and_sends_nothing_twice(
    shared_store: Path, tmp_path: Path, registry_auth: servers.RegistryServer
) -> None:
    home = tmp_path / "docker"
    home.mkdir()
    envd = Envd(shared_store, tmp_path / "p", {"DOCKER_CONFIG": str(home), "HOME": str(tmp_path)})
    envd.spec('def build():\n    base(os="debian12")\n')
    reference = f"{registry_auth.address}/team/env:v1"
    refused = envd.run("push", reference, check=False)
    assert refused.code == 1
    assert f"docker login {registry_auth.address}" in refused.stderr
    assert "Traceback" not in refused.stderr

    import base64

    login = base64.b64encode(f"{servers.USER}:{servers.PASSWORD}".encode()).decode()
    (tmp_path / ".docker").mkdir()
    for place in (home, tmp_path / ".docker"):
        (place / "config.json").write_text(json.dumps({"auths": {registry_auth.address: {"auth": login}}}))
    first = envd.run("push", reference).stdout
    uploads = [r for r in registry_auth.requests() if r[0] == "PUT" and "/blobs/" in r[1]]
    assert uploads
    assert envd.run("push", reference).stdout == first
    again = [r for r in registry_auth.requests() if r[0] == "PUT" and "/blobs/" in r[1]]
    assert again == uploads


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["bulid"], 2, "did you mean 'build'"),
        (["build", "-o", "tar:x"], 2, "not an output"),
        (["push", "nonsense"], 2, "not a valid image reference"),
        (["build", "-f", "nothing.envd"], 2, "no such file"),
        (["store", "roots", "--remove", "x"], 2, "no root 'x'"),
    ],
)
def test_wrong_usage(tmp_path: Path, shared_store: Path, arguments: list[str], code: int, says: str) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec("def build():\n    base()\n")
    done = envd.run(*arguments, check=False)
    assert (done.code, "Traceback" in done.stderr) == (code, False)
    assert says in done.stderr
    assert [p.name for p in envd.project.iterdir()] == ["build.envd"]
