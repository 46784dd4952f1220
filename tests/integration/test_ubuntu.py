"""Ubuntu bases, and archives with keys of their own, from a local archive of the same protocol.

Its packages are Debian's: no host that can be reached here has Ubuntu's. One is repacked as
Ubuntu packs them (zstd). What is tested is the way: suites, pockets, keyring, bootstrap.
"""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration import distribution, web
from tests.integration.envd import Envd

SPEC = """
def build():
    base(os="{os}")
    install.apt_packages(["tree"])
"""


@dataclass(frozen=True)
class Ubuntu:
    """A running archive, its keyring, and its key in ASCII armour."""

    url: str
    keyring: Path
    armoured: bytes


@pytest.fixture(scope="module")
def ubuntu(shared_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ubuntu]:
    directory = tmp_path_factory.mktemp("ubuntu")
    debian = Envd(shared_store, directory / "debian")
    debian.spec(SPEC.format(os="debian12"))
    debian.run("build", "--no-load")
    lock = tomllib.loads((debian.project / "envd.lock").read_text())
    pool = directory / "archive/pool"
    pool.mkdir(parents=True)
    for row in (*lock["base"]["package"], *lock["apt"]):
        blob = shared_store / "blobs/sha256" / row["sha256"]
        if row["name"] == "tree":
            distribution.repack(blob, pool / row["file"], f"{row['version']}ubuntu1")
        else:
            shutil.copyfile(blob, pool / row["file"])
    key = distribution.make_key()
    try:
        suites = ("jammy", "jammy-updates", "jammy-security")
        distribution.write_indexes(directory / "archive", suites, key)
        keyring = directory / "keyring.gpg"
        keyring.write_bytes(key.gpg("--export"))
        with web.serve(directory / "archive") as server:
            yield Ubuntu(server.url, keyring, key.gpg("--export", "--armor"))
    finally:
        distribution.remove_key(key)


def test_an_ubuntu_base(shared_store: Path, tmp_path: Path, ubuntu: Ubuntu) -> None:
    environment = {"ENVD_UBUNTU_MIRROR": ubuntu.url, "ENVD_UBUNTU_KEYRING": str(ubuntu.keyring)}
    envd = Envd(shared_store, tmp_path / "p", environment)
    envd.spec(SPEC.format(os="ubuntu22.04"))
    root = envd.unpacked(tmp_path)
    shown = subprocess.run(
        ["chroot", str(root), "dpkg-query", "-W", "-f", "${Version}", "tree"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.endswith("ubuntu1")
    ran = subprocess.run(["chroot", str(root), "tree", "--version"], capture_output=True, check=True)
    assert ran.stdout.startswith(b"tree v")
    audit = subprocess.run(["chroot", str(root), "dpkg", "--audit"], capture_output=True, check=True)
    assert audit.stdout == b""
    assert (root / "etc/apt/sources.list").read_text().splitlines() == [
        f"deb {ubuntu.url} jammy{pocket} main universe" for pocket in ("", "-updates", "-security")
    ]


def test_a_keyring_that_is_missing_or_wrong(shared_store: Path, tmp_path: Path, ubuntu: Ubuntu) -> None:
    envd = Envd(shared_store, tmp_path / "p", {"ENVD_UBUNTU_MIRROR": ubuntu.url})
    envd.spec(SPEC.format(os="ubuntu22.04"))
    missing = Envd(
        envd.store, envd.project, {**envd.environment, "ENVD_UBUNTU_KEYRING": str(tmp_path / "none.gpg")}
    ).run("lock", check=False)
    assert missing.code == 1
    assert "none.gpg: no such file" in missing.stderr
    assert "install ubuntu-keyring, or name a keyring with ENVD_UBUNTU_KEYRING" in missing.stderr
    debians = "/usr/share/keyrings/debian-archive-keyring.gpg"
    wrong = Envd(envd.store, envd.project, {**envd.environment, "ENVD_UBUNTU_KEYRING": debians}).run(
        "lock", check=False
    )
    assert wrong.code == 1 and "NO_PUBKEY" in wrong.stderr
    assert [p.name for p in envd.project.iterdir()] == ["build.envd"]


def test_an_archive_with_a_key_of_its_own(shared_store: Path, tmp_path: Path, ubuntu: Ubuntu) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    source = f'config.apt_source("deb {ubuntu.url} jammy main"{{key}})'
    spec = f'def build():\n    base(os="debian12")\n    {source}\n'
    envd.spec(spec.format(key=""))
    done = envd.run("lock", check=False)
    assert "NO_PUBKEY" in done.stderr and "build.envd:3:5: error: cannot read" in done.stderr
    envd.spec(spec.format(key=', key="archive.asc"'))
    done = envd.run("lock", check=False)
    assert done.code == 2 and "build.envd:3:" in done.stderr and "no such file" in done.stderr
    (envd.project / "archive.asc").write_bytes(b"no key\n")
    done = envd.run("lock", check=False)
    assert "build.envd:3:5: error: " in done.stderr and "no OpenPGP key" in done.stderr
    (envd.project / "archive.asc").write_bytes(ubuntu.armoured)
    envd.run("lock")
    lock = tomllib.loads((envd.project / "envd.lock").read_text())
    assert {row["url"].partition("/pool/")[0] for row in lock["base"]["package"]} == {ubuntu.url}
    assert list(lock["base"]["keys"]) == ["envd-source.asc"]
    before = (envd.project / "envd.lock").read_text()
    envd.run("lock", "--check")
    # another key is another base
    (envd.project / "archive.asc").write_bytes(ubuntu.keyring.read_bytes())
    done = envd.run("lock", "--check", check=False)
    assert done.code == 2 and "+apt_key=envd-source.gpg" in done.stderr
    assert (envd.project / "envd.lock").read_text() == before
