"""Machines that share what they build: each has a store, a home and a checkout of the same project."""

from __future__ import annotations

import os
import subprocess
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path

from engine.cache import keys
from tests.integration import scratch, small_root
from tests.integration.envd import Envd
from tests.integration.servers import PASSWORD, USER, RegistryServer

SPEC = """
def build():
    base(image="{image}")
    io.copy("greeting", "/srv/greeting")
    run(["echo one >/srv/one", "echo {salt} >/srv/salt"])
    run(["cat /srv/one /srv/greeting >/srv/both"])
"""


@dataclass(frozen=True)
class Team:
    """A cache ("HOST/REPOSITORY" or "dir:/PATH"), and the key that its writers sign with."""

    place: str
    key: Path
    public: str


def team(directory: Path, place: str, name: str = "team-1") -> Team:
    """A team with a new key, whose file lies in `directory`."""
    key = keys.generate(name)
    path = directory / f"{name}.key"
    path.write_text(key.secret())
    path.chmod(0o600)
    return Team(place, path, str(key.public))


def writer(of: Team, store: Path, project: Path) -> Envd:
    """A machine that publishes all that it builds."""
    return replace(
        reader(of, store, project),
        environment={
            **reader(of, store, project).environment,
            "ENVD_SIGNING_KEY": str(of.key),
            "ENVD_PUBLISH": of.place,
        },
    )


def reader(of: Team, store: Path, project: Path) -> Envd:
    """A machine that takes what trusted ones have built."""
    home = store.with_name(f"{store.name}-home")
    home.mkdir(parents=True, exist_ok=True)
    return Envd(
        store,
        project,
        {
            "HOME": str(home),
            "ENVD_SUBSTITUTERS": of.place,
            "ENVD_TRUSTED_KEYS": of.public,
            "ENVD_SIGNING_KEY": "",
            "ENVD_PUBLISH": "",
        },
    )


def checkout(machine: Envd, spec: str, lock: Path | None = None) -> None:
    """The project on a machine: its spec, a file, and the lock, when there is one."""
    machine.spec(spec)
    (machine.project / "greeting").write_text("hello\n")
    if lock is not None:
        (machine.project / "envd.lock").write_bytes(lock.read_bytes())


def push_base(registry: RegistryServer, directory: Path, *, auth: bool = False) -> str:
    """Push an image of a few commands, with `auth` as the registry's user; its name."""
    root = small_root.make(directory / "root")
    (root / "srv").mkdir()
    (root / "tmp").mkdir()
    name = f"{registry.address}/small/base:1"
    layer = directory / "layer.tar"
    with tarfile.open(layer, "w") as tar:
        tar.add(root, arcname=".")
    subprocess.run(["umoci", "init", "--layout", directory / "oci"], check=True, capture_output=True)
    for command in (["new"], ["raw", "add-layer"]):
        subprocess.run(
            ["umoci", *command, "--image", f"{directory}/oci:1", *([layer] if "raw" in command else [])],
            check=True,
            capture_output=True,
            env={**os.environ, "HOME": str(directory)},
        )
    login = ["--dest-creds", f"{USER}:{PASSWORD}"] if auth else []
    scratch.skopeo("copy", "--dest-tls-verify=false", *login, f"oci:{directory}/oci:1", f"docker://{name}")
    return name
