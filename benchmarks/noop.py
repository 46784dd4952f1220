"""A second build with nothing changed: envd against `DOCKER_BUILDKIT=1 docker build`.

Both are timed as whole processes, in turn (A B A B …), after one warm-up each; the medians and
their ratio are printed. BuildKit builds a Dockerfile of three steps on the same image.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SPEC = """
def build():
    base(os="debian12", language="python3")
    install.python_packages(["packaging"])
"""

DOCKERFILE = """
FROM envd-bench:base
COPY requirements.txt /tmp/requirements.txt
RUN python3 -c "import packaging"
ENV A=1
"""


def _docker() -> str:
    # Docker 20.10's own client speaks BuildKit by itself; newer ones need a plugin for it.
    return "/usr/bin/docker" if Path("/usr/bin/docker").exists() else shutil.which("docker") or ""


def _seconds(argv: list[str], environment: dict[str, str], directory: Path) -> float:
    start = time.perf_counter()
    subprocess.run(argv, env=environment, cwd=directory, check=True, capture_output=True)
    return time.perf_counter() - start


def main(runs: int = 15) -> None:
    """Print the medians and the ratio."""
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    envd = str(Path(sys.executable).parent / "envd")
    with tempfile.TemporaryDirectory(prefix="envd-bench-") as name:
        directory = Path(name)
        (directory / "build.envd").write_text(SPEC)
        (directory / "Dockerfile").write_text(DOCKERFILE)
        (directory / "requirements.txt").write_text("packaging\n")
        a = [envd, "build", "-t", "envd-bench:base"]
        b = [_docker(), "build", "--network=host", "-t", "envd-bench:buildkit", "."]
        _seconds(a, environment, directory)
        _seconds(b, environment, directory)
        for argv in (a, b):
            _seconds(argv, environment, directory)
        pairs = [
            (_seconds(a, environment, directory), _seconds(b, environment, directory))
            for _ in range(runs)
        ]
    ours = statistics.median(x for x, _ in pairs)
    theirs = statistics.median(y for _, y in pairs)
    ratio = statistics.median(x / y for x, y in pairs)
    print(f"no-op build, median of {runs} whole processes, in turn")
    print(f"  envd build                       {ours * 1000:7.1f} ms")
    print(f"  DOCKER_BUILDKIT=1 docker build   {theirs * 1000:7.1f} ms")
    print(f"  ratio envd / BuildKit            {ratio:7.2f}   (below 0.50 is our promise)")


if __name__ == "__main__":
    main()
