"""CUDA: from NVIDIA's wheels on a Python index, or from NVIDIA's apt repository.

Which wheel versions make up a toolkit is what NVIDIA's own metapackage `cuda-toolkit` says: an
extra for each component, for every release since 11.8. cuDNN and NCCL are released apart from it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from engine.errors import ResolveError, UsageError
from engine.lock import LockedPackage
from engine.resolve import pypi
from engine.resolve.apt import Apt
from engine.resolve.uv import sources
from grammar.environment import Cuda, PipIndex, Request
from grammar.errors import suggest

# Component -> distribution of its wheel ("-cu12" follows, to CUDA 12), package in the apt
# repository ("{v}" is "12-9"). The names are the extras of cuda-toolkit, and "nccl".
_NAMES = {
    "cccl": ("nvidia-cuda-cccl", "cuda-cccl-{v}"),
    "crt": ("nvidia-cuda-crt", "cuda-crt-{v}"),
    "cublas": ("nvidia-cublas", "libcublas-{v}"),
    "cudart": ("nvidia-cuda-runtime", "cuda-cudart-{v}"),
    "cufft": ("nvidia-cufft", "libcufft-{v}"),
    "cufile": ("nvidia-cufile", "libcufile-{v}"),
    "culibos": ("nvidia-cuda-culibos", "cuda-culibos-dev-{v}"),
    "cupti": ("nvidia-cuda-cupti", "cuda-cupti-{v}"),
    "curand": ("nvidia-curand", "libcurand-{v}"),
    "cusolver": ("nvidia-cusolver", "libcusolver-{v}"),
    "cusparse": ("nvidia-cusparse", "libcusparse-{v}"),
    "cuxxfilt": ("nvidia-cuda-cuxxfilt", "cuda-cuxxfilt-{v}"),
    "nccl": ("nvidia-nccl", "libnccl2"),
    "npp": ("nvidia-npp", "libnpp-{v}"),
    "nvcc": ("nvidia-cuda-nvcc", "cuda-nvcc-{v}"),
    "nvfatbin": ("nvidia-nvfatbin", "libnvfatbin-{v}"),
    "nvjitlink": ("nvidia-nvjitlink", "libnvjitlink-{v}"),
    "nvjpeg": ("nvidia-nvjpeg", "libnvjpeg-{v}"),
    "nvml": ("nvidia-nvml-dev", "cuda-nvml-dev-{v}"),
    "nvptxcompiler": ("nvidia-nvptxcompiler", "libnvptxcompiler-{v}"),
    "nvrtc": ("nvidia-cuda-nvrtc", "cuda-nvrtc-{v}"),
    "nvtx": ("nvidia-nvtx", "cuda-nvtx-{v}"),
    "nvvm": ("nvidia-nvvm", "libnvvm-{v}"),
    "opencl": ("nvidia-cuda-opencl", "cuda-opencl-{v}"),
    "profiler": ("nvidia-cuda-profiler-api", "cuda-profiler-api-{v}"),
    "sanitizer": ("nvidia-cuda-sanitizer-api", "cuda-sanitizer-{v}"),
}
# Several at once: what programs built elsewhere load (as NVIDIA's "runtime" images have), and the
# whole toolkit; and the apt repository's own packages of these.
_GROUPS = {
    "runtime": ("cublas", "cudart", "cufft", "curand", "cusolver", "cusparse", "nccl", "npp",
                "nvjitlink", "nvrtc", "nvtx"),
    "all": tuple(n for n in _NAMES if n != "nccl"),
}
_DEB_GROUPS = {"runtime": ("cuda-libraries-{v}", "cuda-nvtx-{v}", "libnccl2"),
               "all": ("cuda-toolkit-{v}",)}
# Without `components`: what a Python package that brings its own libraries still looks for.
_DEFAULT = ("cudart", "nvrtc", "nvjitlink")
# Versioned with the toolkit; the other libraries have versions of their own.
_LOCKSTEP = ("crt", "cudart", "cupti", "nvcc", "nvfatbin", "nvjitlink", "nvptxcompiler", "nvrtc",
             "nvtx", "nvvm")
_METAPACKAGE = "cuda-toolkit"
_APT_REPOSITORY = "https://developer.download.nvidia.com/compute/cuda/repos"


def short(version: str) -> str:
    """ "12.9" of "12.9.1"."""
    return ".".join(version.split(".")[:2])


def _major(cuda: Cuda) -> int:
    return int(cuda.version.split(".")[0])


def components(cuda: Cuda) -> tuple[str, ...]:
    """The components asked for, groups resolved. Raises UsageError for one that is not known."""
    if not re.fullmatch(r"\d+\.\d+(\.\d+)?", cuda.version):
        raise UsageError(
            f"{cuda.position}: cuda version '{cuda.version}' is not like '12.9' or '12.9.1'"
        )
    chosen: list[str] = []
    for name in cuda.components or _DEFAULT:
        if name not in _NAMES and name not in _GROUPS:
            known = [*_GROUPS, *_NAMES]
            hint = suggest(name, known) or f"; known: {', '.join(known)}"
            raise UsageError(f"{cuda.position}: no cuda component '{name}'{hint}")
        chosen += _GROUPS.get(name, (name,))
    if cuda.cudnn:
        chosen.append("cublas")  # cuDNN loads it
    return tuple(dict.fromkeys(chosen))


def _wheel(name: str, cuda: Cuda) -> str:
    major = _major(cuda)
    # from CUDA 13 on, names carry no version, but for what is released apart from it
    suffix = f"-cu{major}" if major <= 12 or name == "nccl" else ""
    return f"{_NAMES[name][0]}{suffix}"


def requirements(cuda: Cuda) -> tuple[list[str], list[str]]:
    """The wheels asked for, as PEP 508 requirements, and constraints on what they bring."""
    chosen = components(cuda)
    extras = sorted(n for n in chosen if n != "nccl")
    wanted = [f"{_METAPACKAGE}[{','.join(extras)}]=={cuda.version}.*"]
    if "nccl" in chosen:
        wanted.append(_wheel("nccl", cuda))
    if cuda.cudnn:
        wanted.append(f"nvidia-cudnn-cu{_major(cuda)}=={cuda.cudnn}.*")
    # The metapackage lets some be newer than the toolkit: it never has to be.
    minor = short(cuda.version)
    return wanted, [f"{_wheel(n, cuda)}=={minor}.*" for n in _LOCKSTEP]


def resolve(
    cuda: Cuda,
    target: pypi.Target,
    index: PipIndex | None,
    cache_directory: Path,
    log: Callable[[str], None],
) -> list[LockedPackage]:
    """The wheels of a CUDA toolkit. Raises ResolveError."""
    texts, limits = requirements(cuda)
    if "nvcc" in cuda.components and _major(cuda) < 13:
        log("NVIDIA's wheels of nvcc hold ptxas and NVVM before CUDA 13, and the compiler from then on")
    requests = tuple(Request(text, cuda.position) for text in texts)
    wanted = pypi.Wanted(requests, constraints=tuple(map(Request, limits)), index=index)
    try:
        found = pypi.resolve(wanted, target, cache_directory, log)
    except ResolveError as error:
        raise ResolveError(_explain(cuda, index, str(error))) from error
    found = [p for p in found if p.name != _METAPACKAGE]
    names = {p.name for p in found}
    for name in cuda.components:
        if name in _NAMES and _wheel(name, cuda) not in names:
            raise ResolveError(
                f"{cuda.position}: CUDA {cuda.version} has no component '{name}' on the Python index"
            )
    for package in found:
        if package.kind != "wheel":
            raise ResolveError(f"{cuda.position}: {package.name} {package.version} has no wheel")
    return found


def _explain(cuda: Cuda, index: PipIndex | None, reason: str) -> str:
    """Which versions there are, when it is the version that nothing has."""
    cudnn = f"nvidia-cudnn-cu{_major(cuda)}"
    for name, what, given, depth in (
        (_METAPACKAGE, "CUDA", cuda.version, cuda.version.count(".") + 1),
        (cudnn, "cuDNN", cuda.cudnn or "", 2),
    ):
        versions = _versions(name, index) if given else []
        if versions and not any(f"{v}.".startswith(f"{given}.") for v in versions):
            known = sorted({tuple(map(int, v.split(".")[:depth])) for v in versions})
            texts = ", ".join(".".join(map(str, v)) for v in known)
            beside = f" for CUDA {_major(cuda)}" if name == cudnn else ""
            return (
                f"{cuda.position}: there is no {what} {given}{beside} on the Python index; it has "
                f"{texts}"
            )
    return reason


def _versions(name: str, index: PipIndex | None) -> list[str]:
    """Every version of a package, by pip: uv names none of those that do not fit."""
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    if index is not None and (url := sources(index).index):
        environment["PIP_INDEX_URL"] = url
    done = subprocess.run(
        [sys.executable, "-m", "pip", "index", "versions", name], env=environment,
        capture_output=True, encoding="utf-8", errors="replace", check=False,
    )
    listed = re.search(r"^Available versions: (.*)$", done.stdout, re.MULTILINE)
    return re.findall(r"\d+(?:\.\d+)+", listed[1]) if listed else []


# -- NVIDIA's apt repository ------------------------------------------------------------------


def apt_packages(cuda: Cuda) -> list[str]:
    """The Debian packages asked for, in NVIDIA's names."""
    minor = short(cuda.version).replace(".", "-")
    names: list[str] = []
    components(cuda)  # refuses what is not known
    for name in cuda.components or _DEFAULT:
        names += [n.format(v=minor) for n in _DEB_GROUPS.get(name, (_NAMES.get(name, ("", ""))[1],))]
    if cuda.cudnn:
        major = cuda.cudnn.split(".")[0]
        # from cuDNN 9 on, the name says for which CUDA it is
        names.append(f"libcudnn{major}-cuda-{_major(cuda)}" if int(major) >= 9 else f"libcudnn{major}")
        names.append(_NAMES["cublas"][1].format(v=minor))
    return list(dict.fromkeys(names))


def check_apt(cuda: Cuda, apt: Apt) -> None:
    """Raise ResolveError naming the versions there are, when the repository has none of this."""
    minor = short(cuda.version).replace(".", "-")
    found = [m for n in apt.names if (m := re.fullmatch(r"cuda-cudart-(\d+)-(\d+)", n))]
    known = sorted((int(m[1]), int(m[2])) for m in found)
    if f"cuda-cudart-{minor}" not in apt.names:
        texts = ", ".join(f"{a}.{b}" for a, b in known) or "none"
        raise ResolveError(
            f"{cuda.position}: there is no CUDA {short(cuda.version)} in the apt repository; "
            f"it has {texts}"
        )


def apt_sources(cuda: Cuda, os_name: str) -> list[str]:
    """The sources.list lines of NVIDIA's repository, or of ENVD_CUDA_APT_REPO: a URL, or a whole
    line with options. Its key is read from ENVD_CUDA_APT_KEYRING."""
    given = os.environ.get("ENVD_CUDA_APT_REPO")
    if given and given.startswith("deb "):
        return [given]
    url = given or f"{_APT_REPOSITORY}/{os_name.replace('.', '')}/x86_64"
    keyring = os.environ.get("ENVD_CUDA_APT_KEYRING", "")
    if not keyring or not Path(keyring).is_file():
        what = f"{keyring} is no file" if keyring else "it is needed"
        raise UsageError(
            f"{cuda.position}: install.cuda(source=\"apt\") needs the repository's key: set "
            f"ENVD_CUDA_APT_KEYRING to its file ({what}), or use source=\"pypi\""
        )
    return [f"deb [signed-by={Path(keyring).absolute()}] {url.rstrip('/')} ./"]
