"""`envd lock` of projects and packages that bring code: none of it runs outside of the sandbox.

Each build backend below writes a file of the host's, and says in its metadata what it saw: uv ran it
with the whole environment, as whoever typed `envd lock`.
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from uv import find_uv_bin

from engine.ecosystems.python import pypi, sdists, uv
from engine.ecosystems.python.requests import Wanted
from engine.ecosystems.python.stand_in import stand_in
from engine.ecosystems.python.target import Target
from engine.errors import EnvdError
from engine.net import machine
from grammar.environment import Position, PythonInput, PythonOption, Request
from grammar.errors import SpecError
from tests.integration.envd import Envd

AT = Position("build.envd", 4, 2)
TARGET = Target("3.11", "2.36", "3.11.2")

BACKEND = """
import json, os, socket
def saw():
    try:
        with open({canary!r}, "a") as file:
            file.write("ran")
    except OSError:
        pass
    network = True
    try:
        socket.create_connection(("127.0.0.1", {port}), 1)
    except OSError:
        network = False
    home = [p for p in ("/root", "/home", "/etc/passwd", {canary!r}) if os.path.exists(p)]
    return json.dumps([os.environ.get("SECRET"), network, home, sorted(os.environ)])
def prepare_metadata_for_build_wheel(directory, settings=None):
    os.mkdir(directory + "/x.dist-info")
    with open(directory + "/x.dist-info/METADATA", "w") as file:
        file.write("Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n")
        file.write("Requires-Dist: idna\\nProvides-Extra: x\\n")
    print("SAW" + saw())
    return "x.dist-info"
build_wheel = build_sdist = build_editable = prepare_metadata_for_build_editable = lambda *a: saw()
saw()
"""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of the host's that anybody may write."""
    monkeypatch.setenv("SECRET", "hunter2")
    path = tmp_path / "canary"
    path.write_text("")
    path.chmod(0o666)
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store's cache, so that setuptools is fetched once."""
    return tmp_path_factory.mktemp("store") / "cache"


def backend(canary: Path, name: str = "evil", port: int = 9) -> str:
    return BACKEND.format(canary=str(canary), name=name, port=port)


def archive(place: Path, name: str, files: Mapping[str, str]) -> None:
    place.mkdir(exist_ok=True)
    with tarfile.open(place / f"{name}-1.0.tar.gz", "w:gz") as tar:
        for file, text in files.items():
            info = tarfile.TarInfo(f"{name}-1.0/{file}")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))


def sdist(place: Path, name: str, code: str, *, project: str = PROJECT, metadata: str = "1.1") -> None:
    archive(
        place,
        name,
        {
            "PKG-INFO": f"Metadata-Version: {metadata}\nName: {name}\nVersion: 1.0\n",
            "pyproject.toml": project,
            "backend.py": code,
        },
    )


def links(place: Path) -> tuple[PythonOption, ...]:
    return (PythonOption("find-links", str(place), AT, str(place)),)


def test_a_backend_is_asked_in_the_sandbox(tmp_path: Path, canary: Path, cache: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        sdist(tmp_path / "dist", "evil", backend(canary, port=server.getsockname()[1]))
        wanted = Wanted((Request("evil", AT),), options=links(tmp_path / "dist"))
        found = pypi.resolve(wanted, TARGET, cache, print)
    assert {p.name for p in found} >= {"evil", "idna"}
    assert canary.read_text() == ""


def test_what_it_sees(tmp_path: Path, canary: Path, cache: Path) -> None:
    code = backend(canary) + "\nraise SystemExit('SAW' + saw())\n"
    sdist(tmp_path / "dist", "evil", code)
    wanted = Wanted((Request("evil", AT),), options=links(tmp_path / "dist"))
    with pytest.raises(EnvdError) as caught:
        pypi.resolve(wanted, TARGET, cache, print)
    words = str(caught.value)
    assert "fails in the sandbox" in words and "name it in local_wheels" in words
    secret, network, home, names = json.loads(words[words.index("SAW") + 3 : words.index("; ask")])
    assert secret is None and network is False and home == []
    assert not [n for n in names if n.startswith(("UV_", "PIP_", "ENVD_", "SSH_"))]


def test_one_without_end_ends_in_its_limits(
    tmp_path: Path, canary: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdist(tmp_path / "dist", "evil", "import time\nprint('asleep', flush=True)\ntime.sleep(9999)\n")
    monkeypatch.setenv("ENVD_LIMITS", "time=2s")
    wanted = Wanted((Request("evil", AT),), options=links(tmp_path / "dist"))
    with pytest.raises(EnvdError, match=r"it took longer than 2s, its limit; .*--limit time=4s"):
        pypi.resolve(wanted, TARGET, cache, print)


def test_static_metadata_need_no_build(tmp_path: Path, canary: Path, cache: Path) -> None:
    sdist(tmp_path / "dist", "evil", backend(canary), metadata="2.2")
    wanted = Wanted((Request("evil", AT),), options=links(tmp_path / "dist"))
    said: list[str] = []
    found = pypi.resolve(wanted, TARGET, cache, said.append)
    assert "evil" in {p.name for p in found} and canary.read_text() == ""
    assert not [line for line in said if "sandbox" in line]


LEGACY = "import os\nopen({canary!r}, 'a').write(os.environ.get('SECRET', '-'))\n"
SDISTS = {
    "setup.py": {"setup.py": LEGACY, "PKG-INFO": "Metadata-Version: 1.1\nName: evil\nVersion: 1.0\n"},
    "setup.py and no PKG-INFO": {"setup.py": LEGACY},
    "sitecustomize": {"sitecustomize.py": LEGACY, "usercustomize.py": LEGACY, "setup.py": LEGACY},
    "a .pth file": {"evil.pth": "import os; " + LEGACY.replace("\n", ";"), "setup.py": LEGACY},
    "setup.cfg's attr": {
        "setup.cfg": "[metadata]\nname = evil\nversion = attr: evil.version\n",
        "evil.py": LEGACY + "version = os.environ['NOPE']\n",
        "setup.py": "import setuptools\nimport evil\n",
    },
    "a module of the standard library's name": {"json.py": LEGACY, "tomllib.py": LEGACY, "setup.py": LEGACY},
}


@pytest.mark.parametrize("name", SDISTS)
def test_sdists_in_a_directory_of_the_project(name: str, tmp_path: Path, canary: Path, cache: Path) -> None:
    archive(
        tmp_path / "dist",
        "evil",
        {n: t.replace("{canary!r}", repr(str(canary))) for n, t in SDISTS[name].items()},
    )
    wanted = Wanted((Request("evil", AT),), options=links(tmp_path / "dist"))
    with pytest.raises(EnvdError) as caught:
        pypi.resolve(wanted, TARGET, cache, print)
    assert "evil" in str(caught.value) and "Traceback" not in str(caught.value)
    assert canary.read_text() == ""


SOURCES = {
    "a path": '[tool.uv.sources]\nhelper = {{ path = "sub" }}\n',
    "an editable path": '[tool.uv.sources]\nhelper = {{ path = "sub", editable = true }}\n',
    "a workspace's member": "[tool.uv.sources]\nhelper = {{ workspace = true }}\n"
    '[tool.uv.workspace]\nmembers = ["sub"]\n',
    "a repository": '[tool.uv.sources]\nhelper = {{ git = "file://{directory}/sub" }}\n',
    "a repository over a transport of its own": "[tool.uv.sources]\n"
    'helper = {{ git = "ext::sh -c touch% {canary}.git" }}\n',
    "an sdist by path": '[tool.uv.sources]\nhelper = {{ path = "dist/helper-1.0.tar.gz" }}\n',
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("kind", ["pyproject", "uv.lock"])
def test_uv_sources(name: str, kind: str, tmp_path: Path, canary: Path, cache: Path) -> None:
    project = tmp_path / "project"
    (project / "sub").mkdir(parents=True)
    (project / "sub/pyproject.toml").write_text(
        PROJECT + '[project]\nname = "helper"\ndynamic = ["version", "dependencies"]\n'
    )
    (project / "sub/backend.py").write_text(backend(canary, "helper"))
    sdist(project / "dist", "helper", backend(canary, "helper"))
    text = SOURCES[name].format(directory=project, canary=canary)
    (project / "pyproject.toml").write_text(
        '[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.9"\ndependencies = ["helper"]\n'
        + text
    )
    (project / "uv.lock").write_text('version = 1\nrequires-python = ">=3.9"\n')
    file = "pyproject.toml" if kind == "pyproject" else "uv.lock"
    given = PythonInput(kind, file, AT, str(project))
    try:
        pypi.resolve(Wanted(inputs=(given,)), TARGET, cache, print)
    except EnvdError as error:
        assert re.match(r"build\.envd:4:2: |.*/pyproject\.toml:5:18: ", str(error))
    else:
        assert name == "an sdist by path" and kind == "pyproject"
    assert canary.read_text() == "" and not Path(f"{canary}.git").exists()


def test_the_interpreter_of_a_project_is_not_run(tmp_path: Path, canary: Path, cache: Path) -> None:
    project = tmp_path / "project"
    (project / ".venv/bin").mkdir(parents=True)
    script = f'#!/bin/sh\necho ran >>{canary}\nexec /usr/bin/python3 "$@"\n'
    for place in (".venv/bin/python", ".venv/bin/python3", "python3"):
        (project / place).write_text(script)
        (project / place).chmod(0o755)
    (project / ".venv/pyvenv.cfg").write_text("home = /usr/bin\nversion_info = 3.11.2\n")
    (project / ".python-version").write_text(f"{project}/python3\n")
    (project / "pyproject.toml").write_text(
        '[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.9"\ndependencies = []\n'
        '[tool.uv]\npython-preference = "only-system"\npip = { python = "./python3" }\n'
    )
    (project / "uv.lock").write_text(
        'version = 1\nrequires-python = ">=3.9"\n[[package]]\nname = "app"\nversion = "1"\n'
        'source = { virtual = "." }\n'
    )
    for kind, file in (("uv.lock", "uv.lock"), ("pyproject", "pyproject.toml")):
        given = PythonInput(kind, file, AT, str(project))
        assert pypi.resolve(Wanted(inputs=(given,)), TARGET, cache, print) == []
    assert canary.read_text() == ""


@pytest.mark.parametrize(
    "text",
    [
        "-r /etc/passwd",
        "--index-url http://127.0.0.1:9/",
        "-e .",
        "x @ file:///etc/passwd",
        "x @ git+https://127.0.0.1:9/x",
        "x @ git+file:///x",
        "/etc/passwd",
        "./sub",
        "x\n-r /etc/passwd",
        "x @ ./sub",
        "--find-links=/etc",
        7,
        None,
        ["x"],
    ],
)
def test_what_a_build_needs_is_no_option_and_no_file(text: object) -> None:
    with pytest.raises(EnvdError, match="its build needs"):
        sdists.requirements([text], "evil-1.0.tar.gz")


@pytest.mark.parametrize(
    "line",
    [
        "-e .",
        "--editable ./sub",
        "./sub",
        "sub/",
        "evil @ file:///tmp/sub",
        "evil @ git+https://x/y",
        "evil @ git+ssh://x/y",
        "evil @ hg+http://x/y",
        "evil @ ext::sh",
        "git+https://x/y#egg=evil",
    ],
)
def test_requirements_that_would_be_built(line: str, tmp_path: Path) -> None:
    from grammar.vocabulary import requirements

    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/setup.py").write_text("")
    (tmp_path / "requirements.txt").write_text(f"{line}\n")
    with pytest.raises(SpecError):
        requirements.read(tmp_path / "requirements.txt", AT, tmp_path)


def test_the_environment_of_uv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {
        "HTTPS_PROXY": "http://p",
        "no_proxy": "x",
        "SSL_CERT_FILE": "/c",
        "NETRC": "/n",
        "UV_INDEX_OWN_PASSWORD": "p",
    }
    dropped = {
        "SECRET": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "SSH_AUTH_SOCK": "/s",
        "PYTHONPATH": "/p",
        "LD_PRELOAD": "/l",
        "UV_PYTHON": "/x",
        "UV_CONFIG_FILE": "/x",
        "UV_BUILD_CONSTRAINT": "/x",
        "VIRTUAL_ENV": "/v",
        "GIT_SSH_COMMAND": "x",
    }
    for name, value in (kept | dropped).items():
        monkeypatch.setenv(name, value)
    found = uv._environment(tmp_path, uv.Sources())
    assert kept.items() <= found.items()
    assert not dropped.items() & found.items()
    said = capsys.readouterr().err
    assert said.startswith("lock: UV_BUILD_CONSTRAINT, UV_CONFIG_FILE in the environment: not taken")
    assert [p.name for p in Path(found["PATH"]).iterdir()] == ["python"]


def test_the_stand_in_answers_one_question(tmp_path: Path) -> None:
    import subprocess

    python = stand_in(tmp_path)
    assert stat.S_IMODE(python.stat().st_mode) == 0o700
    for words in (["-c", "print(1)"], ["-m", "pip"], ["x.py"], []):
        done = subprocess.run([python, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and done.stdout == "" and "no package is built here" in done.stderr
    found = subprocess.run(
        [os.fspath(find_uv_bin()), "python", "find", os.fspath(python), "--cache-dir", tmp_path / "uv"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == os.fspath(python)


def test_a_pip_of_the_project_is_not_asked_for_the_index(
    tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text(LEGACY.replace("{canary!r}", repr(str(canary))))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    machine.current.cache_clear()
    machine.current()
    assert canary.read_text() == ""


def test_the_command(tmp_path: Path, canary: Path, shared_store: Path) -> None:
    envd = Envd(shared_store, tmp_path / "p", {"SECRET": "hunter2"})
    envd.spec(
        'def build():\n    base(os="debian12", language="python3")\n'
        '    install.python_packages(["evilsd", "--find-links dist"])\n'
    )
    code = LEGACY.replace("{canary!r}", repr(str(canary)))
    archive(envd.project / "dist", "evilsd", {"setup.py": code})
    done = envd.run("lock", check=False)
    assert done.code in (1, 2) and "Traceback (" not in done.stderr
    assert "evilsd-1.0.tar.gz says only by its build what it needs" in done.stderr
    assert not (envd.project / "envd.lock").exists()
    assert canary.read_text() == ""
