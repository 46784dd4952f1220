"""One of thirty Python packages changes: envd against a Dockerfile with pip.

Both take the packages from one local index, so that the network does not count; BuildKit has a
cache mount for pip, so that it downloads only what is new. Each round asks for another version.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from benchmarks.peers import ENVD, buildkit, environment
from benchmarks.timing import in_turn, seconds, show
from tests.integration import index

# six is the one that changes, pip what installs them.
PACKAGES = (*(name for name in index.THIRTY if name != "six"), "pip")
VERSIONS = ("1.10.0", "1.11.0", "1.12.0", "1.13.0", "1.14.0", "1.15.0", "1.16.0", "1.17.0")

SPEC = """
def build():
    base(os="debian12", language="python3")
    config.pip_index(url="{url}")
    install.python_packages({packages})
"""
DOCKERFILE = """
FROM envd-bench:change-base
COPY requirements.txt /tmp/requirements.txt
RUN --mount=type=cache,target=/root/.cache/pip \\
    python3 -m pip install --root-user-action=ignore --index-url {url} -r /tmp/requirements.txt
"""


def main(rounds: int = len(VERSIONS) - 2) -> None:
    """Print the comparison."""
    variables = environment(PIP_FIND_LINKS="", PIP_EXTRA_INDEX_URL="", UV_FIND_LINKS="", UV_NO_CONFIG="1")
    with tempfile.TemporaryDirectory(prefix="envd-bench-") as name:
        directory = Path(name)
        packages = directory / "index"
        packages.mkdir()
        index.download(packages, PACKAGES)
        for version in VERSIONS:
            index.download(packages, [f"six=={version}"])
        index.lay_out(packages)
        with index.serve(packages) as address:
            url = f"http://{address}/simple"

            def change(number: int) -> None:
                wanted = [*PACKAGES, f"six=={VERSIONS[number]}"]
                (directory / "build.envd").write_text(SPEC.format(url=url, packages=json.dumps(wanted)))
                (directory / "requirements.txt").write_text("\n".join(wanted))

            context = directory / "context"  # without the index
            context.mkdir()
            (context / "Dockerfile").write_text(DOCKERFILE.format(url=url))
            (directory / "base.envd").write_text(
                'def build():\n    base(os="debian12", language="python3")\n'
                f'    config.pip_index(url="{url}")\n    install.python_packages(["pip"])\n'
            )
            seconds([ENVD, "build", "-f", "base.envd", "-t", "envd-bench:change-base"], variables, directory)
            a = [ENVD, "build", "-t", "envd-bench:change"]
            b = buildkit("envd-bench:change-buildkit")

            def ours(number: int) -> float:
                change(number + 2)
                return seconds(a, variables, directory)

            def theirs(number: int) -> float:
                change(number + 2)
                (context / "requirements.txt").write_bytes((directory / "requirements.txt").read_bytes())
                return seconds(b, variables, context)

            for number in (-2, -1):
                ours(number)
                theirs(number)
            pair = in_turn(ours, theirs, rounds)
    show("one of thirty packages changed", "envd build (lock, build, load)", "BuildKit with pip", pair)


if __name__ == "__main__":
    main()
