"""What the download sites of toolchains answer, and what is locked of it: no builds."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.ecosystems.python import pythons
from engine.ecosystems.python.target import Target
from engine.ecosystems.tools import codex, golang, nodejs, npm, pixi, rust
from engine.ecosystems.tools import uv as uv_release
from engine.errors import ResolveError
from engine.lock.packages import LockedPackage
from grammar.environment import Position, Toolchain
from store import Store
from tests.integration import toolsite

AT = Position("build.envd", 3, 5)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[toolsite.Site]:
    """A site that is what every variable names."""
    with toolsite.serve() as served:
        for name, value in served.settings.items():
            monkeypatch.setenv(name, value)
        yield served


def asked(name: str, version: str = "") -> Toolchain:
    return Toolchain(name, version, position=AT)


def held(site: toolsite.Site, package: LockedPackage) -> bytes:
    """What the site serves at a locked file's URL; size and hash are that file's."""
    data = site.pages[package.file.url.removeprefix(site.url).replace("%2B", "+")]
    assert (package.file.sha256, package.file.size) == (toolsite.sha256(data), len(data))
    return data


@pytest.mark.parametrize(
    ("version", "found"),
    [
        ("1.22", "1.22.10"),
        ("1.22.9", "1.22.9"),
        ("1", "1.23.0"),
        ("latest", "1.23.0"),
        ("1.20", "1.20.14"),
        ("1.24rc1", "1.24rc1"),
    ],
)
def test_go(site: toolsite.Site, version: str, found: str) -> None:
    toolsite.add_go(site, "1.20", "1.20.14", "1.22.9", "1.22.10", "1.23.0", unstable=("1.23rc2", "1.24rc1"))
    (package,) = golang.resolve(asked("go", version))
    assert (package.kind, package.version) == ("tool", found)
    assert package.file.name == f"go{found}.linux-amd64.tar.gz"
    held(site, package)


@pytest.mark.parametrize(
    ("version", "found"), [("20", "20.18.1"), ("20.9", "20.9.0"), ("lts", "20.18.1"), ("latest", "23.1.0")]
)
def test_nodejs(site: toolsite.Site, version: str, found: str) -> None:
    toolsite.add_node(site, {"20.9.0": "Iron", "20.18.1": "Iron", "23.1.0": False})
    (package,) = nodejs.resolve(asked("nodejs", version))
    assert package.version == found
    held(site, package)


@pytest.mark.parametrize("version", ["1.75.0", "1.75", "stable"])
def test_rust(site: toolsite.Site, version: str) -> None:
    toolsite.add_rust(site, "1.75.0")
    found = rust.resolve(asked("rust", version))
    # rustfmt is not in this release, and no part of Rust itself
    assert [p.name for p in found] == ["rustc", "cargo", "rust-std", "clippy"]
    assert {(p.version, p.toolchain) for p in found} == {("1.75.0", "rust")}
    for package in found:
        held(site, package)


def test_a_changed_manifest_is_refused(site: toolsite.Site) -> None:
    toolsite.add_rust(site, "1.75.0")
    site.pages["/rust/dist/channel-rust-1.75.toml"] += b"\n"
    with pytest.raises(ResolveError, match=r"does not fit its \.sha256"):
        rust.resolve(asked("rust", "1.75"))


@pytest.mark.parametrize(("version", "found"), [("", "0.48.0"), ("0.47.1", "0.47.1")])
def test_pixi(site: toolsite.Site, version: str, found: str) -> None:
    toolsite.add_pixi(site, "0.47.1", "0.48.0")
    (package,) = pixi.resolve(asked("pixi", version))
    assert package.version == found
    held(site, package)


def test_pythons_are_those_that_uv_knows(site: toolsite.Site) -> None:
    builds = pythons._builds()
    newest = max((v for v in builds if v.startswith("3.12.")), key=lambda v: int(v.split(".")[2]))
    toolsite.add_python(site, builds[newest][1], b"an archive")
    (package,) = pythons.resolve("python", "3.12", AT)
    assert package.version == newest
    assert package.key == f"cpython-{newest}-linux-x86_64-gnu"
    assert held(site, package) == b"an archive"
    # the oldest releases list no sums
    sums = next(path for path in site.pages if path.endswith("/SHA256SUMS"))
    file = f"{sums.rpartition('/')[0]}/{package.file.name}"
    site.pages[f"{file}.sha256"] = site.pages.pop(sums).split()[0] + b"\n"
    assert pythons.resolve("python", "3.12", AT) == [package]


def test_uv_needs_no_python_in_the_base(tmp_path: Path) -> None:
    """The real index."""
    target = Target("", "2.36")
    (package,) = uv_release.resolve(asked("uv", "0.8"), target, None, tmp_path, lambda _: None)
    assert package.kind == "tool" and package.version.startswith("0.8.")
    assert "-py3-none-manylinux" in package.file.name and len(package.file.sha256) == 64


def test_codex_is_the_program_for_the_target(site: toolsite.Site, tmp_path: Path) -> None:
    toolsite.add_codex(site, "0.99.0", "0.100.0")
    Store.open(tmp_path).close()
    cache = tmp_path / "cache"
    (package,) = codex.resolve(asked("codex"), cache)
    assert (package.version, package.file.name) == ("0.100.0", "codex-0.100.0-linux-x64.tgz")
    assert package.program == "vendor/x86_64-unknown-linux-musl/bin/codex"
    held(site, package)
    # it lies in the store: the build fetches it no second time, and nor does another lock
    store = Store.open(tmp_path)
    path = store.blob(f"sha256:{package.file.sha256}")
    store.close()
    assert path is not None and tarfile.is_tarfile(path)
    del site.pages[package.file.url.removeprefix(site.url)]
    assert codex.resolve(asked("codex"), cache) == [package]


def test_codex_that_is_not_what_the_registry_describes_is_refused(
    site: toolsite.Site, tmp_path: Path
) -> None:
    toolsite.add_codex(site, "0.100.0")
    Store.open(tmp_path).close()
    site.pages["/npm/@openai/codex/-/codex-0.100.0-linux-x64.tgz"] += b"\0"
    with pytest.raises(ResolveError, match="its sha512 does not fit"):
        codex.resolve(asked("codex"), tmp_path / "cache")
    assert not list((tmp_path / "tmp").iterdir())
    assert not list((tmp_path / "blobs/sha256").iterdir())


def test_npm_versions(site: toolsite.Site) -> None:
    toolsite.add_codex(site, "0.99.0", "0.99.4", "0.100.0")
    assert npm.package("@openai/codex", "0.99", AT)["version"] == "0.99.4"
    with pytest.raises(ResolveError, match=r"no version 0\.99\.2; near it are 0\.99\.0, 0\.99\.4"):
        npm.package("@openai/codex", "0.99.2", AT)
    with pytest.raises(ResolveError, match="no package nothing"):
        npm.package("nothing", "", AT)


def _fill(site: toolsite.Site) -> None:
    toolsite.add_go(site, "1.21.3", "1.22.1")
    toolsite.add_node(site, {"20.9.0": "Iron"})
    toolsite.add_rust(site, "1.75.0")
    toolsite.add_pixi(site, "0.48.0")


def _resolve(name: str, version: str) -> None:
    if name == "python":
        pythons.resolve("python", version, AT)
    elif name == "codex":
        npm.package("@openai/codex", version, AT)
    else:
        {"go": golang, "nodejs": nodejs, "rust": rust, "pixi": pixi}[name].resolve(asked(name, version))


@pytest.mark.parametrize(
    ("name", "version", "says"),
    [
        ("go", "1.22.7", r"no version 1\.22\.7; near it are 1\.21\.3, 1\.22\.1; the newest is"),
        ("nodejs", "19", r"no version 19; near it are 20\.9\.0"),
        ("rust", "1.74.5", r"no version 1\.74\.5; near it are 1\.73\.0, 1\.74\.0, 1\.75\.0"),
        ("pixi", "9.9.9", r"no version 9\.9\.9; the newest is 0\.48\.0"),
        ("python", "3.99", r"no version 3\.99; near it are 3\.\d+"),
    ],
)
def test_unknown_versions_name_the_nearest(site: toolsite.Site, name: str, version: str, says: str) -> None:
    _fill(site)
    with pytest.raises(ResolveError, match=rf"^build\.envd:3:5: .*{says}"):
        _resolve(name, version)


@pytest.mark.parametrize(
    ("name", "version", "setting"),
    [
        ("go", "1.22.7", "ENVD_GO_DOWNLOADS"),
        ("nodejs", "20", "ENVD_NODE_DIST"),
        ("rust", "1.75.0", "ENVD_RUST_DIST"),
        ("pixi", "", "ENVD_PIXI_RELEASES"),
        ("python", "3.12", "ENVD_PYTHON_DOWNLOADS"),
        ("codex", "", "ENVD_NPM_REGISTRY"),
    ],
)
def test_a_site_that_does_not_answer_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, version: str, setting: str
) -> None:
    monkeypatch.setenv(setting, "http://127.0.0.1:9/nothing")
    with pytest.raises(ResolveError, match=rf"^build\.envd:3:5: cannot reach .*; set {setting}"):
        _resolve(name, version)


@pytest.mark.parametrize("name", ["go", "nodejs", "rust", "pixi", "codex"])
def test_an_answer_of_something_else_is_said_to_be_that(site: toolsite.Site, name: str) -> None:
    page = b"<html>Please log in</html>"
    asset = "pixi-x86_64-unknown-linux-musl.tar.gz"
    site.pages |= dict.fromkeys(
        (
            "/go/",
            "/node/index.json",
            "/rust/dist/channel-rust-1.75.0.toml",
            f"/pixi/download/v1.75.0/{asset}.sha256",
            "/npm/@openai/codex/1.75.0",
        ),
        page,
    )
    with pytest.raises(ResolveError, match=r"^build\.envd:3:5: .*is not an answer of .*; set ENVD_"):
        _resolve(name, "1.75.0")
