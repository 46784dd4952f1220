"""CUDA: NVIDIA's wheels release by release, and an apt repository like NVIDIA's."""

from __future__ import annotations

import os
import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.ecosystems.cuda import apt as cuda_apt
from engine.ecosystems.cuda import resolver as cuda
from engine.ecosystems.debian import apt
from engine.ecosystems.python.target import Target
from engine.errors import EnvdError
from engine.lock.packages import LockedPackage
from grammar.environment import Cuda, Position
from tests.integration import archive, index, nvidia
from tests.integration.envd import Envd
from tests.integration.specs import Specs

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
        (Cuda("12.4.9", position=AT), "no CUDA 12.4.9 on the Python index; of 12.4 it has 12.4.0, 12.4.1"),
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
        directory,
        "cuda-toolkit-12-9-config-common",
        "12.9.79-1",
        {f"{place}/README": b"", "etc/ld.so.conf.d/cuda.conf": b"/usr/local/cuda/lib64\n"},
        scripts={"postinst": f"update-alternatives --install /usr/local/cuda cuda /{place} 129"},
    )
    archive.make_deb(
        directory,
        "cuda-cudart-12-9",
        "12.9.79-1",
        {
            f"{place}/targets/x86_64-linux/lib/libcudart.so.12": library,
            f"{place}/lib64": "targets/x86_64-linux/lib",
        },
        depends=["cuda-toolkit-12-9-config-common"],
        scripts={"postinst": "ldconfig"},
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
        ["chroot", str(root), "/usr/bin/python3", "-c", code],
        capture_output=True,
        text=True,
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


# -- a repository as large and as old as NVIDIA's -----------------------------------------------


def pinned(cuda_releases: nvidia.Nvidia, place: Path, wanted: Cuda) -> set[str]:
    """What a toolkit asks of apt, from a private apt that read the real lists."""
    line = f"deb [signed-by={cuda_releases.signer.public}] {cuda_releases.url}/ ./"
    with apt.open_apt([line], "", place, lambda _: None) as lists:
        return {r.text for r in cuda_apt.requests(wanted, lists, "the repository")}


LIBRARIES_11 = {
    "cuda-cudart-11-2=11.2.152-1",
    "cuda-nvrtc-11-2=11.2.152-1",
    "libcublas-11-2=11.4.1.1043-1",
    "libcufft-11-2=10.4.1.152-1",
    "libcurand-11-2=10.2.3.152-1",
    "libcusolver-11-2=11.1.0.152-1",
    "libcusparse-11-2=11.4.1.1152-1",
}


@pytest.mark.parametrize(
    ("wanted", "gives"),
    [
        (Cuda("11.2.2", "8", position=AT), {*LIBRARIES_11, "libcudnn8=8.1.1.33-1+cuda11.2"}),
        (
            Cuda("11.2.0", "8.1.0", ("cudart",), position=AT),
            {"cuda-cudart-11-2=11.2.72-1", "libcublas-11-2=11.3.1.68-1", "libcudnn8=8.1.0.77-1+cuda11.2"},
        ),
        # the newest patch, as apt takes it by itself
        (Cuda("11.2", None, ("cudart", "npp"), position=AT), {"cuda-cudart-11-2", "libnpp-11-2"}),
        # built for a newer CUDA 11 only: better than one for CUDA 12
        (
            Cuda("11.2.2", "8.9", ("cudart",), position=AT),
            {"cuda-cudart-11-2=11.2.152-1", "libcublas-11-2=11.4.1.1043-1", "libcudnn8=8.9.7.29-1+cuda11.8"},
        ),
        (
            Cuda("11.8.0", "8", ("nccl", "cccl"), position=AT),
            {
                "libnccl2=2.15.5-1+cuda11.8",
                "cuda-cccl-11-8=11.8.89-1",
                "libcublas-11-8=11.11.3.6-1",
                "libcudnn8=8.9.7.29-1+cuda11.8",
            },
        ),
        (
            Cuda("12.9.0", "9", position=AT),
            {
                "cuda-cudart-12-9=12.9.37-1",
                "cuda-nvrtc-12-9=12.9.41-1",
                "libnvjitlink-12-9=12.9.41-1",
                "libcublas-12-9=12.9.0.13-1",
                "libcudnn9-cuda-12=9.12.0.46-1",
            },
        ),
        (
            Cuda("12.9", "9.1", ("nvcc",), position=AT),
            {"cuda-nvcc-12-9", "libcublas-12-9", "libcudnn9-cuda-12=9.1.0.70-1"},
        ),
        (
            Cuda("12.9", "8", ("cudart",), position=AT),
            {"cuda-cudart-12-9", "libcublas-12-9", "libcudnn8=8.9.7.29-1+cuda12.2"},
        ),
        (
            Cuda("13.0", "9", ("nvvm",), position=AT),
            {"libnvvm-13-0", "libcublas-13-0", "libcudnn9-cuda-13=9.12.0.46-1"},
        ),
        (
            Cuda("11.2.0", None, ("runtime",), position=AT),
            {
                "cuda-libraries-11-2=11.2.0-1",
                "cuda-nvtx-11-2=11.2.67-1",
                "libnccl2=2.8.4-1+cuda11.2",
                "cuda-cudart-11-2=11.2.72-1",
                "cuda-nvrtc-11-2=11.2.67-1",
                "libcublas-11-2=11.3.1.68-1",
                "libcufft-11-2=10.4.0.72-1",
                "libcurand-11-2=10.2.3.68-1",
                "libcusolver-11-2=11.0.2.68-1",
                "libcusparse-11-2=11.3.1.68-1",
                "libnpp-11-2=11.2.1.68-1",
                "libnvjpeg-11-2=11.3.1.68-1",
            },
        ),
    ],
    ids=lambda value: value.version if isinstance(value, Cuda) else "",
)
def test_what_belongs_to_a_release(
    cuda_releases: nvidia.Nvidia, tmp_path: Path, wanted: Cuda, gives: set[str]
) -> None:
    assert pinned(cuda_releases, tmp_path, wanted) == gives


@pytest.mark.parametrize("version", ["11.2.0", "11.2.2", "11.8.0", "12.9.0", "12.9.1", "13.0.0"])
def test_the_whole_toolkit_is_of_one_release(
    cuda_releases: nvidia.Nvidia, tmp_path: Path, version: str
) -> None:
    short, parts = version.rpartition(".")[0].replace(".", "-"), nvidia.RELEASES[version]
    found = pinned(cuda_releases, tmp_path, Cuda(version, None, ("all",), position=AT))
    assert {f"{name}-{short}={v}" for name, v in parts.items()} <= found
    assert f"cuda-toolkit-{short}={version}-1" in found and all("=" in text for text in found)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Cuda("11.4", position=AT), "no CUDA 11.4 in the repository; it has 11.2, 11.8, 12.9, 13.0"),
        (Cuda("11.2.1", position=AT), "no CUDA 11.2.1 in the repository; of 11.2 it has 11.2.0, 11.2.2"),
        (
            Cuda("11.2", None, ("nvjitlink",), position=AT),
            "CUDA 11.2 has no component 'nvjitlink' (it begins with CUDA 12.0) in the repository; "
            "it has cublas, cudart,",
        ),
        (Cuda("11.2", None, ("cccl",), position=AT), "CUDA 11.2 has no component 'cccl' in the"),
        (Cuda("13.0", "8", position=AT), "no cuDNN 8 for CUDA 13 in the repository; it has 9.12.0"),
        (
            Cuda("11.2", "7", position=AT),
            "no cuDNN 7 for CUDA 11 in the repository; it has 8.0.5, 8.1.0, 8.1.1, 8.6.0, 8.9.7, 9.10.2",
        ),
    ],
)
def test_what_the_repository_lacks_is_answered_with_what_it_has(
    cuda_releases: nvidia.Nvidia, tmp_path: Path, wanted: Cuda, says: str
) -> None:
    with pytest.raises(EnvdError) as caught:
        pinned(cuda_releases, tmp_path, wanted)
    assert str(caught.value).startswith("build.envd:4:18: ") and says in str(caught.value)


EITHER = """
def build():
    base(os="debian12")
    install.cuda(version="%s"%s)
"""


def test_where_it_came_from_is_kept_by_the_lock(
    shared_store: Path, tmp_path: Path, cuda_releases: nvidia.Nvidia
) -> None:
    envd = Envd(shared_store, tmp_path / "p", cuda_releases.settings)
    envd.spec(EITHER % ("11.2.2", ""))
    done = envd.run("lock")
    assert "there is no CUDA 11.2.2 on the Python index: taking it from the apt" in done.stderr
    locked = (envd.project / "envd.lock").read_text()
    # neither NVIDIA's repository nor a key is asked for what is locked
    alone = Envd(shared_store, envd.project, {"ENVD_CUDA_APT_REPO": "http://127.0.0.1:1"})
    alone.run("lock", "--check")
    envd.spec(EITHER % ("11.2.2", ', source="apt"'))
    alone.run("lock", "--check")
    envd.spec(EITHER % ("11.2.2", ', source="pypi"'))
    done = alone.run("lock", "--check", check=False)
    assert done.code == 2 and "+source=pypi" in done.stderr
    done = alone.run("lock", check=False)
    assert done.code == 1 and "leave source out, and NVIDIA's apt repository" in done.stderr
    # one that both have comes from the wheels, and apt's packages leave with it
    envd.spec(EITHER % ("11.8", ', components=["cudart"]'))
    done = envd.run("lock")
    assert "taking it" not in done.stderr
    lock = (envd.project / "envd.lock").read_text()
    assert "nvidia-cuda-runtime-cu11" in lock and "cuda-cudart" not in lock and locked != lock
    # and only NVIDIA's wheels have this one
    envd.spec(EITHER % ("12.4", ', source="apt"'))
    done = envd.run("lock", check=False)
    assert done.code == 1 and "build.envd:4:26: error: there is no CUDA 12.4 in the" in done.stderr
    assert "leave source out, and the Python index is asked, too" in done.stderr
    assert (envd.project / "envd.lock").read_text() == lock


def without(tool: str) -> tuple[str, ...]:
    """A prefix for a command on a machine that lacks a tool."""
    hide = f'mount --bind /dev/null {tool}; exec "$@"'
    return ("unshare", "--mount", "sh", "-c", hide, "sh")


@pytest.mark.parametrize(
    ("tool", "says"),
    [("/usr/bin/gpgv", "neither gpgv nor sqv is installed"), ("/usr/bin/apt-get", "apt-get cannot be run")],
)
def test_a_tool_that_the_machine_lacks_is_said_at_the_specs_line(
    tmp_path: Path, cuda_releases: nvidia.Nvidia, tool: str, says: str
) -> None:
    # A store of its own: with lists that another build has read, apt has no need to be run.
    envd = Envd(tmp_path / "store", tmp_path / "p", cuda_releases.settings, prefix=without(tool))
    envd.spec("""
def build():
    base(os="debian12", language="python3")
    install.cuda(version="11.2", source="apt")
    install.python_packages(["numpyy-of-nobody"])
""")
    done = envd.run("lock", check=False)
    assert done.code == 1 and "Traceback" not in done.stderr and "internal" not in done.stderr
    for place in ("build.envd:3:5", "build.envd:4:26"):
        assert re.search(rf"{place}: error: .*{says}", done.stderr), done.stderr
    assert "build.envd:5:30: error: " in done.stderr and "numpyy-of-nobody" in done.stderr


# -- CUDA as upstream's users write it ---------------------------------------


def test_a_cuda_of_the_time_before_wheels_comes_from_apt(specs: Specs, cuda_releases: nvidia.Nvidia) -> None:
    image = specs.image(
        """
        def build():
            base()
            install.python()
            install.cuda(version="11.2.2", cudnn="8")
    """,
        **cuda_releases.settings,  # type: ignore[arg-type]
    )
    assert "no CUDA 11.2.2 on the Python index: taking it from" in image.outcome.stderr
    # what TensorFlow 2.9 loads, found by the dynamic linker without any help
    code = f"import ctypes; [ctypes.CDLL(n) for n in {nvidia.LOADED_BY_TENSORFLOW!r}]; print('all')"
    assert image.sh(f'unset LD_LIBRARY_PATH; python -c "{code}"') == "all"
    listed = image.sh("dpkg-query -W 'libcudnn*' 'cuda-cudart*' 'libnvjitlink*' || true")
    assert listed.split() == ["cuda-cudart-11-2", "11.2.152-1", "libcudnn8", "8.1.1.33-1+cuda11.2"]
    assert (
        image.sh("echo $CUDA_HOME $(readlink -f /usr/local/cuda)") == "/usr/local/cuda /usr/local/cuda-11.2"
    )
    assert image.dangling() == []
