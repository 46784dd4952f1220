"""What one machine has built reaches another: envd's cache against peers, each with a real registry.

A machine with an empty store builds examples/demo, which another one has published, and writes the whole
image into a directory. Beside it: skopeo, which copies the same image from the same registry into a
directory (the limit: every byte of it comes once and is written once); the same build without the
cache; BuildKit, which takes a like image from a registry's inline cache; `nix copy` of the same bytes from
a binary cache.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.peers import ENVD, buildkit, docker, environment
from benchmarks.timing import in_turn, seconds, show
from engine.cache import keys
from tests.integration import servers, web

DEMO = Path(__file__).parents[1] / "examples/demo"
DOCKERFILE = """
FROM envd-bench:sharing-base
COPY ca.crt /etc/ssl/certs/ca-certificates.crt
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_BREAK_SYSTEM_PACKAGES=1
RUN apt-get update -q && apt-get install -q -y --no-install-recommends zsh python3 python3-pip
RUN python3 -m pip install --root-user-action=ignore numpy jupyter nvidia-cuda-runtime-cu12==12.9.79 \\
    nvidia-nvjitlink-cu12==12.9.86 nvidia-cuda-nvrtc-cu12==12.9.86
"""
BASE = """
def build():
    base(os="debian12")
"""


def main(rounds: int = 5) -> None:
    """Print the comparisons."""
    with (
        tempfile.TemporaryDirectory(prefix="envd-bench-", dir="/var/tmp") as name,
        servers.registry() as registry,
    ):
        directory = Path(name)
        _Bench(directory, registry.address).run(rounds)


class _Bench:
    def __init__(self, directory: Path, registry: str) -> None:
        self.directory, self.registry = directory, registry
        self.project = directory / "demo"
        shutil.copytree(DEMO, self.project)
        key = keys.generate("bench")
        self.key = directory / "key"
        self.key.write_text(key.secret())
        self.key.chmod(0o600)
        place = f"{registry}/bench/cache"
        self.writing = environment(
            ENVD_STORE=str(directory / "writer"), ENVD_SIGNING_KEY=str(self.key), ENVD_PUBLISH=place
        )
        self.sharing = {"ENVD_SUBSTITUTERS": place, "ENVD_TRUSTED_KEYS": str(key.public)}
        self.image = f"{registry}/bench/demo:v1"

    def run(self, rounds: int) -> None:
        seconds([ENVD, "build", "--no-load", "--locked", "--publish"], self.writing, self.project)
        seconds([ENVD, "push", self.image], self.writing, self.project)
        skopeo = self._fresh(
            lambda place: (
                ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{self.image}", f"dir:{place}"],
                environment(),
            )
        )
        whole = self._fresh(lambda place: self._reader(place, "-o", f"oci-dir:{place}/image"))
        show(
            "another machine's image, all of it into a directory",
            "envd build, empty store",
            "skopeo copy",
            in_turn(whole, skopeo, rounds),
            "limit: every byte once over loopback and once to the disk",
        )
        known = self._fresh(lambda place: self._reader(place, "--no-load"))
        alone = self._fresh(lambda place: self._reader(place, "--no-load", shared=False))
        show(
            "another machine's build, known without its bytes",
            "envd build, empty store",
            "without the cache",
            in_turn(known, alone, 1),
        )
        whole_again = self._fresh(lambda place: self._reader(place, "-o", f"oci-dir:{place}/image"))
        show(
            "a like image from a registry's inline cache",
            "envd build, empty store",
            "BuildKit --cache-from",
            in_turn(whole_again, self._buildkit(), min(rounds, 3)),
        )
        if shutil.which("nix") is None:
            raise SystemExit("nix is not installed: apt-get install nix-bin")
        (self.directory / "nix-cache").mkdir()
        with web.serve(self.directory / "nix-cache") as served:
            show(
                "the same bytes from a binary cache",
                "envd build, empty store",
                "nix copy, over HTTP, uncompressed, unsigned",
                in_turn(whole_again, self._nix(served.url), rounds),
            )

    def _fresh(self, command: Callable[[Path], tuple[list[str], dict[str, str]]]) -> Callable[[int], float]:
        """A process whose place is a new directory each time, which goes afterwards."""

        def run(number: int) -> float:
            place = Path(tempfile.mkdtemp(dir=self.directory))
            try:
                argv, variables = command(place)
                return seconds(argv, variables, self.project)
            finally:
                shutil.rmtree(place)

        return run

    def _reader(self, place: Path, *options: str, shared: bool = True) -> tuple[list[str], dict[str, str]]:
        more = self.sharing if shared else {}
        argv = [ENVD, "build", "--locked", *options]
        return argv, environment(ENVD_STORE=str(place / "store"), **more)

    def _buildkit(self) -> Callable[[int], float]:
        context = self.directory / "context"
        context.mkdir()
        (context / "Dockerfile").write_text(DOCKERFILE)
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", context / "ca.crt")
        (self.directory / "base.envd").write_text(BASE)
        base = f"{self.registry}/bench/base:1"
        argv = [ENVD, "build", "-f", "base.envd", "-t", "envd-bench:sharing-base"]
        seconds(argv, self.writing, self.directory)
        seconds([docker(), "tag", "envd-bench:sharing-base", base], environment(), context)
        seconds([docker(), "push", base], environment(), context)
        (context / "Dockerfile").write_text(DOCKERFILE.replace("envd-bench:sharing-base", base))
        tag = f"{self.registry}/bench/like:1"
        seconds(buildkit(tag, "--build-arg", "BUILDKIT_INLINE_CACHE=1"), environment(), context)
        seconds([docker(), "push", tag], environment(), context)

        def run(number: int) -> float:
            for argv in (["image", "rm", "-f", tag, base], ["builder", "prune", "-af"]):
                subprocess.run([docker(), *argv], check=False, capture_output=True)
            # pulled as well: envd has every byte, too
            return seconds(buildkit(tag, "--cache-from", tag), environment(), context) + seconds(
                [docker(), "pull", "-q", tag], environment(), context
            )

        return run

    def _nix(self, url: str) -> Callable[[int], float]:
        """Copies from the binary cache `nix-cache`, which is served at `url`."""
        options = ["--extra-experimental-features", "nix-command"]
        source, cache = self.directory / "nix-source", self.directory / "nix-cache"
        blobs = self.directory / "blobs"
        seconds(
            ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{self.image}", f"dir:{blobs}"],
            environment(),
            self.directory,
        )
        paths = [
            subprocess.run(
                ["nix", *options, "store", "add-file", "--store", str(source), str(blob)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout.strip()
            for blob in sorted(blobs.iterdir())
            if blob.name not in ("version", "manifest.json")
        ]
        to = ["nix", *options, "copy", "--no-check-sigs", "--to", f"file://{cache}?compression=none"]
        seconds([*to, "--from", str(source), *paths], environment(), self.directory)

        def run(number: int) -> float:
            place = Path(tempfile.mkdtemp(dir=self.directory))
            argv = ["nix", *options, "copy", "--no-check-sigs", "--from", url]
            try:
                return seconds([*argv, "--to", str(place), *paths], environment(), self.directory)
            finally:
                subprocess.run(["chmod", "-R", "u+w", str(place)], check=True)
                shutil.rmtree(place)

        return run


if __name__ == "__main__":
    main()
