"""What needs a gigabyte or a compiler: not in CI, `make test-large` runs it.

A file of its own name, so that pytest collects it only when it is asked for.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.debian_packages import LARGE
from tests.integration import index, nvidia, seed
from tests.integration import test_packages_twice as twice
from tests.integration.conftest import (  # noqa: F401  (fixtures)
    docker_engine,
    editor_tools,
    extensions,
    shared_store,
)
from tests.integration.envd import Envd, docker

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str, store: Path, place: Path, environment: dict[str, str]) -> Envd:
    """A copy of an example, so that its lock is made anew."""
    envd = Envd(store, place / name, environment)
    envd.project.mkdir()
    shutil.copy(EXAMPLES / name / "build.envd", envd.project)
    return envd


def test_tensorflow_on_an_old_debian(shared_store: Path, tmp_path: Path, docker_engine: str) -> None:
    envd = example("tensorflow", shared_store, tmp_path, {"DOCKER_HOST": docker_engine})
    image = envd.run("build", "-t", "envd-test-large:tensorflow").stdout
    code = "import tensorflow as tf; print(tf.__version__, int(tf.reduce_sum(tf.range(4))))"
    said = docker("run", "--rm", "--network=none", image, "python", "-c", code, host=docker_engine)
    docker("rmi", "-f", "envd-test-large:tensorflow", host=docker_engine)
    assert said == "2.9.1 6"


def test_the_seeds_example_with_the_real_tensorflow(
    shared_store: Path, tmp_path: Path, docker_engine: str, extensions: str
) -> None:
    """Ubuntu 20.04 has Python 3.8 and so numpy 1.24; this one has Debian 11's 3.9, and gets that."""
    numpy = tmp_path / "numpy"
    numpy.mkdir()
    index.download(numpy, ["--python-version=3.9", "--only-binary=:all:", "numpy==1.24.4"])
    place = tmp_path / "servers"
    with seed.servers(shared_store, place, "debian11", list(numpy.iterdir()), extensions) as found:
        envd = example("seed", shared_store, tmp_path, {**found, "DOCKER_HOST": docker_engine})
        image = envd.run("build", "-t", "envd-test-large:seed").stdout
    code = (
        "import tensorflow as tf; from tensorflow.python.platform import build_info as b; "
        "print(tf.__version__, int(tf.reduce_sum(tf.range(4))), b.build_info['cuda_version'])\n"
        f"import ctypes\nfor name in {nvidia.LOADED_BY_TENSORFLOW!r}: ctypes.CDLL(name)"
    )
    said = docker(
        "run", "--rm", "--network=none", "--entrypoint=python", image, "-c", code, host=docker_engine
    )
    docker("rmi", "-f", "envd-test-large:seed", host=docker_engine)
    assert said == "2.9.1 6 11.2"


def test_the_main_job_with_cudnn(
    shared_store: Path, tmp_path: Path, docker_engine: str, extensions: str
) -> None:
    settings = {"DOCKER_HOST": docker_engine, "ENVD_VSCODE_GALLERY": extensions}
    envd = example("full", shared_store, tmp_path, settings)
    image = envd.run("build", "-t", "envd-test-large:full").stdout
    code = (
        "import ctypes, numpy; d = ctypes.CDLL('libcudnn.so.9'); d.cudnnGetVersion.restype = "
        "ctypes.c_size_t; print(d.cudnnGetVersion() // 10000); ctypes.CDLL('libcublas.so.12')"
    )
    said = docker("run", "--rm", "--network=none", image, "python", "-c", code, host=docker_engine)
    docker("rmi", "-f", "envd-test-large:full", host=docker_engine)
    assert said == "9"


NVCC = r"""
def build():
    base(os="debian12")
    install.apt_packages(["g++"])
    install.cuda(version="13.0", components=["nvcc", "cudart", "cccl"])
    io.copy("a.cu", "/srv/a.cu")
    run(["nvcc -o /a /srv/a.cu", "/a > /version"])
"""

PROGRAM = r"""
#include <cstdio>
#include <cuda/std/atomic>
#include <cuda_runtime.h>
__global__ void set(int *place) { *place = 1; }
int main() { int v = 0; cudaRuntimeGetVersion(&v); set<<<1, 1>>>(nullptr); std::printf("%d\n", v); }
"""


def test_the_compiler_of_cuda_13(shared_store: Path, tmp_path: Path) -> None:
    envd = Envd(shared_store, tmp_path / "nvcc")
    envd.spec(NVCC)
    (envd.project / "a.cu").write_text(PROGRAM)
    assert (envd.unpacked(tmp_path) / "version").read_text() == "13000\n"


@pytest.mark.parametrize("group", sorted(LARGE))
def test_large_packages_twice(shared_store: Path, tmp_path: Path, group: str) -> None:
    envd = Envd(shared_store, tmp_path / group)
    envd.spec(twice.spec(LARGE[group]))
    twice.build_twice(envd)
