"""CUDA: NVIDIA's wheels release by release, and an apt repository like NVIDIA's."""

from __future__ import annotations

import os
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import EnvdError
from engine.lock import LockedPackage
from engine.resolve import cuda
from engine.resolve.target import Target
from grammar.environment import Cuda, Position
from tests.integration import archive, index
from tests.integration.envd import Envd

AT = Position("build.envd", 4, 18)


def resolve(store: Path, wanted: Cuda) -> list[LockedPackage]:
    (store / "cache").mkdir(parents=True, exist_ok=True)
    return cuda.resolve(wanted, Target("3.11", "2.36"), None, store / "cache", lambda _: None)


@pytest.mark.parametrize("version", ["11.8", "12.1", "12.4", "12.6", "12.8", "12.9", "13.0"])
def test_wheels_belong_to_the_toolkit(shared_store: Path, version: str) -> None:
    major = version.split(".")[0]
    wanted = Cuda(version, "9", ("cudart", "nvrtc", "nvcc", "cublas", "cufft", "nccl"), position=AT)
    found = {p.name: p.version for p in resolve(shared_store, wanted)}
    suffix = "" if major == "13" else f"-cu{major}"
    for name in ("runtime", "nvrtc", "nvcc"):
        assert found[f"nvidia-cuda-{name}{suffix}"].startswith(f"{version}.")
    assert f"nvidia-nccl-cu{major}" in found and f"nvidia-cufft{suffix}" in found
    assert found[f"nvidia-cudnn-cu{major}"].startswith("9.")
    assert found[f"nvidia-cublas{suffix}"].split(".")[0] == major
    assert "cuda-toolkit" not in found


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Cuda("12.7", position=AT), "there is no CUDA 12.7 on the Python index; it has 11.8, 12.0"),
        (Cuda("12.9", "7", position=AT), "there is no cuDNN 7 for CUDA 12 on the Python index; it has"),
        (Cuda("12.9", None, ("cublass",), position=AT), "did you mean 'cublas'?"),
        (Cuda("11.8", None, ("nvjitlink",), position=AT), "CUDA 11.8 has no component 'nvjitlink'"),
    ],
)
def test_what_there_is_not_is_answered_with_what_there_is(
    shared_store: Path, wanted: Cuda, says: str
) -> None:
    with pytest.raises(EnvdError) as caught:
        resolve(shared_store, wanted)
    assert str(caught.value).startswith("build.envd:4:18: ") and says in str(caught.value)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, archive.Signer]]:
    """The real runtime library in packages as NVIDIA makes them; the URL, and who signed it."""
    directory = tmp_path_factory.mktemp("cuda-apt")
    signer = archive.make_signer(tmp_path_factory.mktemp("keys") / "gpg")
    index.download(directory, ["nvidia-cuda-runtime-cu12==12.9.79"])
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        library = opened.read("nvidia/cuda_runtime/lib/libcudart.so.12")
    wheel.unlink()
    place = "usr/local/cuda-12.9"
    archive.make_deb(
        directory, "cuda-toolkit-12-9-config-common", "12.9.79-1",
        {f"{place}/README": b"", "etc/ld.so.conf.d/cuda.conf": b"/usr/local/cuda/lib64\n"},
        scripts={"postinst": f"update-alternatives --install /usr/local/cuda cuda /{place} 129"},
    )
    archive.make_deb(
        directory, "cuda-cudart-12-9", "12.9.79-1",
        {f"{place}/targets/x86_64-linux/lib/libcudart.so.12": library,
         f"{place}/lib64": "targets/x86_64-linux/lib"},
        depends=["cuda-toolkit-12-9-config-common"], scripts={"postinst": "ldconfig"},
    )
    signer.sign(directory)
    with index.serve(directory) as address:
        yield f"http://{address}", signer


SPEC = """
def build():
    base(os="debian12", language="python3")
    install.cuda(version="%s", components=["cudart"], source="apt")
"""


def test_an_apt_repository_like_nvidias(
    shared_store: Path, tmp_path: Path, repository: tuple[str, archive.Signer]
) -> None:
    url, signer = repository
    settings = {"ENVD_CUDA_APT_REPO": url, "ENVD_CUDA_APT_KEYRING": str(signer.public)}
    envd = Envd(shared_store, tmp_path / "p", settings)
    envd.spec(SPEC % "12.9")
    root = envd.unpacked(tmp_path)
    assert (root / "usr/local/cuda-12.9/lib64/libcudart.so.12").is_file()
    code = (
        "import ctypes; c = ctypes.CDLL('libcudart.so.12'); v = ctypes.c_int(); "
        "c.cudaRuntimeGetVersion(ctypes.byref(v)); print(v.value)"
    )
    ran = subprocess.run(
        ["chroot", str(root), "/usr/bin/python3", "-c", code], capture_output=True, text=True,
        env={**os.environ, "LD_LIBRARY_PATH": "/usr/local/cuda/lib64"},
    )
    assert ran.stdout == "12090\n", ran.stderr
    lock = (envd.project / "envd.lock").read_text()
    assert f'url = "{url}/cuda-cudart-12-9_12.9.79-1_amd64.deb"' in lock

    envd.spec(SPEC % "12.6")
    done = envd.run("lock", check=False)
    assert done.code == 1 and "no CUDA 12.6 in the apt repository; it has 12.9" in done.stderr
    envd.spec(SPEC % "12.9" + "    install.apt_packages(['tree'])\n")
    stranger = archive.make_signer(tmp_path / "stranger")
    other = Envd(shared_store, envd.project, {**settings, "ENVD_CUDA_APT_KEYRING": str(stranger.public)})
    done = other.run("lock", check=False)
    assert done.code == 1 and "cannot read the apt sources" in done.stderr and url in done.stderr
    without = Envd(shared_store, envd.project, {"ENVD_CUDA_APT_REPO": url})
    done = without.run("lock", check=False)
    assert done.code == 2 and "build.envd:4:26" in done.stderr and "KEYRING" in done.stderr
    assert (envd.project / "envd.lock").read_text() == lock
