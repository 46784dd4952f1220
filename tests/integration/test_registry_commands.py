"""`envd push -t`, `envd pull`, `envd login`, with real registries and small images."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from store import Store
from tests.integration import servers
from tests.integration.envd import ENVD, Envd, docker
from tests.integration.tiny import tiny_image

NAME = f"cli-registry-{os.getpid()}"


@pytest.fixture
def envd(tmp_path: Path, docker_engine: str) -> Envd:
    """The command over a store that keeps NAME:one."""
    (tmp_path / "p").mkdir()
    (tmp_path / "docker").mkdir()
    store = Store.open(tmp_path / "store")
    try:
        tiny_image(store, f"{NAME}:one")
    finally:
        store.close()
    environment = {"DOCKER_HOST": docker_engine, "DOCKER_CONFIG": str(tmp_path / "docker")}
    return Envd(tmp_path / "store", tmp_path / "p", environment)


def uploads(server: servers.RegistryServer) -> list[str]:
    """Paths of the blobs that were uploaded."""
    return [path for method, path, _ in server.requests() if method == "PUT" and "/blobs/" in path]


def test_push_what_was_built(envd: Envd, registry_server: servers.RegistryServer) -> None:
    base = f"{registry_server.address}/{NAME}"
    done = envd.run("push", "-t", f"{NAME}:one", f"{base}/a:v1", "--also", "latest", "--also", "v1.0")
    reference, _, digest = done.stdout.partition("@")
    assert reference == f"{base}/a:v1"
    assert "2 blobs sent" in done.stderr
    for tag in ("v1", "latest", "v1.0"):
        found = subprocess.run(
            ["skopeo", "inspect", "--tls-verify=false", f"docker://{base}/a:{tag}"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(found.stdout)["Digest"] == digest
    before = len(uploads(registry_server))
    again = envd.run("push", "-t", f"{NAME}:one", f"{base}/a:v2")
    assert "nothing to send, 2 there already" in again.stderr
    # Into another repository of the same registry they are mounted, not sent.
    other = envd.run("push", "-t", f"{NAME}:one", f"{base}/b:v1")
    assert "nothing to send, 2 mounted" in other.stderr
    assert len(uploads(registry_server)) == before
    assert other.stdout == f"{base}/b:v1@{digest}"
    for arguments, says in (
        (["-t", f"{NAME}:onne", f"{base}/a"], f"did you mean '{NAME}:one'?"),
        (["-t", f"{NAME}:one", "a"], "not a valid image reference"),
        (["-t", f"{NAME}:one", f"{base}/a", "--also", "x/y:z"], "not a valid tag"),
        (["-t", f"{NAME}:one", f"{base}/a", "-f", "x"], "takes no -f"),
    ):
        wrong = envd.run("push", *arguments, check=False)
        assert (wrong.code, says in wrong.stderr) == (2, True), wrong.stderr


def test_login_and_logout(envd: Envd, registry_auth: servers.RegistryServer) -> None:
    host = registry_auth.address
    config = Path(envd.environment["DOCKER_CONFIG"]) / "config.json"
    config.write_text('{"psFormat": "kept"}')

    def login(*arguments: str, password: str = servers.PASSWORD) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ENVD, "login", *arguments],
            input=password,
            text=True,
            capture_output=True,
            check=False,
            env={**os.environ, **envd.environment},
        )

    denied = envd.run("push", "-t", f"{NAME}:one", f"{host}/a:v1", check=False)
    assert (denied.code, "login" in denied.stderr) == (1, True)
    wrong = login(host, "-u", servers.USER, "--password-stdin", password="no")
    assert (wrong.returncode, "refuses this user name" in wrong.stderr) == (1, True)
    assert json.loads(config.read_text()) == {"psFormat": "kept"}
    right = login(host, "-u", servers.USER, "--password-stdin")
    assert right.returncode == 0, right.stderr
    assert json.loads(config.read_text())["psFormat"] == "kept"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    envd.run("push", "-t", f"{NAME}:one", f"{host}/a:v1")
    # docker finds the login, and we find docker's.
    docker = ["docker", "--config", str(config.parent)]
    subprocess.run([*docker, "logout", host], check=True, capture_output=True)
    assert envd.run("push", "-t", f"{NAME}:one", f"{host}/a:v2", check=False).code == 1
    subprocess.run(
        [*docker, "login", host, "-u", servers.USER, "--password-stdin"],
        input=servers.PASSWORD,
        text=True,
        check=True,
        capture_output=True,
        env={**os.environ, **envd.environment},
    )
    envd.run("push", "-t", f"{NAME}:one", f"{host}/a:v2")
    assert "logged out" in envd.run("logout", host).stderr
    assert "not logged in" in envd.run("logout", host).stderr
    assert envd.run("push", "-t", f"{NAME}:one", f"{host}/a:v3", check=False).code == 1
    for arguments, says in (
        (["https://x/y", "-u", "a", "-p", "b"], "not a valid registry name"),
        ([host, "-u", "a", "-p", "b", "--password-stdin"], "once"),
        ([host], "no terminal"),
        ([host, "--password-stdin"], "needs --username"),
    ):
        bad = login(*arguments)
        assert (bad.returncode, says in bad.stderr) == (2, True), bad.stderr
    config.write_text("{")
    broken = login(host, "-u", servers.USER, "--password-stdin")
    assert (broken.returncode, "invalid JSON" in broken.stderr) == (2, True)
    assert config.read_text() == "{"


HELPER = """#!/bin/sh
# The protocol of docker-credential-helpers, over one file.
case $1 in
store) cat >"$HELPER_FILE" ;;
get) cat "$HELPER_FILE" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
erase) rm -f "$HELPER_FILE" ;;
esac
"""


def test_a_credential_helper_keeps_the_login(
    envd: Envd, registry_auth: servers.RegistryServer, tmp_path: Path
) -> None:
    host = registry_auth.address
    config = Path(envd.environment["DOCKER_CONFIG"]) / "config.json"
    config.write_text(json.dumps({"credHelpers": {host: "tests"}}))
    program = tmp_path / "bin/docker-credential-tests"
    program.parent.mkdir()
    program.write_text(HELPER)
    program.chmod(0o755)
    kept = tmp_path / "secret"
    over = Envd(
        envd.store,
        envd.project,
        {**envd.environment, "PATH": f"{program.parent}:{os.environ['PATH']}", "HELPER_FILE": str(kept)},
    )
    done = over.run("login", host, "-u", servers.USER, "-p", servers.PASSWORD)
    assert "kept by docker-credential-tests" in done.stderr
    assert json.loads(kept.read_text())["Username"] == servers.USER
    assert servers.PASSWORD not in config.read_text()
    over.run("push", "-t", f"{NAME}:one", f"{host}/helped:v1")
    over.run("logout", host)
    assert not kept.exists()
    gone = envd.run("login", host, "-u", servers.USER, "-p", servers.PASSWORD, check=False)
    assert (gone.code, "is not on PATH" in gone.stderr) == (1, True)


def image_ids(host: str, *names: str) -> list[str]:
    """The IDs that the engine has under these names."""
    return [docker("inspect", "-f", "{{.Id}}", name, host=host) for name in names]


def test_pull_what_was_pushed(
    envd: Envd, registry_server: servers.RegistryServer, docker_engine: str, tmp_path: Path
) -> None:
    reference = f"{registry_server.address}/{NAME}/pulled:v1"
    digest = envd.run("push", "-t", f"{NAME}:one", reference).stdout.partition("@")[2]
    there = Envd(tmp_path / "elsewhere", envd.project, envd.environment)
    try:
        image = there.run("pull", reference, "--progress=json")
        assert len(image.names("fetch-finish")) == 2
        assert image_ids(docker_engine, reference) == [image.stdout]
        rows = json.loads(there.run("images", "-f", "json").stdout)
        row = next(row for row in rows if row["name"] == reference)
        assert (row["store"], row["docker"], row["layers"]) == (True, True, 1)
        described = json.loads(there.run("images", "describe", reference, "-f", "json").stdout)
        assert described["manifest"] == digest
        assert described["layers"][0]["name"] == "files-greeting"
        # What is there is not fetched again; by digest it needs a name.
        again = there.run("pull", f"{reference}@{digest}", "-t", f"{NAME}:again", "--progress=json")
        assert (again.stdout, again.names("fetch-finish")) == (image.stdout, [])
        assert image_ids(docker_engine, f"{NAME}:again") == [image.stdout]
        # And it can be pushed on, as it is.
        on = there.run("push", "-t", reference, f"{registry_server.address}/{NAME}/on:v1").stdout
        assert on.endswith(f"@{digest}")
        unnamed = there.run("pull", f"{reference}@{digest}", check=False)
        assert (unnamed.code, "-t NAME:TAG" in unnamed.stderr) == (2, True)
        for name, code, says in (
            (f"{registry_server.address}/{NAME}/nothing:v1", 1, "no image"),
            ("A B", 2, "not a valid image name"),
            ("127.0.0.1:1/a", 1, "cannot reach"),
        ):
            wrong = there.run("pull", name, check=False)
            assert (wrong.code, says in wrong.stderr) == (code, True), wrong.stderr
            assert "Traceback" not in wrong.stderr
        assert there.run("store", "verify").stdout == "store is clean"
    finally:
        docker("rmi", "-f", reference, f"{NAME}:again", host=docker_engine, check=False)


def test_pull_what_docker_pushed(
    envd: Envd, registry_server: servers.RegistryServer, docker_engine: str, tmp_path: Path
) -> None:
    """Docker's own media types, two layers, a damaged registry."""
    reference = f"{registry_server.address}/{NAME}/docker:v1"
    (tmp_path / "context").mkdir()
    (tmp_path / "context/Dockerfile").write_text(
        f"FROM scratch\nCOPY Dockerfile /one\nCOPY Dockerfile /two-{NAME}\nENV A=1\n"
    )
    docker("build", "-q", "-t", reference, str(tmp_path / "context"), host=docker_engine)
    docker("push", "-q", reference, host=docker_engine)
    (identity,) = image_ids(docker_engine, reference)
    docker("rmi", "-f", reference, host=docker_engine)
    try:
        # Another store, which has a layer's content already, compressed by ourselves.
        done = envd.run("pull", reference)
        assert done.stdout == identity
        assert image_ids(docker_engine, reference) == [identity]
        on = envd.run("push", "-t", reference, f"{registry_server.address}/{NAME}/on:v2")
        assert "nothing to send, 3 mounted" in on.stderr
        layout = tmp_path / "layout"
        envd.run("pull", reference, "-o", f"oci-dir:{layout}")
        entries = json.loads((layout / "index.json").read_text())["manifests"]
        manifest = json.loads((layout / "blobs" / entries[0]["digest"].replace(":", "/")).read_text())
        layer = manifest["layers"][-1]["digest"].removeprefix("sha256:")
        blob = registry_server.data / "docker/registry/v2/blobs/sha256" / layer[:2] / layer / "data"
        blob.write_bytes(b"x" * blob.stat().st_size)
        fresh = Envd(tmp_path / "fresh", envd.project, envd.environment)
        broken = fresh.run("pull", "--no-load", reference, check=False)
        assert (broken.code, "sha256" in broken.stderr) == (1, True), broken.stderr
        named = json.loads(fresh.run("images", "-f", "json").stdout)
        assert [row for row in named if row["name"] == reference and row["store"]] == []
    finally:
        docker("rmi", "-f", reference, host=docker_engine, check=False)
