"""CUDA: from NVIDIA's wheels on a Python index, or from NVIDIA's apt repository."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from engine.errors import ResolveError, UsageError
from engine.lock import LockedPackage
from engine.resolve import pypi
from grammar.environment import Cuda, PipIndex, Request

# Component -> name in NVIDIA's wheels, name in the apt repository ("{v}" is "12-9").
_WHEELS = {
    "cudart": "nvidia-cuda-runtime", "nvrtc": "nvidia-cuda-nvrtc", "nvjitlink": "nvidia-nvjitlink",
    "cupti": "nvidia-cuda-cupti", "nvcc": "nvidia-cuda-nvcc", "cublas": "nvidia-cublas",
    "cufft": "nvidia-cufft", "curand": "nvidia-curand", "cusolver": "nvidia-cusolver",
    "cusparse": "nvidia-cusparse", "npp": "nvidia-npp", "nvjpeg": "nvidia-nvjpeg",
    "nvtx": "nvidia-nvtx",
}
_DEBS = {
    "cudart": "cuda-cudart-{v}", "nvrtc": "cuda-nvrtc-{v}", "nvjitlink": "libnvjitlink-{v}",
    "cupti": "cuda-cupti-{v}", "nvcc": "cuda-nvcc-{v}", "cublas": "libcublas-{v}",
    "cufft": "libcufft-{v}", "curand": "libcurand-{v}", "cusolver": "libcusolver-{v}",
    "cusparse": "libcusparse-{v}", "npp": "libnpp-{v}", "nvjpeg": "libnvjpeg-{v}",
    "nvtx": "cuda-nvtx-{v}",
}
_DEFAULT = ("cudart", "nvrtc", "nvjitlink")
# Versioned with the toolkit; the other libraries have versions of their own.
_LOCKSTEP = frozenset({"cudart", "nvrtc", "nvjitlink", "cupti", "nvcc", "nvtx"})
_APT_REPOSITORY = "https://developer.download.nvidia.com/compute/cuda/repos"


def short(version: str) -> str:
    """ "12.9" of "12.9.1"."""
    return ".".join(version.split(".")[:2])


def components(cuda: Cuda) -> tuple[str, ...]:
    """The components asked for. Raises UsageError for one that is not known."""
    from difflib import get_close_matches

    if not re.fullmatch(r"\d+\.\d+(\.\d+)?", cuda.version):
        raise UsageError(
            f"{cuda.position}: cuda version '{cuda.version}' is not like '12.9' or '12.9.1'"
        )
    for name in cuda.components:
        if name not in _WHEELS:
            close = get_close_matches(name, _WHEELS, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(_WHEELS)}"
            raise UsageError(f"{cuda.position}: no cuda component '{name}'; {hint}")
    chosen = cuda.components or _DEFAULT
    if cuda.cudnn and "cublas" not in chosen:
        chosen = (*chosen, "cublas")  # cuDNN loads it
    return chosen


def requirements(cuda: Cuda) -> list[str]:
    """The wheels asked for, as PEP 508 requirements."""
    major = int(cuda.version.split(".")[0])
    suffix = f"-cu{major}" if major <= 12 else ""  # from CUDA 13 on, names carry no version
    wanted = []
    for name in components(cuda):
        pin = cuda.version if cuda.version.count(".") == 2 else f"{cuda.version}.*"
        wanted.append(f"{_WHEELS[name]}{suffix}" + (f"=={pin}" if name in _LOCKSTEP else ""))
    if cuda.cudnn:
        wanted.append(f"nvidia-cudnn-cu{major}=={cuda.cudnn}.*")
    return wanted


def resolve(
    cuda: Cuda,
    target: pypi.Target,
    index: PipIndex | None,
    cache_directory: Path,
    log: Callable[[str], None],
) -> list[LockedPackage]:
    """The wheels of a CUDA toolkit. Raises ResolveError."""
    requests = tuple(Request(text, cuda.position) for text in requirements(cuda))
    found = pypi.resolve(pypi.Wanted(requests, index=index), target, cache_directory, log)
    for package in found:
        if package.kind != "wheel":
            raise ResolveError(f"{cuda.position}: {package.name} {package.version} has no wheel")
    return found


def apt_packages(cuda: Cuda) -> list[str]:
    """The Debian packages asked for, in NVIDIA's names."""
    major, minor = cuda.version.split(".")[:2]
    names = [_DEBS[c].format(v=f"{major}-{minor}") for c in components(cuda)]
    if cuda.cudnn:
        names.append(f"libcudnn{cuda.cudnn.split('.')[0]}-cuda-{major}")
    return names


def apt_sources(cuda: Cuda, os_name: str) -> list[str]:
    """The sources.list lines of NVIDIA's repository, or of ENVD_CUDA_APT_REPO: a URL, or a whole
    line with options. Its key is read from ENVD_CUDA_APT_KEYRING."""
    given = os.environ.get("ENVD_CUDA_APT_REPO")
    if given and given.startswith("deb "):
        return [given]
    url = given or f"{_APT_REPOSITORY}/{os_name.replace('.', '')}/x86_64"
    keyring = os.environ.get("ENVD_CUDA_APT_KEYRING", "")
    if not keyring:
        raise UsageError(
            f"{cuda.position}: install.cuda(source=\"apt\") needs the repository's key; set "
            "ENVD_CUDA_APT_KEYRING to its file, or use source=\"pypi\""
        )
    return [f"deb [signed-by={keyring}] {url.rstrip('/')} ./"]
