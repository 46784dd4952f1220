"""Shells that start afresh keep the image's variables, and conda's packages find what is theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import channel
from tests.integration.envd import Envd, docker

SPEC = """
def build():
    base(os="debian12")
    install.apt_packages(["zsh", "fish"])
    config.conda_channel("{url}")
    install.conda_packages(["geolib"])
    runtime.environ(env={{"GREETING": "it's $x"}}, extra_path=["/opt/mine"])
    run(["geotool >/srv/ran", "flock /var/lock/x true"])
"""
TAG = "envd-test/login:dev"
_ACTIVATE = b"""\
export GEO_DATA="$CONDA_PREFIX/share/geo"
export GEO_CACHE="$HOME/.cache/geo"
export PATH="$CONDA_PREFIX/geo/bin:$PATH"
geo() { echo function; }
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A channel with a package that needs its activation, and two that clash with it."""
    directory = tmp_path_factory.mktemp("channel")
    channel.make_package(
        directory,
        "geolib",
        "1.0",
        {
            "etc/conda/activate.d/geolib.sh": _ACTIVATE,
            "etc/conda/activate.d/geolib.fish": b"set -gx GEO_FISH yes\n",
            "bin/geotool": b'#!/bin/sh\necho "${GEO_DATA:?is not set} $CONDA_PREFIX"\n',
            "share/same": b"geolib\n",
            "share/place": b"a file\n",
        },
    )
    channel.make_package(directory, "same", "1.0", {"share/same": b"same\n"})
    channel.make_package(directory, "place", "1.0", {"share/place/inside": b"in a directory\n"})
    channel.index(directory)
    with channel.serve(directory) as served:
        yield served


def test_variables_and_activation_in_every_shell(
    docker_engine: str, shared_store: Path, tmp_path: Path, url: str
) -> None:
    envd = Envd(shared_store, tmp_path / "p", {"DOCKER_HOST": docker_engine})
    envd.spec(SPEC.format(url=url))
    envd.run("build", "-t", TAG)

    def run(*command: str, options: tuple[str, ...] = ()) -> str:
        return docker("run", "--rm", "--network=none", *options, TAG, *command, host=docker_engine)

    said = "/opt/conda/share/geo /opt/conda"
    path = "/opt/conda/geo/bin:/opt/mine:/opt/conda/bin:/usr/local/sbin:"
    assert run("geotool") == said
    assert run("cat", "/srv/ran") == said
    for shell in ("sh", "bash", "zsh"):
        shown = run(shell, "-lc", 'geotool; echo "$PATH"; echo "$GREETING"').splitlines()
        assert (shell, shown[0], shown[2]) == (shell, said, "it's $x")
        assert shown[1].startswith(path)
        assert shown[1].count("/opt/conda/geo/bin") == 1
    shown = run("fish", "-lc", "geotool; string join : $PATH; echo $GREETING; echo $GEO_FISH").splitlines()
    assert (shown[0], shown[2:]) == (said, ["it's $x", "yes"])
    assert shown[1].startswith(path)
    for shell in ("bash", "zsh"):
        assert run(shell, "-ic", "geo; echo $GEO_CACHE").splitlines() == ["function", "/root/.cache/geo"]
        assert run(shell, "-lc", "geo; echo $GEO_CACHE").splitlines() == ["function", "/root/.cache/geo"]
    for shell in ("/bin/bash", "/bin/zsh", "/usr/bin/fish", "/bin/sh"):
        shown = run(
            "sh", "-c", f"useradd -m -s {shell} jo && su - jo -c 'geotool; echo $GREETING'"
        ).splitlines()
        assert (shell, shown) == (shell, [said, "it's $x"])
    # what a container is started with is stronger
    assert run("bash", "-lc", "echo $GREETING", options=("-e", "GREETING=other")) == "other"
    assert run("stat", "-c", "%a", "/run/lock") == "1777"
    assert run("flock", "/var/lock/x", "echo", "locked") == "locked"
    assert run("ls", "-A", "/opt/conda").split() == ["bin", "conda-meta", "etc", "share"]


def test_packages_that_clash_are_named(shared_store: Path, tmp_path: Path, url: str) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    text = (
        'def build():\n    base(os="debian12")\n    config.conda_channel("{}")\n'
        "    install.conda_packages({})\n"
    )
    envd.spec(text.format(url, '["geolib", "same"]'))
    done = envd.run("build", "--no-load", "--progress=plain")
    assert "conda: geolib and same have 'share/same'; that of geolib is taken" in done.stderr
    envd.spec(text.format(url, '["geolib", "place"]'))
    refused = envd.run("build", "--no-load", check=False)
    assert refused.code == 1
    assert "error: conda: 'share/place' is a file in geolib, and a directory in place" in refused.stderr
