"""What envd runs on: its own version and those of what it works with."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from engine.core.command import which
from engine.core.project import store_path
from engine.core.version import VERSION
from engine.docker import endpoint, probe
from store import Store
from store.errors import StoreError


def about() -> dict[str, Any]:
    """Versions by name, None for what is not there. `store_bytes` is about what the store takes."""
    to = endpoint.current()
    docker = probe.get("/version")
    store = store_path()
    return {
        "envd": VERSION,
        "python": platform.python_version(),
        "platform": f"{platform.system().lower()}/{platform.machine()}",
        "kernel": platform.release(),
        "store": str(store),
        "store_bytes": _size(store),
        "context": to.context or endpoint.DEFAULT,
        "host": to.host,
        "docker": docker.get("Version") if isinstance(docker, dict) else None,
        "uv": _distribution("uv"),
        "bubblewrap": _bubblewrap(),
    }


def _size(directory: Path) -> int | None:
    """Bytes of the store's files, and of its unpacked trees by what the database says of them:
    walking them takes minutes in a large store. None when there is none, or it cannot be read."""
    try:
        if not (directory / "db.sqlite").exists():
            return None
        blobs = sum(entry.stat().st_size for entry in os.scandir(directory / "blobs/sha256"))
        with Store.open(directory, reading=True) as store:
            trees = {entry.name for entry in os.scandir(directory / "trees")}
            return blobs + sum(item.tar_size for item in store.objects() if item.id in trees)
    except (StoreError, OSError):
        return None


def _distribution(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _bubblewrap() -> str | None:
    program = which("bwrap")
    if program is None:
        return None
    done = subprocess.run(
        [program, "--version"], capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    return done.stdout.split()[-1] if done.returncode == 0 and done.stdout.split() else None
