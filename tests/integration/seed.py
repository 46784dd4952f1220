"""The servers that the seed's own example wants, here: Ubuntu 20.04 of Debian's packages, NVIDIA's
repository, a gallery, a Python index. All signed, all found by envd's own settings."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from engine.core.derivation import Fetch
from engine.net.fetch import fetch
from store import Store
from tests.integration import archive, distribution, index, nvidia, web
from tests.integration.envd import Envd

# What the example takes from the archive; python3-distutils is a package apart before Python 3.12.
_NEEDED = """
def build():
    base(os="{os}", language="python3")
    install.apt_packages(["python3-distutils"])
    shell("zsh")
    config.jupyter()
"""
_SUITES = ("focal", "focal-updates", "focal-security")


@contextmanager
def ubuntu(store: Path, place: Path, debian: str) -> Iterator[dict[str, str]]:
    """Ubuntu 20.04's suites, filled with a Debian release's packages, with the key where Ubuntu
    keeps its own; the settings for envd."""
    gathering = Envd(store, place / "gathering")
    gathering.spec(_NEEDED.format(os=debian))
    gathering.run("lock")
    lock = tomllib.loads((gathering.project / "envd.lock").read_text())
    pool = place / "archive/pool"
    pool.mkdir(parents=True)
    opened = Store.open(store)
    for row in (*lock["base"]["package"], *lock["apt"]):
        path = fetch(Fetch(row["file"], row["url"], row["sha256"], row["size"]), opened)
        (pool / row["file"]).symlink_to(path)
    opened.close()
    key = distribution.make_key()
    try:
        distribution.write_indexes(place / "archive", _SUITES, key)
        keys = place / "archive/project"
        keys.mkdir()
        (keys / "ubuntu-archive-keyring.gpg").write_bytes(key.gpg("--export"))
        with web.serve(place / "archive") as server:
            yield {
                "ENVD_UBUNTU_MIRROR": server.url,
                "ENVD_UBUNTU_FINGERPRINT": key.fingerprint,
                "ENVD_UBUNTU_KEYRING": "",
            }
    finally:
        distribution.remove_key(key)


@contextmanager
def cuda(place: Path) -> Iterator[dict[str, str]]:
    """NVIDIA's repository; the settings for envd."""
    repository = place / "nvidia"
    repository.mkdir(parents=True)
    signer = archive.make_signer(place / "gpg")
    nvidia.make(repository, signer)
    with web.serve(repository) as server:
        yield nvidia.Nvidia(server.url, signer).settings


@contextmanager
def python_index(files: Sequence[Path], place: Path) -> Iterator[dict[str, str]]:
    """An index of these files that is asked before the machine's own."""
    place.mkdir(parents=True)
    for path in files:
        (place / path.name).write_bytes(path.read_bytes())
    index.lay_out(place)
    with web.serve(place) as server:
        yield {"UV_INDEX": f"{server.url}/simple/"}


@contextmanager
def servers(
    store: Path, place: Path, debian: str, wheels: Sequence[Path], gallery: str
) -> Iterator[Mapping[str, str]]:
    """All of them; the settings for envd."""
    with ExitStack() as stack:
        yield {
            **stack.enter_context(ubuntu(store, place / "ubuntu", debian)),
            **stack.enter_context(cuda(place / "cuda")),
            **stack.enter_context(python_index(wheels, place / "index")),
            "ENVD_VSCODE_GALLERY": gallery,
        }
