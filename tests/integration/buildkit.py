"""Real BuildKit: what its COPY makes, to compare with; and images' file systems as Docker has them."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.integration.envd import docker

# What the engine itself puts into a container's root.
_ENGINES = {
    ".dockerenv",
    "dev",
    "proc",
    "sys",
    "etc/hostname",
    "etc/hosts",
    "etc/resolv.conf",
    "etc/mtab",
    "etc",
}

Tree = dict[str, tuple[str, int, int, int, str]]


def client() -> str:
    """A docker client that can drive BuildKit: a newer one needs its buildx plugin for that, Debian
    12's has it built in."""
    for directory in os.get_exec_path():
        found = shutil.which("docker", path=directory)
        if found is None:
            continue
        asked = subprocess.run(
            [found, "build", "--help"],
            env={**os.environ, "DOCKER_BUILDKIT": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if "--progress" in asked.stdout and "buildx component is missing" not in asked.stderr:
            return found
    raise AssertionError("no docker client can drive BuildKit: install docker-buildx")


def build(context: Path, tag: str, host: str) -> subprocess.CompletedProcess[str]:
    """`docker build` of `context` with BuildKit, without network."""
    return subprocess.run(
        [client(), "build", "--network=none", "-q", "-t", tag, str(context)],
        env={**os.environ, "DOCKER_BUILDKIT": "1", "DOCKER_HOST": host},
        capture_output=True,
        text=True,
        check=False,
    )


def tree(tag: str, host: str) -> Tree:
    """The files of an image by path: type, mode, uid, gid and link."""
    container = docker("create", tag, "nothing", host=host)
    try:
        exported = subprocess.run(
            ["docker", "export", container],
            env={**os.environ, "DOCKER_HOST": host},
            capture_output=True,
            check=True,
        )
    finally:
        docker("rm", container, host=host)
    found: Tree = {}
    with tarfile.open(fileobj=io.BytesIO(exported.stdout)) as archive:
        for member in archive:
            name = member.name.removeprefix("./").rstrip("/")
            if name in _ENGINES or name.startswith(("dev/", "proc/", "sys/")):
                continue
            kind = "d" if member.isdir() else "l" if member.issym() else "f"
            link = member.linkname if member.issym() else ""
            mode = 0 if member.issym() else member.mode & 0o7777
            found[name] = (kind, mode, member.uid, member.gid, link)
    return found
