"""Toolchains in an image: Debian's own, upstream's from a site of the same protocols, and real
ones from the Python index and npm."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.ecosystems.python import pythons
from engine.ecosystems.python.target import Target
from engine.ecosystems.tools import builder as tool
from engine.lock.model import Lock, LockedBase, loads
from engine.net.fetch import fetch
from engine.realise.scheduler import Work, realise
from engine.sections import tools
from grammar.environment import Base, Environment, Toolchain
from store import Store
from tests.integration import channel, toolsite
from tests.integration.envd import Envd


@dataclass(frozen=True)
class Root:
    """An unpacked image, and the environment that its config gives to a container."""

    path: Path
    environment: Mapping[str, str]

    def run(self, *argv: str) -> str:
        """Run a command inside, without network; its standard output."""
        done = subprocess.run(
            [
                "bwrap",
                "--bind",
                str(self.path),
                "/",
                "--proc",
                "/proc",
                "--dev",
                "/dev",
                "--unshare-net",
                "--unshare-pid",
                "--clearenv",
                *(word for pair in self.environment.items() for word in ("--setenv", *pair)),
                "--chdir",
                "/root",
                "--",
                *argv,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def unpacked(envd: Envd, place: Path) -> Root:
    """Build the image and unpack it."""
    path = envd.unpacked(place)
    layout = place / "layout"

    def blob(digest: str) -> Any:
        return json.loads((layout / "blobs" / digest.replace(":", "/")).read_bytes())

    index = json.loads((layout / "index.json").read_text())
    config = blob(blob(index["manifests"][0]["digest"])["config"]["digest"])["config"]
    return Root(path, dict(entry.split("=", 1) for entry in config["Env"]))


def rows(envd: Envd) -> dict[str, dict[str, Any]]:
    """The lock's tools, by name."""
    document = tomllib.loads((envd.project / "envd.lock").read_text())
    return {row["name"]: row for row in document["tools"]}


@pytest.fixture(scope="module")
def python39(shared_store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A real Python 3.9 below one prefix: debian12's own is 3.11."""
    directory = tmp_path_factory.mktemp("python")
    envd = Envd(shared_store, directory / "p")
    envd.spec(
        'def build():\n    base(os="debian11", language="python3")\n'
        '    install.apt_packages(["python3-distutils"])\n'
    )
    envd.run("lock")
    lock = loads((envd.project / "envd.lock").read_text())
    files = {p.name: p.file for p in (*lock.base.packages, *lock["apt"])}
    store = Store.open(shared_store)

    def deb(name: str) -> Path:
        file = files[name]
        return fetch(file.fetch(), store)

    try:
        return toolsite.another_python(deb, directory / "root")
    finally:
        store.close()


@pytest.fixture(scope="module")
def site(python39: dict[str, bytes]) -> Iterator[toolsite.Site]:
    """Releases of every tool, and Python 3.9 as a build that uv knows."""
    with toolsite.serve() as served:
        toolsite.add_go(served, "1.21.3", "1.22.5")
        toolsite.add_node(served, {"20.9.0": "Iron", "20.18.1": "Iron", "23.1.0": False})
        toolsite.add_rust(served, "1.75.0")
        toolsite.add_pixi(served, "0.48.0")
        toolsite.add_codex(served, "0.100.0")
        members: dict[str, bytes | str] = {f"python/{k}": v for k, v in python39.items()}
        members |= {
            "python/bin/python3": "python3.9",
            "python/bin/python": "python3.9",
            "python/bin/pip3": toolsite.says("the archive's pip"),
            "python/lib/python3.9/site-packages/pip/__init__.py": b"the archive's pip\n",
            "python/lib/pkgconfig/python-3.9.pc": b"prefix=/install\n",
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ENVD_PYTHON_DOWNLOADS", served.settings["ENVD_PYTHON_DOWNLOADS"])
            builds = pythons._builds()
        newest = max((v for v in builds if v.startswith("3.9.")), key=lambda v: int(v.split(".")[2]))
        toolsite.add_python(served, builds[newest][1], toolsite.pack(members))
        yield served


# -- Debian's own -----------------------------------------------------------------------------

HELLO = {
    "hello.go": 'package main\nimport "fmt"\nfunc main() { fmt.Println("hello from go") }\n',
    "hello.rs": 'fn main() { println!("hello from rust"); }\n',
    "hello.js": 'console.log(`hello from node ${process.versions.node.split(".")[0]}`);\n',
    "hello.fish": "set -l total (math 20 + 22)\necho hello from fish $total\n",
}


def test_debians_own_compile_and_run(shared_store: Path, tmp_path: Path) -> None:
    """In the image's root, with the image's variables: what `run` sees."""
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec("""
def build():
    base(os="debian12")
    install.go(version="1.19")
    install.rust()
    install.nodejs(version="18")
    install.python(version="3.11")
    install.python_packages(["six"])
    shell("fish")
    io.copy("src", "/srv/src")
    run([
        "cd /srv/src",
        "go build -o /tmp/go hello.go && /tmp/go > out",
        "rustc -o /tmp/rust hello.rs && /tmp/rust >> out",
        "node hello.js >> out",
        "fish hello.fish >> out",
        "cargo init -q --vcs none --name world /tmp/c && cargo install -q --offline --path /tmp/c",
        "world >> out",
        "mkdir /tmp/g && cp hello.go /tmp/g && cd /tmp/g && go mod init x.org/wide && go install .",
        "wide >> /srv/src/out && cd /srv/src",
        "npm --version | cut -d. -f1 >> out",
        "python -c 'import six; print(six.__file__)' >> out",
        "getent passwd root | cut -d: -f7 >> out && echo $SHELL >> out",
        "fish -c 'set -q fish_greeting; and echo settings are read' >> out",
    ])
""")
    (envd.project / "src").mkdir()
    for name, text in HELLO.items():
        (envd.project / "src" / name).write_text(text)
    done = envd.run("build", "--no-load", "--progress=json", "-o", f"oci-dir:{tmp_path}/layout")
    assert done.names("failed") == []
    said = _file_of_last_layer(tmp_path / "layout", "srv/src/out").splitlines()
    assert said == [
        "hello from go",
        "hello from rust",
        "hello from node 18",
        "hello from fish 42",
        "Hello, world!",
        "hello from go",
        "9",
        "/usr/local/lib/python3.11/dist-packages/six.py",
        "/usr/bin/fish",
        "/usr/bin/fish",
        "settings are read",
    ]
    document = tomllib.loads((envd.project / "envd.lock").read_text())
    assert "tools" not in document
    assert {"golang-go", "rustc", "cargo", "nodejs", "npm", "python3", "fish"} <= {
        row["name"] for row in document["apt"]
    }


def _file_of_last_layer(layout: Path, name: str) -> str:
    import tarfile

    index = json.loads((layout / "index.json").read_text())
    blobs = layout / "blobs/sha256"
    manifest = json.loads((blobs / index["manifests"][0]["digest"][7:]).read_text())
    with tarfile.open(blobs / manifest["layers"][-1]["digest"][7:]) as layer:
        file = layer.extractfile(name)
        assert file is not None
        return file.read().decode()


# -- upstream's -------------------------------------------------------------------------------

UPSTREAM = """
def build():
    base(os="debian12")
    install.go(version="1.22")
    install.rust(version="1.75")
    install.nodejs(version="lts")
    install.pixi(pypi_index="https://packages.example/simple")
    install.codex()
    install.uv(python_version="3.9")
    install.apt_packages(["libexpat1"])  # Debian's build of 3.9 wants it; uv's have their own
"""


def test_releases_are_laid_out_and_run(shared_store: Path, tmp_path: Path, site: toolsite.Site) -> None:
    envd = Envd(shared_store, tmp_path / "p", site.settings)
    envd.spec(UPSTREAM)
    root = unpacked(envd, tmp_path)

    locked = rows(envd)
    for name, row in locked.items():
        assert len(row["sha256"]) == 64 and row["size"] > 0, name
    assert {n: locked[n]["version"] for n in ("go", "nodejs", "pixi", "codex", "rustc")} == {
        "go": "1.22.5",
        "nodejs": "20.18.1",
        "pixi": "0.48.0",
        "codex": "0.100.0",
        "rustc": "1.75.0",
    }
    assert locked["go"]["url"] == f"{site.url}/go/go1.22.5.linux-amd64.tar.gz"
    assert locked["uv-python"]["key"].startswith("cpython-3.9.")

    assert root.environment["PATH"].split(":")[:3] == [
        "/usr/local/go/bin",
        "/opt/nodejs/bin",
        "/opt/rust/bin",
    ]
    assert root.run("go", "version") == "go version go1.22.5 version"
    assert root.run("node", "-v") == "v20.18.1 -v"
    assert root.run("npm", "ls") == "npm of node ls"
    assert root.run("rustc") == "rustc 1.75.0"
    assert root.run("cargo", "clippy") == "cargo 1.75.0 clippy"
    assert (root.path / "opt/rust/lib/rustlib/x86_64-unknown-linux-gnu/lib/libstd.rlib").exists()
    assert not (root.path / "opt/rust/manifest.in").exists()
    assert root.run("which", "cc") == "/usr/bin/cc"  # Rust links with it
    assert root.run("pixi", "x") == "pixi 0.48.0 x"
    settings = tomllib.loads((root.path / "etc/pixi/config.toml").read_text())
    assert settings == {"pypi-config": {"index-url": "https://packages.example/simple"}}
    assert root.run("codex").split("\n") == ["codex 0.100.0", "/opt/codex/codex-path/rg"]
    # the real uv, from the Python index, and the Python that it was asked for
    assert root.run("uv", "--version").startswith(f"uv {locked['uv']['version']}")
    found = root.run("uv", "python", "find", "3.9")
    assert found.startswith(f"/opt/uv/python/{locked['uv-python']['key']}/bin/python3")
    script = "uv venv -q --offline --python 3.9 /tmp/v && /tmp/v/bin/python --version"
    assert root.run("sh", "-c", script).startswith("Python 3.9.")

    # another version of one tool moves none of the others
    toolsite.add_pixi(site, "0.48.0", "0.49.0")
    envd.spec(UPSTREAM.replace('go(version="1.22")', 'go(version="1.21")'))
    envd.run("lock")
    assert rows(envd)["pixi"] == locked["pixi"]
    # a release that is not what the lock pins is refused
    file = rows(envd)["go"]
    path = file["url"].removeprefix(site.url)
    right = site.pages[path]
    site.pages[path] = toolsite.pack({"go/bin/go": toolsite.says("something else")})
    refused = envd.run("build", "--no-load", check=False)
    assert refused.code == 1 and "Traceback" not in refused.stderr
    assert "is not the file that the lock pins" in refused.stderr
    assert file["sha256"] in refused.stderr
    site.pages[path] = right
    done = envd.run("build", "--no-load", "--progress=json")
    assert done.names("finish") == ["go-1.21.3"]


def test_two_stores_give_the_same_objects(
    tmp_path: Path, site: toolsite.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in site.settings.items():
        monkeypatch.setenv(name, value)
    asked = (
        Toolchain("go", "1.22"),
        Toolchain("rust", "1.75"),
        Toolchain("nodejs", "20"),
        Toolchain("pixi"),
        Toolchain("codex"),
        Toolchain("uv"),
        Toolchain("python", "3.9"),
    )
    environment = Environment(base=Base("debian12"), toolchains=asked)
    found = []
    for name, mask in (("one", 0o022), ("deeper/two", 0o077)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        before = os.umask(mask)
        store = Store.open(tmp_path / name)
        try:
            cache = tmp_path / name / "cache"
            packages = tools.resolve(environment, (), Target("3.9", "2.36"), cache, lambda _: None)
            lock = Lock(LockedBase("debootstrap", "debian12"), packages={"tools": tuple(packages)})
            layers = tools.derivations(environment, lock)
            outputs = realise(layers, store, {tool.KIND: tool.build}, Work(jobs=2))
            objects = [store.get(outputs[layer.drv_id]) for layer in layers]
        finally:
            store.close()
            os.umask(before)
        found.append([(o.id, o.diff_id, o.digest) for o in objects if o is not None])
    assert found[0] == found[1]
    assert len(found[0]) == len(asked)


def test_errors_name_the_call_and_leave_the_lock_as_it_was(
    shared_store: Path, tmp_path: Path, site: toolsite.Site
) -> None:
    envd = Envd(shared_store, tmp_path / "p", site.settings)
    spec = 'def build():\n    base(os="debian12")\n    {call}\n'
    envd.spec(spec.format(call="pass"))
    envd.run("lock")
    before = (envd.project / "envd.lock").read_bytes()
    for call, code, says in (
        ('install.go(version="1.22.9")', 1, "no version 1.22.9; near it are 1.21.3, 1.22.5"),
        ('install.python(version="3.99")', 1, "CPython has no version 3.99"),
        ('install.nodejs(version="newest")', 2, "not a valid version, such as '1.2.3' or 'latest'"),
    ):
        envd.spec(spec.format(call=call))
        done = envd.run("lock", check=False)
        assert (done.code, "Traceback" in done.stderr) == (code, False)
        assert "build.envd:3:" in done.stderr and says in done.stderr
        assert (envd.project / "envd.lock").read_bytes() == before


# -- another Python ---------------------------------------------------------------------------

WHERE = "import markupsafe._speedups as m, sys; print(sys.version_info[:2], m.__file__)"


def test_packages_are_for_the_python_that_was_asked_for(
    shared_store: Path, tmp_path: Path, site: toolsite.Site
) -> None:
    envd = Envd(shared_store, tmp_path / "p", site.settings)
    envd.spec("""
def build():
    base(os="debian12", language="python3.9")
    install.python_packages(["markupsafe", "docopt==0.6.2"])
    install.apt_packages(["libexpat1"])
    run(["python -m pip --version > /srv/pip", "which python >> /srv/pip"])
""")
    root = unpacked(envd, tmp_path)
    lock = loads((envd.project / "envd.lock").read_text())
    assert lock.python == "3.9"
    assert any("-cp39-cp39-manylinux" in p.file.name for p in lock["wheels"])
    assert not (root.path / "usr/bin/python3").exists()
    site_packages = "/opt/python/3.9/lib/python3.9/site-packages"
    version, _, place = root.run("python", "-c", WHERE).rpartition(" ")
    assert version == "(3, 9)" and place.startswith(f"{site_packages}/markupsafe/")
    # docopt has no wheel: its sdist was built with that Python
    assert (
        root.run("python3.9", "-c", "import docopt; print(docopt.__file__)") == f"{site_packages}/docopt.py"
    )
    # pip is the wheel of the lock alone, and its script runs the right Python
    said = (root.path / "srv/pip").read_text()
    assert f"from {site_packages}/pip" in said and "(python 3.9)" in said
    assert said.endswith("/opt/python/3.9/bin/python\n")
    assert root.run("pip3", "--version").endswith("(python 3.9)")
    assert "/install" not in (root.path / "opt/python/3.9/lib/pkgconfig/python-3.9.pc").read_text()
    assert root.environment["PATH"].startswith("/opt/python/3.9/bin:")


def test_conda_brings_the_python(shared_store: Path, tmp_path: Path, python39: dict[str, bytes]) -> None:
    directory = tmp_path / "channel"
    channel.make_package(directory, "python", "3.9.2", python39, subdir="linux-64")
    channel.make_package(directory, "pip", "23.0", {"share/pip": b""})
    channel.make_package(directory, "micromamba", "2.0.5", {"bin/micromamba": toolsite.says("mamba")})
    channel.index(directory)
    with channel.serve(directory) as url:
        envd = Envd(shared_store, tmp_path / "p")
        envd.spec(f"""
def build():
    base(os="debian12", language="python3.9")
    config.conda_channel("{url}")
    install.conda(use_mamba=True)
    install.python_packages(["markupsafe"])
    install.apt_packages(["libexpat1"])
""")
        root = unpacked(envd, tmp_path)
    version, _, place = root.run("python3.9", "-c", WHERE).rpartition(" ")
    assert version == "(3, 9)"
    assert place.startswith("/opt/conda/lib/python3.9/site-packages/markupsafe/")
    assert root.run("conda", "list") == root.run("micromamba", "list") == "mamba list"
    assert root.environment["MAMBA_ROOT_PREFIX"] == "/opt/conda"
    assert (root.path / "opt/conda/.condarc").read_text() == f'channels:\n  - "{url}"\n'


# -- real ones --------------------------------------------------------------------------------


def test_the_real_codex_and_uv(shared_store: Path, tmp_path: Path) -> None:
    """From npm and the Python index as this machine is configured for them."""
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec("""
def build():
    base(os="debian12", language="python3")
    install.uv(python_version="3.11")
    install.codex(version="0.100.0")
""")
    root = unpacked(envd, tmp_path)
    assert root.run("codex", "--version") == "codex-cli 0.100.0"
    assert root.run("sh", "-c", "command -v node || echo none") == "none"
    script = "uv venv -q --offline /tmp/v && /tmp/v/bin/python --version | cut -d. -f1,2"
    assert root.run("sh", "-c", script) == "Python 3.11"
