"""Running the real `envd` command in tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ENVD = Path(sys.executable).parent / "envd"


@dataclass(frozen=True)
class Outcome:
    """What one run of the command gave."""

    code: int
    stdout: str
    stderr: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of `--progress=json`."""
        return [json.loads(line) for line in self.stderr.splitlines() if line.startswith("{")]

    def names(self, kind: str) -> list[str]:
        """Names of the derivations with an event of `kind`."""
        return sorted(e["name"] for e in self.events if e["kind"] == kind)


@dataclass(frozen=True)
class Envd:
    """The command with a store and a project of its own."""

    store: Path
    project: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    prefix: Sequence[str] = ()

    def spec(self, text: str) -> None:
        """Write build.envd."""
        self.project.mkdir(parents=True, exist_ok=True)
        (self.project / "build.envd").write_text(text)

    def run(self, *arguments: str, check: bool = True) -> Outcome:
        """Run `envd ARGUMENTS` in the project's directory."""
        process = self.start(*arguments)
        stdout, stderr = process.communicate()
        if check:
            assert process.returncode == 0, stderr[-6000:]
        return Outcome(process.returncode, stdout.strip(), stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin `envd ARGUMENTS` in the project's directory."""
        return subprocess.Popen(
            [*self.prefix, str(ENVD), *arguments],
            cwd=self.project,
            env={**os.environ, "ENVD_STORE": str(self.store), **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def unpacked(self, place: Path, *options: str) -> Path:
        """Build with `options`, and let umoci unpack the image below `place`; its root file system."""
        self.run("build", *options, "-o", f"oci-dir:{place}/layout")
        subprocess.run(
            ["umoci", "unpack", "--image", f"{place}/layout:dev", f"{place}/bundle"],
            check=True,
            capture_output=True,
        )
        return place / "bundle/rootfs"


def docker(*arguments: str, host: str, check: bool = True) -> str:
    """Run the docker client against the engine at `host`; its standard output."""
    done = subprocess.run(
        ["docker", *arguments],
        env={**os.environ, "DOCKER_HOST": host},
        capture_output=True,
        text=True,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done.stdout.strip()
