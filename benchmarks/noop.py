"""A second build with nothing changed: envd against `DOCKER_BUILDKIT=1 docker build`.

BuildKit builds a Dockerfile of three steps on the same image.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.peers import ENVD, buildkit, environment
from benchmarks.timing import in_turn, seconds, show

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


def main(rounds: int = 15) -> None:
    """Print the comparison."""
    variables = environment()
    with tempfile.TemporaryDirectory(prefix="envd-bench-") as name:
        directory = Path(name)
        (directory / "build.envd").write_text(SPEC)
        (directory / "Dockerfile").write_text(DOCKERFILE)
        (directory / "requirements.txt").write_text("packaging\n")
        a = [ENVD, "build", "-t", "envd-bench:base"]
        b = buildkit("envd-bench:buildkit")
        for argv in (a, b, a, b):
            seconds(argv, variables, directory)
        pair = in_turn(
            lambda _: seconds(a, variables, directory), lambda _: seconds(b, variables, directory), rounds
        )
    show("no-op build", "envd build", "BuildKit docker build", pair, "(below 0.50 is our promise)")


if __name__ == "__main__":
    main()
