"""A signed apt repository of real .debs, laid out flat, as NVIDIA's is."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


def make_deb(
    directory: Path,
    name: str,
    version: str,
    files: Mapping[str, bytes | str],
    *,
    depends: Sequence[str] = (),
    scripts: Mapping[str, str] = {},
) -> None:
    """Build one .deb. A file whose content is a str is a symbolic link to that."""
    root = directory / f".{name}"
    for path, content in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            target.symlink_to(content)
        else:
            target.write_bytes(content)
    control = root / "DEBIAN"
    control.mkdir(parents=True)
    fields = {
        "Package": name,
        "Version": version,
        "Architecture": "amd64",
        "Maintainer": "Ann <ann@example.org>",
        "Description": "made for a test",
    }
    if depends:
        fields["Depends"] = ", ".join(depends)
    (control / "control").write_text("".join(f"{k}: {v}\n" for k, v in fields.items()))
    for script, text in scripts.items():
        (control / script).write_text(f"#!/bin/sh\nset -e\n{text}\n")
        (control / script).chmod(0o755)
    deb = directory / f"{name}_{version}_amd64.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", str(root), str(deb)], check=True, capture_output=True
    )


@dataclass(frozen=True)
class Signer:
    """A key of its own; `public` is the file that apt's signed-by names."""

    home: Path
    public: Path

    @property
    def fingerprint(self) -> str:
        """The key's fingerprint, in upper-case hexadecimal."""
        rows = self._gpg("--with-colons", "--list-keys").decode().splitlines()
        return next(row.split(":")[9] for row in rows if row.startswith("fpr:"))

    @property
    def armoured(self) -> bytes:
        """The public key in ASCII armour, as NVIDIA's .pub files are."""
        return self._gpg("--export", "--armor")

    def sign(self, directory: Path) -> None:
        """Write the indexes of the .debs in `directory`, signed."""
        for name in ("Packages", "Release"):
            (directory / name).unlink(missing_ok=True)
        for kind, name in (("packages", "Packages"), ("release", "Release")):
            done = subprocess.run(
                ["apt-ftparchive", kind, "."], cwd=directory, check=True, capture_output=True
            )
            (directory / name).write_bytes(done.stdout)
        self.clearsign(directory)

    def clearsign(self, directory: Path) -> None:
        """Sign the Release that is there."""
        self._gpg("--yes", "--clearsign", "-o", str(directory / "InRelease"), str(directory / "Release"))

    def _gpg(self, *arguments: str) -> bytes:
        done = subprocess.run(
            ["gpg", "--batch", "--pinentry-mode=loopback", "--passphrase=", *arguments],
            env={**os.environ, "GNUPGHOME": str(self.home)},
            check=True,
            capture_output=True,
        )
        return done.stdout


def make_signer(home: Path) -> Signer:
    """A new key below `home`."""
    home.mkdir(mode=0o700)
    signer = Signer(home, home / "public.gpg")
    signer._gpg("--quick-gen-key", "Test <test@example.org>", "ed25519", "sign", "never")
    signer.public.write_bytes(signer._gpg("--export"))
    subprocess.run(["gpgconf", "--kill", "all"], env={**os.environ, "GNUPGHOME": str(home)}, check=False)
    return signer
