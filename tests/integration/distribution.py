"""A signed apt archive in a directory: apt-ftparchive makes its indexes, GnuPG signs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Key:
    """A signing key, in a GnuPG home of its own."""

    home: Path

    def gpg(self, *arguments: str) -> bytes:
        done = subprocess.run(
            ["gpg", "--batch", "--quiet", "--homedir", str(self.home), *arguments],
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def fingerprint(self) -> str:
        """In upper-case hexadecimal."""
        rows = self.gpg("--with-colons", "--list-keys").decode().splitlines()
        return next(row.split(":")[9] for row in rows if row.startswith("fpr:"))


def make_key() -> Key:
    """Make one. Its agent's socket wants a short path."""
    home = Path(tempfile.mkdtemp(prefix="envd-gpg-", dir="/tmp"))
    home.chmod(0o700)
    key = Key(home)
    key.gpg("--passphrase", "", "--quick-generate-key", "archive@example.org", "rsa2048", "sign", "never")
    return key


def remove_key(key: Key) -> None:
    """End its agent and forget it."""
    subprocess.run(["gpgconf", "--homedir", str(key.home), "--kill", "all"], check=False)
    shutil.rmtree(key.home, ignore_errors=True)


def repack(deb: Path, target: Path, version: str) -> None:
    """The same package under another version, compressed as Ubuntu's are."""
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name) / "tree"
        subprocess.run(["dpkg-deb", "-R", str(deb), str(tree)], check=True)
        control = tree / "DEBIAN/control"
        lines = [
            f"Version: {version}" if line.startswith("Version:") else line
            for line in control.read_text().splitlines()
        ]
        control.write_text("\n".join(lines) + "\n")
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Zzstd", "-b", str(tree), str(target)],
            check=True,
            capture_output=True,
        )


def write_indexes(archive: Path, suites: Sequence[str], key: Key) -> None:
    """Indexes of `archive`/pool for the first suite, and empty ones for the others, signed."""

    def ftparchive(*arguments: str) -> str:
        done = subprocess.run(
            ["apt-ftparchive", *arguments],
            cwd=archive,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
        return done.stdout

    for number, suite in enumerate(suites):
        for component in ("main", "universe"):
            place = archive / f"dists/{suite}/{component}/binary-amd64"
            place.mkdir(parents=True, exist_ok=True)
            filled = number == 0 and component == "main"
            (place / "Packages").write_text(ftparchive("packages", "pool") if filled else "")
        release = archive / f"dists/{suite}"
        options = {
            "Suite": suite,
            "Codename": suite,
            "Origin": "envd-tests",
            "Architectures": "amd64",
            "Components": "main universe",
        }
        flags = [x for k, v in options.items() for x in ("-o", f"APT::FTPArchive::Release::{k}={v}")]
        (release / "Release").write_text(ftparchive(*flags, "release", f"dists/{suite}"))
        key.gpg("--yes", "--clearsign", "-o", str(release / "InRelease"), str(release / "Release"))
