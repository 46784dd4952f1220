"""conda packages: from a real channel to /opt/conda in an image."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.ecosystems.conda import resolver as conda
from engine.errors import ResolveError
from grammar.environment import Position, Request
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
        directory,
        "greet",
        "1.0",
        {"bin/greet": b"#!/bin/sh\ncat " + home + b"/share/greeting\n"},
        ["words >=2"],
    )
    for version in ("1.0", "2.0"):
        channel.make_package(
            directory,
            "words",
            version,
            {
                "share/greeting": f"hello {version}\n".encode(),
                "lib/words.bin": b"\x7f\0" + home + b"/lib\0" + b"end",
            },
            subdir="linux-64",
        )
    channel.index(directory)
    with channel.serve(directory) as served:
        yield served


def test_packages_are_linked_for_their_prefix(shared_store: Path, tmp_path: Path, url: str) -> None:
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


ENVIRONMENT_FILE = """\
name: whatever
channels: [{url}]
dependencies:
  - python
  - moo >=1.0
  - pip:
    - six==1.16.0
    - docopt==0.6.2
    - -r pip.txt
"""


def test_an_environment_file_with_pip_inside(
    shared_store: Path, tmp_path: Path, python_channel: tuple[str, str]
) -> None:
    url, version = python_channel
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec(
        'def build():\n    base(os="debian12")\n    install.apt_packages(["libexpat1"])\n'
        '    install.conda_packages(env_file="environment.yml")\n'
        '    install.python_packages(["toolz==0.12.0", "moo"])\n'
    )
    (envd.project / "environment.yml").write_text(ENVIRONMENT_FILE.format(url=url))
    (envd.project / "pip.txt").write_text("idna==3.10\n")
    root = envd.unpacked(tmp_path)
    code = (
        "import sys, six, docopt, idna, toolz, moo; print(sys.version.split()[0], six.__version__, "
        "docopt.__version__, idna.__version__, toolz.__version__, six.__file__)"
    )
    ran = subprocess.run(
        ["chroot", str(root), "/opt/conda/bin/python", "-c", code], capture_output=True, text=True
    )
    name = f"python{version.rpartition('.')[0]}"
    assert ran.stdout.split() == [
        version,
        "1.16.0",
        "0.6.2",
        "3.10",
        "0.12.0",
        f"/opt/conda/lib/{name}/site-packages/six.py",
    ], ran.stderr
    # a noarch Python package: its module beside the others, its command made for this prefix
    ran = subprocess.run(["chroot", str(root), "/opt/conda/bin/moo"], capture_output=True, text=True)
    assert ran.stdout == "moo 1.0\n", ran.stderr
    # moo is conda's own: no wheel of that name from the Python index
    lock = (envd.project / "envd.lock").read_text()
    assert lock.count('name = "moo"') == 1
    assert not (root / "usr/bin/python3").exists()


@pytest.fixture(scope="module")
def python_channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A channel with a Python, and a noarch package for it; its URL, and Python's version."""
    directory = tmp_path_factory.mktemp("python-channel")
    version = channel.make_python(directory)
    about = b"Metadata-Version: 2.1\nName: moo\nVersion: 1.0\n"
    channel.make_package(
        directory,
        "moo",
        "1.0",
        {
            "site-packages/moo.py": b"def main():\n    print('moo 1.0')\n",
            "site-packages/moo-1.0.dist-info/METADATA": about,
        },
        ["python >=3.8"],
        entry_points=["moo = moo:main"],
    )
    channel.index(directory)
    with channel.serve(directory) as served:
        yield served, version


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nothing-such", "no conda package 'nothing-such'"),
        ("words::a=b=c=d", "is not a valid conda package"),
        ("greeet", "did you mean 'greet'?"),
        ("words>=9", "words"),
    ],
)
def test_bad_requests_are_named_with_their_place(tmp_path: Path, url: str, name: str, says: str) -> None:
    requests = [Request("greet", Position("build.envd", 5, 2)), Request(name, Position("build.envd", 6, 9))]
    with pytest.raises(ResolveError) as caught:
        conda.resolve(requests, [url], "2.36", tmp_path, lambda _: None)
    assert str(caught.value).startswith("build.envd:6:9: ") and says in str(caught.value)
