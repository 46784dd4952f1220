"""What the benchmarks run: envd as a user has it, and BuildKit through Docker's own client."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

ENVD = str(Path(sys.executable).parent / "envd")


def docker() -> str:
    """Docker 20.10's own client speaks BuildKit by itself; newer ones need a plugin for it."""
    found = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else shutil.which("docker")
    if not found:
        raise SystemExit("no docker client: apt-get install docker.io")
    return found


def environment(**more: str) -> dict[str, str]:
    """The environment of what is timed."""
    return {**os.environ, "DOCKER_BUILDKIT": "1", **more}


def buildkit(tag: str, *options: str) -> list[str]:
    """A build of the directory by BuildKit."""
    return [docker(), "build", "--network=host", "-t", tag, *options, "."]
