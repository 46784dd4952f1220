"""A cold build whose files are all there: envd against a Dockerfile with apt and pip.

envd begins with a store that holds the fetched files and nothing else, and bootstraps the base
too; BuildKit begins without its build cache on a base that is there, with cache mounts that hold
the .debs and wheels. So envd does more.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from benchmarks.peers import ENVD, buildkit, environment
from benchmarks.timing import in_turn, seconds, show

SPEC = """
def build():
    base(os="debian12", language="python3")
    install.apt_packages(["git", "curl"])
    install.python_packages(["numpy", "jupyterlab"])
"""
BASE = """
def build():
    base(os="debian12")
"""
DOCKERFILE = """
FROM envd-bench:cold-base
COPY ca.crt /etc/ssl/certs/ca-certificates.crt
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_BREAK_SYSTEM_PACKAGES=1
RUN --mount=type=cache,target=/var/cache/apt --mount=type=cache,target=/var/lib/apt/lists \\
    rm -f /etc/apt/apt.conf.d/docker-clean \\
    && apt-get update -q \\
    && apt-get install -q -y --no-install-recommends git curl python3 python3-pip
RUN --mount=type=cache,target=/root/.cache/pip \\
    python3 -m pip install --root-user-action=ignore numpy jupyterlab
"""


def main(rounds: int = 3) -> None:
    """Print the comparison."""
    with tempfile.TemporaryDirectory(prefix="envd-bench-", dir="/var/tmp") as name:
        directory = Path(name)
        context = directory / "context"
        context.mkdir()
        (directory / "build.envd").write_text(SPEC)
        (directory / "base.envd").write_text(BASE)
        (context / "Dockerfile").write_text(DOCKERFILE)
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", context / "ca.crt")
        warm = directory / "warm"
        variables = environment(ENVD_STORE=str(warm))
        seconds([ENVD, "build", "-f", "base.envd", "-t", "envd-bench:cold-base"], variables, directory)
        seconds([ENVD, "build", "--no-load"], variables, directory)
        b = buildkit("envd-bench:cold-buildkit", "--no-cache")
        seconds(b, variables, context)

        def ours(number: int) -> float:
            store = directory / f"cold-{number}"
            (store / "blobs").mkdir(parents=True)
            # Files and layers by their hashes; without the database nothing is known of layers.
            shutil.copytree(warm / "blobs/sha256", store / "blobs/sha256", copy_function=os.link)
            for place in ("trees", "tmp", "locks"):
                (store / place).mkdir()
            try:
                return seconds(
                    [ENVD, "build", "--no-load", "--locked"], environment(ENVD_STORE=str(store)), directory
                )
            finally:
                shutil.rmtree(store)

        pair = in_turn(ours, lambda _: seconds(b, variables, context), rounds)
    show(
        "cold build with warm files (base, apt, numpy, jupyterlab)",
        "envd build",
        "BuildKit with apt and pip",
        pair,
    )


if __name__ == "__main__":
    main()
