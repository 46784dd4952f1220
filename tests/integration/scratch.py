"""Images of one layer with a few files and nothing else, and skopeo to carry images about."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path


def skopeo(*arguments: str) -> str:
    done = subprocess.run(["skopeo", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def scratch_image(directory: Path, files: Mapping[str, bytes | str]) -> Path:
    """A Docker archive of one layer with `files` alone. A str is what a symbolic link leads to."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                tar.addfile(member)
                continue
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
    diff = f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/hello"]},
        "rootfs": {"type": "layers", "diff_ids": [diff]},
    }
    directory.mkdir()
    path = directory / "scratch.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in (
            ("layer.tar", layer.getvalue()),
            ("config.json", json.dumps(config).encode()),
            (
                "manifest.json",
                json.dumps([{"Config": "config.json", "Layers": ["layer.tar"], "RepoTags": None}]).encode(),
            ),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def push_scratch(directory: Path, reference: str, files: Mapping[str, bytes | str]) -> None:
    """Push such an image to a registry."""
    archive = scratch_image(directory, files)
    skopeo("copy", "-q", "--dest-tls-verify=false", f"docker-archive:{archive}", f"docker://{reference}")
