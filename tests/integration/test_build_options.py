"""`envd build`'s options, on a spec of one base: tags, outputs in both spellings, idle builds."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.integration import servers
from tests.integration.envd import ENVD, Envd, docker

NAME = f"cli-build-{os.getpid()}"


@pytest.fixture
def envd(shared_store: Path, tmp_path: Path, docker_engine: str) -> Envd:
    """The command in a project of a base alone."""
    made = Envd(shared_store, tmp_path / NAME, {"DOCKER_HOST": docker_engine})
    made.spec(f'def build():\n    base(os="debian12")\n    run(["echo {NAME} >/etc/name"])\n')
    return made


def test_tags_and_outputs(
    envd: Envd, docker_engine: str, registry_server: servers.RegistryServer, tmp_path: Path
) -> None:
    tags = [f"{NAME}:one", f"{NAME}/two:latest"]
    reference = f"{registry_server.address}/{NAME}:pushed"
    try:
        image = envd.run("build", "-t", tags[0], "-t", f"{NAME}/two").stdout
        for tag in tags:
            assert docker("inspect", "-f", "{{.Id}}", tag, host=docker_engine) == image
        # The same again is idle, whatever the order of tags, and in the plain process.
        again = envd.run("build", "-t", f"{NAME}/two:latest", "--tag", tags[0], "--progress=json")
        assert (again.stdout, again.events) == (image, [])
        assert "up to date in Docker" in again.stderr
        modules = subprocess.run(
            [ENVD.parent / "python", "-X", "importtime", ENVD, "build", "-t", tags[0], "-t", tags[1]],
            cwd=envd.project,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "ENVD_STORE": str(envd.store), **envd.environment},
        )
        assert modules.stdout.strip() == image
        imported = {line.rpartition("|")[2].strip() for line in modules.stderr.splitlines()}
        assert "engine.app.fastpath" in imported
        assert not imported & {"click", "pathlib", "dataclasses", "http.client", "docker"}
        # A tag that Docker lost is brought back.
        docker("rmi", tags[1], host=docker_engine)
        envd.run("build", "-t", tags[0], "-t", tags[1])
        assert docker("inspect", "-f", "{{.Id}}", tags[1], host=docker_engine) == image

        done = envd.run(
            "build",
            "-t",
            tags[0],
            "-o",
            f"oci:{tmp_path}/short.tar",
            "-o",
            f"type=oci,dest={tmp_path}/long.tar",
            "-o",
            f"type=docker,dest={tmp_path}/docker.tar,name={NAME}:named",
            "-o",
            f"type=image,name={reference},push=true",
        )
        assert done.stdout == image
        assert (tmp_path / "short.tar").read_bytes() == (tmp_path / "long.tar").read_bytes()
        with tarfile.open(tmp_path / "docker.tar") as tar:
            member = tar.extractfile("manifest.json")
            assert member is not None
            assert json.load(member)[0]["RepoTags"] == [f"{NAME}:named"]
        pushed = subprocess.run(
            ["skopeo", "inspect", "--tls-verify=false", f"docker://{reference}"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert pushed.returncode == 0, pushed.stderr
        # Names of what was built are kept, and what was built can be named again.
        names = {row["name"] for row in json.loads(envd.run("images", "-f", "json").stdout)}
        assert set(tags) <= names
    finally:
        docker("rmi", "-f", *tags, host=docker_engine, check=False)
        envd.run("images", "remove", *tags, check=False)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-t", "Big:x"], "did you mean 'big:x'?"),
        (["-o", "type=tar,dest=x"], "no output type 'tar'"),
        (["-o", "oci:no/such/dir/x.tar"], "no directory"),
        (["-o", "type=image,name=plain,push=true"], "not a valid image reference"),
        (["--platform", "linux/arm64"], "only for linux/amd64"),
        (["--owner", "me"], "write UID:GID"),
        (["--forse"], "did you mean '--force'?"),
    ],
)
def test_wrong_options_are_refused_at_once(envd: Envd, options: list[str], says: str) -> None:
    done = envd.run("build", *options, check=False)
    assert (done.code, says in done.stderr) == (2, True), done.stderr
    assert done.stderr.count("\n") == 1
    assert [p.name for p in envd.project.iterdir()] == ["build.envd"]


def test_the_owner_can_be_given(envd: Envd) -> None:
    envd.run("build", "--no-load", "--owner", "1234:1234", "--platform", "linux/amd64")
    over = Envd(envd.store, envd.project, {**envd.environment, "ENVD_BUILD_OWNER": "1:x"})
    wrong = over.run("parse", check=False)
    assert (wrong.code, "owner '1:x'" in wrong.stderr) == (2, True)
    envd.run("images", "remove", f"{NAME}:dev", check=False)
