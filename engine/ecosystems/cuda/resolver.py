"""CUDA: its components, and NVIDIA's wheels of them on a Python index.

Which wheel versions make up a toolkit is what NVIDIA's own metapackage `cuda-toolkit` says: an
extra for each component, for every release since 11.8. cuDNN and NCCL are released apart from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from engine.ecosystems.python import pypi, simple
from engine.ecosystems.python.uv import sources
from engine.errors import ResolveError, UsageError
from engine.lock.packages import LockedPackage, Wheel
from grammar.environment import Cuda, PipIndex, Request
from grammar.nearest import suggest

# Component -> distribution of its wheel ("-cu12" follows, to CUDA 12), packages in the apt
# repository ("{v}" is "12-9"; the first that a release has). The names are the extras of
# cuda-toolkit, and "nccl".
NAMES: dict[str, tuple[str, tuple[str, ...]]] = {
    "cccl": ("nvidia-cuda-cccl", ("cuda-cccl-{v}", "cuda-thrust-{v}")),
    "crt": ("nvidia-cuda-crt", ("cuda-crt-{v}",)),
    "cublas": ("nvidia-cublas", ("libcublas-{v}",)),
    "cudart": ("nvidia-cuda-runtime", ("cuda-cudart-{v}",)),
    "cufft": ("nvidia-cufft", ("libcufft-{v}",)),
    "cufile": ("nvidia-cufile", ("libcufile-{v}",)),
    "culibos": ("nvidia-cuda-culibos", ("cuda-culibos-dev-{v}",)),
    "cupti": ("nvidia-cuda-cupti", ("cuda-cupti-{v}",)),
    "curand": ("nvidia-curand", ("libcurand-{v}",)),
    "cusolver": ("nvidia-cusolver", ("libcusolver-{v}",)),
    "cusparse": ("nvidia-cusparse", ("libcusparse-{v}",)),
    "cuxxfilt": ("nvidia-cuda-cuxxfilt", ("cuda-cuxxfilt-{v}",)),
    "nccl": ("nvidia-nccl", ("libnccl2",)),
    "npp": ("nvidia-npp", ("libnpp-{v}",)),
    "nvcc": ("nvidia-cuda-nvcc", ("cuda-nvcc-{v}",)),
    "nvfatbin": ("nvidia-nvfatbin", ("libnvfatbin-{v}",)),
    "nvjitlink": ("nvidia-nvjitlink", ("libnvjitlink-{v}",)),
    "nvjpeg": ("nvidia-nvjpeg", ("libnvjpeg-{v}",)),
    "nvml": ("nvidia-nvml-dev", ("cuda-nvml-dev-{v}",)),
    "nvptxcompiler": ("nvidia-nvptxcompiler", ("libnvptxcompiler-{v}",)),
    "nvrtc": ("nvidia-cuda-nvrtc", ("cuda-nvrtc-{v}",)),
    "nvtx": ("nvidia-nvtx", ("cuda-nvtx-{v}",)),
    "nvvm": ("nvidia-nvvm", ("libnvvm-{v}", "cuda-nvvm-{v}")),
    "opencl": ("nvidia-cuda-opencl", ("cuda-opencl-{v}",)),
    "profiler": ("nvidia-cuda-profiler-api", ("cuda-profiler-api-{v}",)),
    "sanitizer": ("nvidia-cuda-sanitizer-api", ("cuda-sanitizer-{v}",)),
}
# Components that no release before this one has. (What only some repository lacks, it says itself.)
_SINCE = {"cufile": (11, 4), "nvjitlink": (12, 0), "nvfatbin": (12, 4)}
# Several at once: what programs built elsewhere load (as NVIDIA's "runtime" images have), and the
# whole toolkit.
GROUPS = {
    "runtime": (
        "cublas",
        "cudart",
        "cufft",
        "curand",
        "cusolver",
        "cusparse",
        "nccl",
        "npp",
        "nvjitlink",
        "nvrtc",
        "nvtx",
    ),
    "all": tuple(n for n in NAMES if n != "nccl"),
}
# Without `components`. Python packages for CUDA 12 and later bring most libraries as wheels of
# their own (torch, tensorflow[and-cuda], jax[cuda12]), and look for these. Those for CUDA 11, as
# TensorFlow before 2.14, bring none: they load the system's.
_DEFAULT = ("cudart", "nvrtc", "nvjitlink")
_DEFAULT_11 = ("cudart", "nvrtc", "cublas", "cufft", "curand", "cusolver", "cusparse")
# Versioned with the toolkit; the other libraries have versions of their own.
_LOCKSTEP = (
    "crt",
    "cudart",
    "cupti",
    "nvcc",
    "nvfatbin",
    "nvjitlink",
    "nvptxcompiler",
    "nvrtc",
    "nvtx",
    "nvvm",
)
_METAPACKAGE = "cuda-toolkit"


def short(version: str) -> str:
    """ "12.9" of "12.9.1"."""
    return ".".join(version.split(".")[:2])


def major(cuda: Cuda) -> int:
    """12 of "12.9.1"."""
    return int(cuda.version.split(".")[0])


def release(cuda: Cuda) -> tuple[int, int]:
    """(12, 9) of "12.9.1"."""
    first, second = cuda.version.split(".")[:2]
    return int(first), int(second)


def asked(cuda: Cuda) -> tuple[str, ...]:
    """The components and groups asked for, or those that a toolkit of that age comes with."""
    return cuda.components or (_DEFAULT if major(cuda) >= 12 else _DEFAULT_11)


def there_is(name: str, cuda: Cuda) -> bool:
    """Whether a toolkit of that age has a component at all."""
    return release(cuda) >= _SINCE.get(name, (0, 0))


def since(name: str) -> str:
    """ " (it begins with CUDA 12.0)", or "" for a component that has always been there."""
    return f" (it begins with CUDA {'.'.join(map(str, _SINCE[name]))})" if name in _SINCE else ""


def components(cuda: Cuda) -> tuple[str, ...]:
    """The components asked for, groups resolved. Raises UsageError for one that is not known."""
    if not re.fullmatch(r"\d+\.\d+(\.\d+)?", cuda.version):
        raise UsageError(
            f"cuda version '{cuda.version}' is not like '12.9' or '12.9.1'", position=cuda.position
        )
    chosen: list[str] = []
    for name in asked(cuda):
        if name not in NAMES and name not in GROUPS:
            known = [*GROUPS, *NAMES]
            hint = suggest(name, known) or f"; known: {', '.join(known)}"
            raise UsageError(f"no cuda component '{name}'{hint}", position=cuda.position)
        chosen += [n for n in GROUPS[name] if there_is(n, cuda)] if name in GROUPS else [name]
    if cuda.cudnn:
        chosen.append("cublas")  # cuDNN loads it
    return tuple(dict.fromkeys(chosen))


def _wheel(name: str, cuda: Cuda) -> str:
    number = major(cuda)
    # from CUDA 13 on, names carry no version, but for what is released apart from it
    suffix = f"-cu{number}" if number <= 12 or name == "nccl" else ""
    return f"{NAMES[name][0]}{suffix}"


def requirements(cuda: Cuda) -> tuple[list[str], list[str]]:
    """The wheels asked for, as PEP 508 requirements, and constraints on what they bring."""
    chosen = components(cuda)
    extras = sorted(n for n in chosen if n != "nccl")
    wanted = [f"{_METAPACKAGE}[{','.join(extras)}]=={cuda.version}.*"]
    if "nccl" in chosen:
        wanted.append(_wheel("nccl", cuda))
    if cuda.cudnn:
        wanted.append(f"nvidia-cudnn-cu{major(cuda)}=={cuda.cudnn}.*")
    # The metapackage lets some be newer than the toolkit: it never has to be.
    minor = short(cuda.version)
    return wanted, [f"{_wheel(n, cuda)}=={minor}.*" for n in _LOCKSTEP]


def resolve(
    cuda: Cuda, target: pypi.Target, index: PipIndex | None, cache_directory: Path, log: Callable[[str], None]
) -> list[LockedPackage]:
    """The wheels of a CUDA toolkit. Raises ResolveError."""
    texts, limits = requirements(cuda)
    if "nvcc" in cuda.components and major(cuda) < 13:
        log("NVIDIA's wheels of nvcc hold ptxas and NVVM before CUDA 13, and the compiler from then on")
    requests = tuple(Request(text, cuda.position) for text in texts)
    wanted = pypi.Wanted(requests, constraints=tuple(map(Request, limits)), index=index)
    try:
        found = pypi.resolve(wanted, target, cache_directory, log)
    except ResolveError as error:
        if lacking := lacks(cuda, index):
            raise ResolveError(
                f"there is no {lacking}",
                position=cuda.position,
                advice="leave source out, and NVIDIA's apt repository is asked, too",
            ) from error
        raise
    found = [p for p in found if p.name != _METAPACKAGE]
    names = {p.name for p in found}
    for name in cuda.components:
        if name in NAMES and _wheel(name, cuda) not in names:
            raise ResolveError(
                f"CUDA {cuda.version} has no component '{name}' on the Python index{since(name)}",
                position=cuda.position,
            )
    for package in found:
        if not isinstance(package, Wheel):
            raise ResolveError(f"{package.name} {package.version} has no wheel", position=cuda.position)
    return found


def lacks(cuda: Cuda, index: PipIndex | None) -> str:
    """Which version the Python index does not have, and those that it has; "" when it has all
    that is asked for, or does not answer."""
    cudnn = f"nvidia-cudnn-cu{major(cuda)}"
    for name, what, given in ((_METAPACKAGE, "CUDA", cuda.version), (cudnn, "cuDNN", cuda.cudnn or "")):
        versions = simple.versions(name, sources(index), cuda.position) if given else None
        if versions is not None and not any(f"{v}.".startswith(f"{given}.") for v in versions):
            beside = f" for CUDA {major(cuda)}" if name == cudnn else ""
            return f"{what} {given}{beside} on the Python index; {_nearest(given, versions)}"
    return ""


def _nearest(given: str, versions: list[str]) -> str:
    """Which versions there are: the patches where only the patch is wrong."""
    series = short(given)
    beside = [v for v in versions if v.startswith(f"{series}.")]
    if beside and given != series:
        return f"of {series} it has {numbers(beside, 4)}"
    return f"it has {numbers(versions, 2) or 'none'}"


def numbers(versions: Iterable[str], depth: int) -> str:
    """Versions in order, each to so many parts: "11.8, 12.0"."""
    known = sorted({tuple(map(int, v.split(".")[:depth])) for v in versions})
    return ", ".join(".".join(map(str, v)) for v in known)
