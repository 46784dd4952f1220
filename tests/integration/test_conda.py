"""conda packages: from a real channel to /opt/conda in an image."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import channel
from tests.integration.envd import Envd

SPEC = """
def build():
    base(os="debian12")
    config.conda_channel("{url}")
    install.conda_packages({names})
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A channel of two packages, of which one needs the other."""
    directory = tmp_path_factory.mktemp("channel")
    home = channel.PLACEHOLDER.encode()
    channel.make_package(
        directory, "greet", "1.0",
        {"bin/greet": b"#!/bin/sh\ncat " + home + b"/share/greeting\n"}, ["words >=2"],
    )
    for version in ("1.0", "2.0"):
        channel.make_package(
            directory, "words", version,
            {"share/greeting": f"hello {version}\n".encode(),
             "lib/words.bin": b"\x7f\0" + home + b"/lib\0" + b"end"},
            subdir="linux-64",
        )
    channel.index(directory)
    with channel.serve(directory) as served:
        yield served


def test_packages_are_linked_for_their_prefix(
    shared_store: Path, tmp_path: Path, url: str
) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec(SPEC.format(url=url, names='["greet"]'))
    root = envd.unpacked(tmp_path)
    ran = subprocess.run(
        ["chroot", str(root), "/opt/conda/bin/greet"], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "hello 2.0\n"
    binary = (root / "opt/conda/lib/words.bin").read_bytes()
    assert binary.startswith(b"\x7f\0/opt/conda/lib\0")
    # the placeholder is padded, so that offsets in the binary stay
    assert len(binary) == 2 + len(channel.PLACEHOLDER) + len("/lib") + 1 + 3


def test_two_stores_give_the_same_object(tmp_path: Path, shared_store: Path, url: str) -> None:
    first = Envd(shared_store, tmp_path / "a")
    first.spec(SPEC.format(url=url, names='["greet"]'))
    before = first.unpacked(tmp_path / "a")
    second = Envd(tmp_path / "other-store", tmp_path / "b", {"TZ": "Asia/Tokyo"})
    second.spec(SPEC.format(url=url, names='["greet"]'))
    after = second.unpacked(tmp_path / "b")
    listing = [p for p in sorted((before / "opt/conda").rglob("*")) if p.is_file()]
    assert listing
    for path in listing:
        content = path.read_bytes()
        assert content == (after / path.relative_to(before)).read_bytes()
        assert os.fsencode(str(shared_store)) not in content
    layouts = [(tmp_path / n / "layout/index.json").read_bytes() for n in "ab"]
    assert layouts[0] == layouts[1]


@pytest.mark.parametrize(("name", "says"), [("nothing-such", "nothing-such"), ("a b c d", "a b c d")])
def test_bad_requests_are_named_with_their_place(
    shared_store: Path, tmp_path: Path, url: str, name: str, says: str
) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec(SPEC.format(url=url, names=f'["{name}"]'))
    done = envd.run("lock", check=False)
    assert done.code == 1
    assert "build.envd:5:" in done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (envd.project / "envd.lock").exists()
