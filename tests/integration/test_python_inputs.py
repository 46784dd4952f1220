"""Python packages from a project's own files: locks, wheels, requirements, private indexes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from uv import find_uv_bin

from engine.core.derivation import Fetch
from engine.ecosystems.python import pypi
from engine.ecosystems.python.requests import Wanted
from engine.ecosystems.python.target import Target
from engine.errors import ResolveError
from engine.net import machine
from engine.net.fetch import fetch
from grammar.environment import PipIndex, Position, PythonInput, Request
from grammar.vocabulary import requirements
from store import Store
from tests.integration import index
from tests.integration.envd import Envd

AT = Position("build.envd", 4, 2)
TARGET = Target("3.11", "2.36", "3.11.2")

PROJECT = """
[project]
name = "app"
version = "0.1"
requires-python = ">=3.9"
dependencies = ["iniconfig<2", "colorama; sys_platform == 'win32'"]
[project.optional-dependencies]
extra = ["six==1.16.0"]
[dependency-groups]
dev = ["toolz==0.12.0"]
"""

OWN = """
[project]
name = "own"
version = "0.3"
dependencies = ["idna>=3"]
[project.scripts]
own = "own:main"
[build-system]
requires = ["uv_build"]
build-backend = "uv_build"
"""


def uv(directory: Path, *arguments: str) -> None:
    subprocess.run(
        [os.fspath(find_uv_bin()), *arguments],
        cwd=directory,
        check=True,
        capture_output=True,
        env={**os.environ, "UV_SYSTEM_CERTS": "1", "UV_CACHE_DIR": str(directory / ".uv")},
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a uv.lock, and a wheel of its own in dist/."""
    directory = tmp_path_factory.mktemp("project") / "app"
    (directory / "own/src/own").mkdir(parents=True)
    (directory / "pyproject.toml").write_text(PROJECT)
    (directory / "own/pyproject.toml").write_text(OWN)
    (directory / "own/src/own/__init__.py").write_text(
        "def main():\n    import idna\n    print('own', idna.encode('ä').decode())\n"
    )
    uv(directory, "lock")
    uv(directory / "own", "build", "--wheel", "--out-dir", str(directory / "dist"))
    shutil.rmtree(directory / "own/.uv")
    shutil.rmtree(directory / ".uv")
    return directory


SPEC = """
def build():
    base(os="debian12", language="python3")
    install.python_packages(
        ["click"], uv_lock="uv.lock", extras=["extra"],
        local_wheels=["dist/own-0.3-py3-none-any.whl"],
    )
"""


def test_a_locked_project_and_its_wheel(shared_store: Path, tmp_path: Path, project: Path) -> None:
    envd = Envd(shared_store, tmp_path / "one" / "app")
    shutil.copytree(project, envd.project)
    envd.spec(SPEC)
    root = envd.unpacked(tmp_path)
    code = "import click, iniconfig, six, toolz; print(six.__version__, toolz.__version__)"
    for command, says in (
        (["/usr/bin/python3", "-c", code], "1.16.0 0.12.0"),
        (["/usr/local/bin/own"], "own xn--4ca"),
    ):
        ran = subprocess.run(["chroot", str(root), *command], capture_output=True, text=True)
        assert ran.stdout.strip() == says, ran.stderr
    lock = (envd.project / "envd.lock").read_text()
    assert 'url = "dist/own-0.3-py3-none-any.whl"' in lock
    assert str(tmp_path) not in lock
    assert 'name = "iniconfig"\nversion = "1.' in lock and "colorama" not in lock

    # another checkout
    other = Envd(shared_store, tmp_path / "two" / "app")
    shutil.copytree(project, other.project)
    for name in ("build.envd", "envd.lock"):
        shutil.copy(envd.project / name, other.project / name)
    assert (
        other.run("build", "--no-load", "--locked").stdout
        == envd.run("build", "--no-load", "--locked").stdout
    )

    # a changed uv.lock does not fit; one that is behind its pyproject.toml is refused
    text = (other.project / "uv.lock").read_text()
    (other.project / "uv.lock").write_text(text + "\n")
    done = other.run("build", "--no-load", "--locked", check=False)
    assert done.code == 2 and "+file:uv.lock=sha256:" in done.stderr
    (other.project / "uv.lock").write_text(text)
    (other.project / "pyproject.toml").write_text(PROJECT.replace("iniconfig<2", "pluggy"))
    done = other.run("lock", check=False)
    assert done.code == 1 and "needs to be updated" in done.stderr
    assert "build.envd:5:28" in done.stderr
    assert (other.project / "envd.lock").read_text() == lock


def resolve(store: Path, wanted: Wanted, target: Target = TARGET) -> dict[str, str]:
    cache = store / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    found = pypi.resolve(wanted, target, cache, lambda _: None)
    return {p.name: p.version for p in found}


def test_a_project_without_a_lock_is_resolved(shared_store: Path, project: Path) -> None:
    given = PythonInput("pyproject", "pyproject.toml", AT, str(project), ("extra",), ("dev",))
    found = resolve(shared_store, Wanted((Request("six>1.0", AT),), (given,)))
    assert found.keys() == {"iniconfig", "six", "toolz"}
    assert found["six"] == "1.16.0" and found["iniconfig"].startswith("1.")
    conflict = Wanted((Request("six<1.16", AT),), (given,))
    with pytest.raises(ResolveError, match=r"build\.envd:4:2: cannot resolve 'six<1\.16'"):
        resolve(shared_store, conflict)


def test_pylock_files_are_taken_as_they_are(shared_store: Path, tmp_path: Path, project: Path) -> None:
    uv(
        project,
        "export",
        "--frozen",
        "--no-emit-project",
        "--extra",
        "extra",
        "-o",
        str(tmp_path / "pylock.toml"),
    )
    (tmp_path / "pylock.toml").write_text(
        (tmp_path / "pylock.toml").read_text() + '\n[[packages]]\nname = "own"\nversion = "0.3"\n'
        'wheels = [{path = "w/own-0.3-py3-none-any.whl", hashes = {sha256 = "%s"}}]\n' % ("ab" * 32)
    )
    given = PythonInput("pylock", "pylock.toml", AT, str(tmp_path))
    wanted = Wanted((Request("toolz", AT),), (given,))
    # toolz by name stays at what the file pins
    assert resolve(shared_store, wanted)["toolz"] == "0.12.0"
    found = pypi.resolve(wanted, TARGET, shared_store / "cache", lambda _: None)
    assert {p.file.url for p in found if p.name == "own"} == {"w/own-0.3-py3-none-any.whl"}
    with pytest.raises(ResolveError, match=r"build\.envd:4:2: .*pylock\.toml: it does not fit"):
        resolve(shared_store, wanted, Target("3.8", "2.31"))
    with pytest.raises(ResolveError, match=r"cannot resolve 'toolz<0\.12'"):
        resolve(shared_store, Wanted((Request("toolz<0.12", AT),), (given,)))


def test_hashes_urls_and_unknown_names(shared_store: Path, tmp_path: Path) -> None:
    def read(text: str) -> Wanted:
        (tmp_path / "r.txt").write_text(text)
        found = requirements.read(tmp_path / "r.txt", AT, tmp_path)
        return Wanted(tuple(found.requests), tuple(found.inputs), tuple(found.constraints))

    made = pypi.resolve(read("six==1.16.0\n"), TARGET, shared_store / "cache", lambda _: None)
    (six,) = (p for p in made if p.name == "six")
    good, bad = six.file.sha256, "ab" * 32
    assert resolve(shared_store, read(f"six==1.16.0 --hash=sha256:{good} --hash=sha256:{bad}"))
    with pytest.raises(ResolveError, match=r"r\.txt:2:1: six 1\.16\.0: none of its files"):
        resolve(shared_store, read(f"\nsix==1.16.0 --hash=sha256:{bad}\n"))
    by_url = read(f"{six.file.url} --hash=sha256:{good}\n")
    assert resolve(shared_store, by_url) == {"six": "1.16.0"}
    with pytest.raises(ResolveError, match=r"r\.txt:1:1: six 1\.16\.0: none of its files"):
        resolve(shared_store, read(f"{six.file.url} --hash=sha256:{bad}\n"))
    with pytest.raises(ResolveError, match=r"r\.txt:3:1: there is no .*'scikit-lern-x'; did you mean"):
        resolve(shared_store, read("six\n\nscikit-lern-x\n"))


def test_a_directory_of_wheels_and_versions_that_stay(shared_store: Path, tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    index.download(tmp_path / "wheels", ["six==1.15.0", "toolz==0.12.0"])
    (tmp_path / "r.txt").write_text("--no-index\n-f wheels\nsix\n")
    read = requirements.read(tmp_path / "r.txt", AT, tmp_path)
    wanted = Wanted(tuple(read.requests), options=tuple(read.options))
    (six,) = pypi.resolve(wanted, TARGET, shared_store / "cache", lambda _: None)
    assert six.file.url == "wheels/six-1.15.0-py2.py3-none-any.whl"
    here = pypi.origins(wanted).url(six.file.url)
    assert here == (tmp_path / "wheels/six-1.15.0-py2.py3-none-any.whl").as_uri()
    assert str(tmp_path) not in " ".join(wanted.texts())

    def again(*texts: str) -> dict[str, str]:
        asked = Wanted(tuple(Request(t, AT) for t in texts))
        locked = replace(six, file=replace(six.file, url="https://example.org/six.whl"))
        found = pypi.resolve(asked, TARGET, shared_store / "cache", lambda _: None, preferred=[locked])
        return {p.name: p.version for p in found}

    assert again("six", "toolz")["six"] == "1.15.0"
    assert again("six>1.15")["six"] != "1.15.0"


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of one real package, and of pip."""
    directory = tmp_path_factory.mktemp("index")
    index.download(directory, ["six==1.15.0", "pip==24.0"])
    index.lay_out(directory)
    return directory


@pytest.fixture
def packages(private: Path) -> Iterator[str]:
    """An index that wants a login, at an address that nobody has asked before."""
    with index.serve(private, login=True) as address:
        yield address


@pytest.mark.parametrize("where", ["pip", "pip-extra", "uv"])
def test_the_machines_settings_name_the_index(
    shared_store: Path, tmp_path: Path, packages: str, where: str
) -> None:
    """Its index is asked, with its login, and no other takes its place."""
    home = tmp_path / "home"
    (home / ".config/pip").mkdir(parents=True)
    (home / ".config/uv").mkdir()
    url = f"http://{index.LOGIN}@{packages}/simple"
    if where == "pip":
        (home / ".config/pip/pip.conf").write_text(f"[install]\nindex-url = {url}\npre = yes\n")
    elif where == "uv":
        (home / ".config/uv/uv.toml").write_text(f'[[index]]\nurl = "{url}"\ndefault = true\n')
    else:
        (home / ".config/pip/pip.conf").write_text(
            f"[global]\nindex-url = http://{packages}/nothing\n[install]\nextra-index-url = {url}\n"
        )
    plain = {name: "" for name in os.environ if name.startswith(("PIP_", "UV_"))}
    envd = Envd(shared_store, tmp_path / "p", {**plain, "HOME": str(home)})
    envd.spec(
        'def build():\n    base(os="debian12", language="python3")\n    install.python_packages(["six"])\n'
    )
    done = envd.run("lock")
    lock = (envd.project / "envd.lock").read_text()
    assert f"http://{packages}/simple/six/six-1.15.0" in lock
    assert f"http://{packages}/simple/pip/pip-24.0" in lock
    assert "s3cret" not in lock + done.stderr
    assert (f"pre ({home}/.config/pip/pip.conf)" in done.stderr) is (where == "pip")
    envd.run("build", "--no-load", "--locked")  # the login comes from there as well
    (home / ".config/pip/pip.conf").write_text("[global\n")
    bad = envd.run("lock", "--update", check=False)
    assert bad.code == 2 and f"{home}/.config/pip/pip.conf: not a file of pip's settings" in bad.stderr
    assert (envd.project / "envd.lock").read_text() == lock


def test_logins_stay_out_of_the_lock(
    shared_store: Path, tmp_path: Path, packages: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    text = (
        'def build():\n    base(os="debian12", language="python3")\n'
        '    config.pip_index(url="http://%s/simple")\n    install.python_packages(["six"])\n'
    )
    envd.spec(text % packages)
    done = envd.run("lock", check=False)
    assert done.code == 1 and f"the index http://{packages}/simple refuses access" in done.stderr
    envd.spec(text % f"ann:wrong@{packages}")
    done = envd.run("lock", check=False)
    assert done.code == 1 and "refuses access (401" in done.stderr and "wrong" not in done.stderr
    envd.spec(text % f"{index.LOGIN}@{packages}")
    envd.run("lock")
    lock = (envd.project / "envd.lock").read_text()
    assert f"http://{packages}/simple/six/six-1.15.0" in lock
    assert "s3cret" not in lock
    plan = envd.run("graph", "--files", "--format=json").stdout
    assert "s3cret" not in plan
    # the login comes from the spec, …
    envd.run("build", "--no-load", "--locked")
    # … or, as in a file that others have checked out, from the machine's own settings
    sha256 = lock.rpartition("six-1.15.0")[2].partition('sha256 = "')[2][:64]
    wanted = Fetch("six", f"http://{packages}/simple/six/six-1.15.0-py2.py3-none-any.whl", sha256)
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://{index.LOGIN}@{packages}/simple")
    machine.current.cache_clear()  # a command reads the settings once
    with closing(Store.open(tmp_path / "store")) as store:
        assert fetch(wanted, store).is_file()
    monkeypatch.delenv("UV_DEFAULT_INDEX")
    machine.current.cache_clear()
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login {index.USER} password {index.PASSWORD}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with closing(Store.open(tmp_path / "store2")) as store:
        assert fetch(wanted, store).is_file()
    with pytest.raises(ResolveError, match="six"):
        resolve(shared_store, Wanted((Request("six", AT),), index=PipIndex(f"http://{packages}/no")))
