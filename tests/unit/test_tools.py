"""Toolchains: what they ask of each section, where they lie, and how archives are unpacked."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from engine.ecosystems.python import chosen as chosen_python
from engine.ecosystems.python.interpreter import Interpreter
from engine.ecosystems.python.target import Target
from engine.ecosystems.tools import builder as tool
from engine.ecosystems.tools import npm
from engine.ecosystems.tools.builder import Layout, Unpack
from engine.errors import BuildError, ResolveError, UsageError
from engine.lock.model import Lock, LockedBase
from engine.lock.packages import Deb, LockedFile, LockedPackage
from engine.net import upstream
from engine.realise.context import BuildContext
from engine.resolve import locking
from engine.sections import pythons, registry, tools
from grammar.environment import Base, Environment, Position, Request, Toolchain
from store.layers import write_tar
from tests import rows

AT = Position("build.envd", 2, 3)


def environment(
    *toolchains_: Toolchain, language: str = "", system: str = "debian12", **more: object
) -> Environment:
    base = Base(system, language)
    return Environment(base=base, toolchains=toolchains_, **more)  # type: ignore[arg-type]


def ask(name: str, version: str = "", **options: str) -> Toolchain:
    return Toolchain(name, version, tuple(sorted(options.items())), AT)


# -- which section ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toolchain", "packages", "requests"),
    [
        (ask("go"), ["golang-go"], ()),
        (ask("go", "1.19"), ["golang-go"], ()),
        (ask("go", "1.19.8"), ["golang-go"], ()),
        (ask("go", "1.1"), [], ("go=1.1",)),
        (ask("go", "1.22"), [], ("go=1.22",)),
        (ask("go", "latest"), [], ("go=latest",)),
        (ask("rust"), ["rustc", "cargo"], ()),
        (ask("rust", "1.75"), ["gcc", "libc6-dev"], ("rust=1.75",)),
        (ask("nodejs", "18"), ["nodejs", "npm"], ()),
        (ask("nodejs", "lts"), ["libstdc++6"], ("nodejs=lts",)),
        (ask("uv"), [], ("uv=",)),
        (ask("uv", python_version="3.11"), ["python3"], ("uv=",)),
        (ask("uv", "0.8", python_version="3.12"), [], ("uv-python=3.12", "uv=0.8")),
        (ask("pixi"), [], ("pixi=",)),
        (ask("codex", "0.100.0"), [], ("codex=0.100.0",)),
        (ask("python"), ["python3"], ()),
        (ask("python", "3.11"), ["python3"], ()),
        (ask("python", "3.12.4"), [], ("python=3.12.4",)),
        (ask("conda"), [], ()),
    ],
)
def test_the_distribution_is_used_where_it_carries_the_version(
    toolchain: Toolchain, packages: list[str], requests: tuple[str, ...]
) -> None:
    wanted = environment(toolchain)
    assert tools.apt_packages(wanted) == packages
    assert tools.requests(wanted) == requests
    found = registry.requests_of(wanted)
    assert found.get("tools", ()) == requests
    assert set(packages) <= set(found.get("apt", ()))


def test_a_python_that_the_base_has_is_not_asked_for_twice() -> None:
    assert tools.apt_packages(environment(ask("python"), language="python3")) == []
    assert tools.requests(environment(language="python3.11")) == ()
    assert tools.requests(environment(language="python3.12")) == ("python=3.12",)


@pytest.mark.parametrize(
    ("wanted", "version", "source"),
    [
        (environment(language="python"), "3.11", "distribution"),
        (environment(language="python3.11"), "3.11", "distribution"),
        (environment(language="python3.12"), "3.12", "standalone"),
        (environment(language="python3", system="debian13"), "3.13", "distribution"),
        (environment(ask("python", "3.11.4"), language="python3.11"), "3.11.4", "standalone"),
        (environment(ask("conda"), language="python3"), "3.11", "conda"),
        (environment(ask("conda"), ask("python", "3.10")), "3.10", "conda"),
    ],
)
def test_the_python_of_an_environment(wanted: Environment, version: str, source: str) -> None:
    python = chosen_python.python_of(wanted)
    assert python == chosen_python.TargetPython(version, source)
    assert python.series == ".".join(version.split(".")[:2])


def test_no_python_and_too_many() -> None:
    assert chosen_python.python_of(environment(ask("go"))) is None
    with pytest.raises(UsageError, match=r"build\.envd:2:3: install\.python\(\"3\.12\"\) beside"):
        chosen_python.python_of(environment(ask("python", "3.12"), language="python3.11"))
    with pytest.raises(UsageError, match=r"no Python 4"):
        chosen_python.python_of(environment(ask("python", "4")))


def test_another_python_makes_its_packages_stale() -> None:
    before = registry.requests_of(environment(ask("python", "3.12")))
    after = registry.requests_of(environment(ask("python", "3.13")))
    lock = Lock(LockedBase("debootstrap", "debian12"), requests=before)
    assert set(locking.misfits(lock, after)) == {"python", "tools"}
    assert "pip" in before["python"]


def test_what_conda_brings() -> None:
    plain = environment(ask("conda"), conda_packages=(Request("zlib"),))
    assert [r.text for r in chosen_python.conda_requests(plain)] == ["zlib", "conda"]
    mamba = environment(ask("conda", use_mamba="true"), language="python3.10")
    assert [r.text for r in chosen_python.conda_requests(mamba)] == ["micromamba", "python=3.10", "pip"]
    # pip is conda's then, and no wheel beside it
    assert "python" not in registry.requests_of(mamba)
    own = environment(ask("conda"), language="python3", conda_packages=(Request("python >=3.9"),))
    assert [r.text for r in chosen_python.conda_requests(own)] == ["python >=3.9", "conda", "pip"]
    assert chosen_python.conda_requests(environment()) == ()


def deb(name: str, version: str) -> LockedPackage:
    return Deb(name, version, LockedFile(name, "http://m", "0" * 64))


@pytest.mark.parametrize(
    ("toolchain", "package", "fits"),
    [
        (ask("go", "1.19.8"), deb("golang-1.19-go", "1.19.8-2"), True),
        (ask("go", "1.19.8"), deb("golang-1.19-go", "1.19.13-1"), False),
        (ask("nodejs", "18.20.4"), deb("nodejs", "18.20.4+dfsg-1~deb12u3"), True),
        (ask("nodejs", "18.20.4"), deb("nodejs", "18.20.5+dfsg-1"), False),
        (ask("nodejs", "18"), deb("nodejs", "18.99.5+dfsg-1"), True),
        (ask("rust", "1.63"), deb("rustc", "1.63.0+dfsg1-2"), True),
        (ask("rust", "1.75"), deb("rustc", "1.63.0+dfsg1-2"), True),  # upstream's: not looked at
    ],
)
def test_an_archive_that_moved_on_is_noticed(
    toolchain: Toolchain, package: LockedPackage, fits: bool
) -> None:
    wanted = environment(toolchain)
    if fits:
        tools.check_distributed(wanted, [package])
        return
    with pytest.raises(ResolveError, match=r"build\.envd:2:3: debian12 now carries"):
        tools.check_distributed(wanted, [package])


@pytest.mark.parametrize("name", ["nodejs", "rust", "uv", "python"])
def test_a_base_without_glibc_is_refused(name: str, tmp_path: Path) -> None:
    wanted = Environment(base=Base(image="alpine"), toolchains=(ask(name, "1.2.3"),))
    if name == "python":
        wanted = Environment(base=Base(image="alpine"), toolchains=(ask(name, "3.12"),))
    with pytest.raises(ResolveError, match=rf"build\.envd:2:3: {name} is built for glibc"):
        tools.resolve(wanted, (), Target("", ""), tmp_path, lambda _: None)


# -- versions, platforms ----------------------------------------------------------------------


def test_choosing_versions() -> None:
    known = ["1.9.0", "1.10.0", "1.10.2", "2.0.0rc1", "nonsense"]
    assert upstream.choose("", known, "x", AT) == "1.10.2"
    assert upstream.choose("1", known, "x", AT) == "1.10.2"
    assert upstream.choose("1.1", ["1.1.0", *known], "x", AT) == "1.1.0"
    assert upstream.choose("2.0.0rc1", known, "x", AT) == "2.0.0rc1"
    with pytest.raises(ResolveError, match=r"x has no version 1\.1; near it are 1\.9\.0, 1\.10\.0"):
        upstream.choose("1.1", known, "x", AT)
    with pytest.raises(ResolveError, match=r"x has no version 3$"):
        upstream.choose("3", [], "x", AT)


def test_checksums() -> None:
    one, other = "ab" * 32, "CD" * 32
    text = f"{one}  a b\n{one}  a.tar.gz\n{other} *b.zip\nnonsense c\n\n"
    assert upstream.checksums(text) == {"a.tar.gz": one, "b.zip": other.lower()}


@pytest.mark.parametrize(
    ("about", "taken"),
    [
        ({}, True),
        ({"os": ["linux"], "cpu": ["x64"]}, True),
        ({"os": "linux"}, True),
        ({"os": ["darwin"]}, False),
        ({"cpu": ["arm64"]}, False),
        ({"os": ["!win32"]}, True),
        ({"os": ["!linux"]}, False),
        ({"libc": ["musl"]}, False),
        ({"libc": ["glibc"]}, True),
        ({"os": ["any"]}, True),
    ],
)
def test_npm_platforms(about: dict[str, object], taken: bool) -> None:
    assert npm.for_target(about) is taken


# -- places -----------------------------------------------------------------------------------


def row(name: str, version: str = "1.2.3", **extra: str) -> LockedPackage:
    return rows.package(
        "tool", name, version, LockedFile(f"{name}.tar.gz", f"http://e/{name}", "ab" * 32), **extra
    )


def lock_of(*packages: LockedPackage, python: str = "") -> Lock:
    return Lock(LockedBase("debootstrap", "debian12"), python=python, packages={"tools": packages})


def test_each_tool_is_one_layer_that_needs_nothing() -> None:
    rust = [row(n, toolchain="rust") for n in ("rustc", "cargo", "rust-std")]
    lock = lock_of(
        *rust,
        row("go"),
        row("nodejs"),
        row("pixi"),
        row("uv"),
        row("python", "3.12.4"),
        row("uv-python", "3.10.1", key="cpython-3.10.1-linux-x86_64-gnu"),
        row("codex", program="vendor/x86_64-unknown-linux-musl/bin/codex"),
    )
    wanted = environment(ask("pixi", pypi_index="http://i/simple"), ask("uv"))
    layers = tools.derivations(wanted, lock)
    assert [layer.name for layer in layers] == [
        "codex-1.2.3",
        "go-1.2.3",
        "nodejs-1.2.3",
        "pixi-1.2.3",
        "python-3.12.4",
        "rust-1.2.3",
        "uv-1.2.3",
        "uv-python-3.10.1",
        "pixi-settings",
    ]
    assert {i.role for layer in layers for i in layer.inputs} == {"file"}
    assert len(layers[5].inputs) == 3
    # in whatever order the lock has them
    again = tools.derivations(wanted, lock_of(*lock["tools"][::-1]))
    assert [x.drv_id for x in again] == [x.drv_id for x in layers]
    found = tools.variables(wanted, lock)
    assert found.values == {"UV_LINK_MODE": "copy", "UV_PYTHON_INSTALL_DIR": "/opt/uv/python"}
    assert found.path == ("/usr/local/go/bin", "/opt/nodejs/bin", "/opt/python/3.12/bin", "/opt/rust/bin")


def test_what_tools_install_is_on_the_path() -> None:
    found = tools.variables(environment(ask("go"), ask("rust"), ask("nodejs")), lock_of())
    assert found.values == {
        "GOBIN": "/usr/local/bin",
        "CARGO_INSTALL_ROOT": "/usr/local",
        "NPM_CONFIG_PREFIX": "/usr/local",
    }
    developing = Environment(base=Base(dev=True), toolchains=(ask("go"),))
    found = tools.variables(developing, lock_of())
    assert found.values == {"GOBIN": "/home/envd/.local/bin"}  # the entry point has it on PATH


def test_settings_are_a_layer_beside_the_tool() -> None:
    def settings(*asked: Toolchain, **more: Any) -> dict[str, str]:
        layers = tools.derivations(environment(*asked, **more), lock_of())
        return {k: v for layer in layers for k, v in layer.parameters["files"].items()}

    assert settings(ask("pixi")) == {}
    text = settings(ask("pixi", pypi_index='http://i/"x"', use_pixi_mirror="true"))
    import tomllib

    parsed = tomllib.loads(text["/etc/pixi/config.toml"])
    assert parsed["pypi-config"] == {"index-url": 'http://i/"x"'}
    assert parsed["mirrors"]["https://conda.anaconda.org"] == ["https://prefix.dev"]
    text = settings(ask("conda"), conda_channels=("http://c/main",))
    assert text == {"/opt/conda/.condarc": 'channels:\n  - "http://c/main"\n'}


def test_the_interpreter_that_wheels_are_for() -> None:
    lock = lock_of(python="3.11")
    assert pythons.interpreter(environment(language="python3"), lock) == Interpreter("3.11")
    own = pythons.interpreter(environment(language="python3.12"), lock)
    assert own == Interpreter("3.12", "/opt/python/3.12")
    assert own.executable == "/opt/python/3.12/bin/python3.12"
    assert own.site == "/opt/python/3.12/lib/python3.12/site-packages"
    condas = pythons.interpreter(environment(ask("conda"), language="python3"), lock)
    assert condas.scheme("x")["scripts"] == "/opt/conda/bin"


# -- unpacking --------------------------------------------------------------------------------


def tar_of(*members: tuple[str, bytes | str], hard: bool = False) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.mode, member.uid, member.mtime = 0o4777, 1000, 1
            if isinstance(content, str):
                member.type = tarfile.LNKTYPE if hard else tarfile.SYMTYPE
                member.linkname = content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def built(directory: Path, data: bytes, how: Unpack, **layout: object) -> Path:
    """The layer of one archive."""
    directory.mkdir()
    (directory / "archive").write_bytes(data)
    made = tool.derivation(Layout("tool-1", (how,), **layout))  # type: ignore[arg-type]
    scratch = directory / "scratch"
    scratch.mkdir()
    return tool.build(
        BuildContext(
            made.name, made.parameters, (), ((how.file.name, directory / "archive"),), scratch, lambda _: None
        )
    )


FILE = LockedFile("a.tar.gz", "http://e/a.tar.gz", "0" * 64)


def test_archives_are_unpacked_with_plain_modes(tmp_path: Path) -> None:
    data = tar_of(
        ("./top/bin/run", b"#!/bin/sh\n"),
        ("./top/bin/link", "run"),
        ("./top/README", b"x"),
        ("./top/share/doc", b"x"),
        ("./top/bin/run", b"#!/bin/sh\n# again\n"),
    )
    how = Unpack(FILE, "/opt/x", 1, without=("*/share/*",))
    upper = built(
        tmp_path / "a",
        data,
        how,
        links={"/usr/local/bin/run": "/opt/x/bin/run"},
        files={"/etc/x.conf": "y\n", "/usr/local/bin/w": "#!/bin/sh\n"},
    )
    names = sorted(p.relative_to(upper).as_posix() for p in upper.rglob("*") if not p.is_dir())
    assert names == [
        "etc/x.conf",
        "opt/x/README",
        "opt/x/bin/link",
        "opt/x/bin/run",
        "usr/local/bin/run",
        "usr/local/bin/w",
    ]
    assert (upper / "opt/x/bin/run").read_bytes().endswith(b"again\n")
    assert (upper / "opt/x/bin/run").stat().st_mode & 0o7777 == 0o755
    assert (upper / "opt/x/bin").stat().st_mode & 0o7777 == 0o755
    assert (upper / "etc/x.conf").stat().st_mode & 0o7777 == 0o644
    assert (upper / "usr/local/bin/w").stat().st_mode & 0o7777 == 0o755
    assert (upper / "usr/local/bin/run").readlink() == Path("/opt/x/bin/run")


def test_the_same_archive_gives_the_same_layer(tmp_path: Path) -> None:
    data = tar_of(("t/a", b"a"), ("t/d/b", b"b"), ("t/l", "d/b"))
    sums = []
    for name, mask in (("one", 0o022), ("two", 0o077)):
        before = os.umask(mask)
        try:
            upper = built(tmp_path / name, data, Unpack(FILE, "/opt/x", 1))
        finally:
            os.umask(before)
        hasher = hashlib.sha256()
        write_tar(upper, hasher.update, 1704067200)
        sums.append(hasher.hexdigest())
    assert sums[0] == sums[1]


@pytest.mark.parametrize(
    ("members", "hard", "says"),
    [
        ([("t/../../etc/passwd", b"x")], False, "leads outside"),
        ([("/etc/passwd", b"x")], False, "leads outside"),
        ([("t/l", "../../etc")], False, "outside of the archive"),
        ([("t/l", "/etc")], False, "outside of the archive"),
        ([("t/l", "."), ("t/l/x", b"x")], False, "through a symbolic link"),
        ([("t/a", b"a"), ("t/h", "t/none")], True, "hard link to a file that does not"),
        ([("other/a", b"a")], False, "holds nothing of tool-1"),
    ],
)
def test_what_would_leave_its_directory_is_refused(
    tmp_path: Path, members: list[tuple[str, bytes | str]], hard: bool, says: str
) -> None:
    with pytest.raises(BuildError, match=says):
        built(tmp_path / "a", tar_of(*members, hard=hard), Unpack(FILE, "/opt/x", 1, only="[t/]*"))


def test_hard_links_and_wheels(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="cannot unpack"):
        built(tmp_path / "no", b"no archive", Unpack(FILE, "/opt/x"))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        for name, target in (("t/a", ""), ("t/b", "t/a")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = (tarfile.LNKTYPE, target) if target else (b"0", "")
            archive.addfile(member)
    upper = built(tmp_path / "hard", buffer.getvalue(), Unpack(FILE, "/opt/x", 1))
    assert (upper / "opt/x/a").stat().st_ino == (upper / "opt/x/b").stat().st_ino
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        wheel.writestr("uv-1.data/scripts/uv", b"program")
        wheel.writestr("uv/__init__.py", b"")
    how = Unpack(FILE, "/usr/local/bin", 2, only="*.data/scripts/*", executable=True)
    upper = built(tmp_path / "zip", buffer.getvalue(), how)
    assert [p.name for p in upper.rglob("*") if p.is_file()] == ["uv"]
    assert (upper / "usr/local/bin/uv").stat().st_mode & 0o777 == 0o755


def test_a_python_is_told_where_it_lies(tmp_path: Path) -> None:
    settings = (
        "build_time_vars = {'CC': 'clang -pthread', 'CXX': '/tools/llvm/bin/clang++ -pthread',\n"
        " 'AR': '/tools/llvm/bin/llvm-ar', 'prefix': '/install', 'LIBDIR': '/install/lib',\n"
        " 'OPT': '-I/install/include -DX=/tools/install/x', 'N': 'clang-tidy'}\n"
    )
    data = tar_of(
        ("python/lib/python3.12/_sysconfigdata__linux.py", settings.encode()),
        ("python/lib/pkgconfig/python-3.12.pc", b"prefix=/install\n"),
    )
    upper = built(tmp_path / "a", data, Unpack(FILE, "/opt/python/3.12", 1), moved="/opt/python/3.12")
    found = (upper / "opt/python/3.12/lib/python3.12/_sysconfigdata__linux.py").read_text()
    scope: dict[str, dict[str, str]] = {}
    exec(found, scope)
    assert scope["build_time_vars"] == {
        "CC": "cc -pthread",
        "CXX": "c++ -pthread",
        "AR": "ar",
        "prefix": "/opt/python/3.12",
        "LIBDIR": "/opt/python/3.12/lib",
        "OPT": "-I/opt/python/3.12/include -DX=/tools/install/x",
        "N": "clang-tidy",
    }
    config = upper / "opt/python/3.12/lib/pkgconfig/python-3.12.pc"
    assert config.read_text() == "prefix=/opt/python/3.12\n"
