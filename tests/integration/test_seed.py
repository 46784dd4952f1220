"""The seed's own example, word for word: locked, built and run against local signed archives.

Its Ubuntu has Debian 12's packages (and so their Python), and tensorflow is a wheel that this test
makes: `make test-large` takes the real one.
"""

from __future__ import annotations

import json
import shutil
import tomllib
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.integration import nvidia, seed
from tests.integration.conftest import ROOT
from tests.integration.envd import Envd, docker

EXAMPLE = ROOT / "examples/seed/build.envd"
CALLS = """
    base(os="ubuntu20.04", language="python3")
    install.vscode_extensions(["ms-python.python"])
    install.python_packages(["tensorflow==2.9.1", "numpy"])
    install.cuda(version="11.2.2", cudnn="8")
    shell("zsh")
    config.jupyter()
"""
# What the real one does when it is imported: it opens CUDA's libraries by their names.
MODULE = f"""
import ctypes, numpy
__version__ = "2.9.1"
LIBRARIES = {nvidia.LOADED_BY_TENSORFLOW!r}
def cuda():
    opened = [ctypes.CDLL(name) for name in LIBRARIES]
    version = ctypes.c_int()
    opened[0].cudaRuntimeGetVersion(ctypes.byref(version))
    return version.value
"""
ASK = (
    "import json, time, urllib.request\n"
    "for _ in range(600):\n"
    "    try: print(json.load(urllib.request.urlopen('http://127.0.0.1:8888/api'))['version']); break\n"
    "    except OSError: time.sleep(0.2)\n"
)


def wheel(directory: Path) -> Path:
    """A small tensorflow 2.9.1."""
    path = directory / "tensorflow-2.9.1-py3-none-any.whl"
    info = "tensorflow-2.9.1.dist-info"
    files = {
        "tensorflow/__init__.py": MODULE,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tensorflow\nVersion: 2.9.1\n"
        "Requires-Dist: numpy>=1.20\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as made:
        for name, content in files.items():
            made.writestr(name, content)
        made.writestr(f"{info}/RECORD", "".join(f"{n},,\n" for n in (*files, f"{info}/RECORD")))
    return path


@pytest.fixture(scope="module")
def settings(
    shared_store: Path, tmp_path_factory: pytest.TempPathFactory, extensions: str
) -> Iterator[Mapping[str, str]]:
    place = tmp_path_factory.mktemp("seed")
    with seed.servers(shared_store, place, "debian12", [wheel(place)], extensions) as found:
        yield found


def test_it_is_the_seeds_word_for_word() -> None:
    lines = [x for x in EXAMPLE.read_text().splitlines() if x and not x.startswith("#")]
    assert lines == ["def build():", *CALLS.strip("\n").splitlines()]


def test_it_locks_builds_and_runs(
    shared_store: Path, tmp_path: Path, settings: Mapping[str, str], docker_engine: str
) -> None:
    envd = Envd(shared_store, tmp_path / "p", {**settings, "DOCKER_HOST": docker_engine})
    envd.project.mkdir()
    shutil.copy(EXAMPLE, envd.project)
    tag = f"envd-test:seed-{uuid.uuid4().hex[:8]}"
    done = envd.run("build", "-t", tag)
    assert "there is no CUDA 11.2.2 on the Python index: taking it from" in done.stderr
    lock = tomllib.loads((envd.project / "envd.lock").read_text())
    versions = {row["name"]: row["version"] for row in lock["apt"]}
    assert versions["cuda-cudart-11-2"] == "11.2.152-1"
    assert versions["libcudnn8"] == "8.1.1.33-1+cuda11.2"
    assert "source=apt" in lock["requests"]["cuda"] and "cuda" not in lock
    before = (envd.project / "envd.lock").read_bytes()
    envd.run("lock", "--check")

    name = f"envd-seed-{uuid.uuid4().hex[:8]}"
    docker("run", "-d", "--network=none", "--name", name, tag, host=docker_engine)
    try:

        def inside(*command: str) -> str:
            return docker("exec", name, *command, host=docker_engine)

        code = "import numpy, tensorflow as t; print(t.__version__, t.cuda(), numpy.ones(2).sum())"
        assert inside("python", "-c", code) == "2.9.1 11020 2.0"
        # not by LD_LIBRARY_PATH alone: the dynamic linker itself knows where NVIDIA's packages put it
        assert inside("env", "-u", "LD_LIBRARY_PATH", "python", "-c", code) == "2.9.1 11020 2.0"
        assert inside("readlink", "-f", "/usr/local/cuda") == "/usr/local/cuda-11.2"
        owner = inside("dpkg", "-S", "/usr/local/cuda-11.2/targets/x86_64-linux/lib/libcudart.so.11.0")
        assert owner.startswith("cuda-cudart-11-2:")
        assert inside("sh", "-c", "echo $SHELL; $SHELL -c 'echo $ZSH_NAME'") == "/bin/zsh\nzsh"
        assert inside("getent", "passwd", "root").endswith(":/bin/zsh")
        rows = json.loads(inside("cat", "/opt/envd/extensions/extensions.json"))
        assert "ms-python.python" in {row["identifier"]["id"] for row in rows}
        assert inside("python", "-c", ASK).partition(".")[0].isdecimal()  # Jupyter answers
    finally:
        docker("rm", "-f", name, host=docker_engine)
        docker("rmi", "-f", tag, host=docker_engine)
    # a machine that has the lock needs none of the choosing, nor the servers' keys
    quiet = Envd(shared_store, envd.project, {**envd.environment, "ENVD_UBUNTU_FINGERPRINT": "00"})
    assert "taking it from" not in quiet.run("build", "--no-load", "--locked").stderr
    assert (envd.project / "envd.lock").read_bytes() == before


def test_what_the_machine_and_the_spec_lack_is_said_in_one_run(
    shared_store: Path, tmp_path: Path, settings: Mapping[str, str]
) -> None:
    """The archive's key is another's, the gallery and the index do not have it, nor NVIDIA."""
    envd = Envd(shared_store, tmp_path / "p", {**settings, "ENVD_UBUNTU_FINGERPRINT": "AB" * 20})
    text = EXAMPLE.read_text()
    envd.spec(
        text.replace("ms-python.python", "ms-python.pythn")
        .replace("numpy", "numpyy-of-nobody")
        .replace("11.2.2", "11.2.7")
    )
    done = envd.run("lock", check=False)
    assert done.code == 1 and "Traceback" not in done.stderr and "<default>" not in done.stderr
    first = next(n for n, x in enumerate(text.splitlines(), 1) if x.strip().startswith("base("))
    said = done.stderr
    assert (
        f"build.envd:{first}:5: error: /usr/share/keyrings/ubuntu-archive-keyring.gpg: no such file" in said
    )
    assert "project/ubuntu-archive-keyring.gpg holds the key" in said and "AB" * 20 in said
    assert f"build.envd:{first + 1}:" in said and "no extension 'ms-python.pythn'" in said
    assert f"build.envd:{first + 2}:" in said and "numpyy-of-nobody" in said
    assert f"build.envd:{first + 3}:" in said
    assert "there is no CUDA 11.2.7 on the Python index; it has 11.8, 12.0" in said
    assert "and no CUDA 11.2.7 in the apt repository; of 11.2 it has 11.2.0, 11.2.2" in said
    assert said.count("cannot be trusted") == 1 and said.count("^") >= 4
    assert not (envd.project / "envd.lock").exists()


def test_nvidias_key_is_known_by_its_fingerprint(
    shared_store: Path, tmp_path: Path, settings: Mapping[str, str]
) -> None:
    """Without the setting only NVIDIA's own fingerprints are believed, whatever lies there."""
    spec = (
        'def build():\n    base(os="debian12")\n    install.cuda(version="11.2", source="apt")\n'
        '    install.apt_packages(["treee"])\n'
    )
    own = Envd(shared_store, tmp_path / "p", {**settings, "ENVD_CUDA_APT_FINGERPRINT": ""})
    own.spec(spec)
    done = own.run("lock", check=False)
    assert done.code == 1 and "no apt package 'treee'" in done.stderr
    assert "build.envd:3:26: error: the apt repository cannot be trusted: there is no " in done.stderr
    assert "3bf863cc.pub" in done.stderr and "ENVD_CUDA_APT_KEYRING" in done.stderr
    half = Envd(shared_store, own.project, {**settings, "ENVD_CUDA_APT_FINGERPRINT": "3BF863CC"})
    done = half.run("lock", check=False)
    assert "ENVD_CUDA_APT_FINGERPRINT: '3BF863CC' is not a whole fingerprint" in done.stderr
    spaced = " ".join(settings["ENVD_CUDA_APT_FINGERPRINT"][n : n + 4] for n in range(0, 40, 4))
    good = Envd(shared_store, own.project, {**settings, "ENVD_CUDA_APT_FINGERPRINT": spaced.lower()})
    good.spec(spec.replace("treee", "tree"))
    good.run("lock")
