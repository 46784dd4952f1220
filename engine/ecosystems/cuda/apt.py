"""CUDA from NVIDIA's apt repository: its key, its releases, and which packages make up one.

A release of the toolkit ("11.2.2") is what NVIDIA's own metapackages of that version depend upon
(cuda-libraries-11-2 11.2.2-1 on libcublas-11-2 11.4.1.1043, …). cuDNN and NCCL are released apart
from it, and their versions end with the CUDA that they were built for ("8.1.1.33-1+cuda11.2").
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.ecosystems.cuda.resolver import (
    GROUPS,
    NAMES,
    asked,
    components,
    major,
    numbers,
    release,
    short,
    since,
    there_is,
)
from engine.ecosystems.debian import archive_keys
from engine.ecosystems.debian.apt import Apt
from engine.errors import ResolveError, UsageError
from grammar.environment import Cuda, Request

_REPOSITORIES = "https://developer.download.nvidia.com/compute/cuda/repos"
# What NVIDIA has published: the key of every repository since April 2022, and Debian 13's own.
NVIDIA = archive_keys.Owner(
    "NVIDIA",
    ("EB693B3035CD5710E231E123A4B469963BF863CC", "02182E60104FCDC26EAE1B8597A5D4CB8793F200"),
    "ENVD_CUDA_APT_FINGERPRINT",
)
# The repository's own packages of a group of components.
_GROUP_PACKAGES = {
    "runtime": ("cuda-libraries-{v}", "cuda-nvtx-{v}", "libnccl2"),
    "all": ("cuda-toolkit-{v}",),
}
# Versioned as the toolkit is. Their dependencies say what belongs to a release.
_METAPACKAGES = (
    "cuda-toolkit-{v}",
    "cuda-libraries-{v}",
    "cuda-libraries-dev-{v}",
    "cuda-compiler-{v}",
    "cuda-command-line-tools-{v}",
    "cuda-tools-{v}",
    "cuda-visual-tools-{v}",
    "cuda-runtime-{v}",
    "cuda-minimal-build-{v}",
    "cuda-documentation-{v}",
)


@dataclass(frozen=True)
class Repository:
    """Where NVIDIA's packages for one system are: a sources.list line, and its name for people."""

    line: str
    title: str


def packages(cuda: Cuda) -> list[str]:
    """The packages asked for, by the names that they have without looking into the repository."""
    names: list[str] = []
    components(cuda)  # refuses what is not known
    for name in asked(cuda):
        candidates = _GROUP_PACKAGES.get(name) or NAMES[name][1][:1]
        names += [n.format(v=_dashed(cuda)) for n in candidates]
    if cuda.cudnn:
        names += [_cudnn(cuda), NAMES["cublas"][1][0].format(v=_dashed(cuda))]
    return list(dict.fromkeys(names))


def _dashed(cuda: Cuda) -> str:
    return short(cuda.version).replace(".", "-")


def _cudnn(cuda: Cuda) -> str:
    series = (cuda.cudnn or "").split(".")[0]
    # from cuDNN 9 on, the name says for which CUDA it is
    return f"libcudnn{series}-cuda-{major(cuda)}" if int(series) >= 9 else f"libcudnn{series}"


# -- where it is, and whom it trusts ----------------------------------------------------------


def repository(cuda: Cuda, os_name: str, cache: Path) -> Repository:
    """NVIDIA's repository for a system ("ubuntu20.04"), or ENVD_CUDA_APT_REPO: a URL, or a whole
    line with options. Its key is ENVD_CUDA_APT_KEYRING's file, or fetched from beside it and
    believed for its fingerprint.

    Raises ResolveError, UsageError.
    """
    given = os.environ.get("ENVD_CUDA_APT_REPO", "")
    title = "the apt repository" if given else (f"NVIDIA's apt repository for {os_name}")
    if given.startswith("deb "):
        return Repository(given, title)
    if not given and not re.fullmatch(r"(debian|ubuntu)[\d.]+", os_name):
        raise ResolveError(
            f"NVIDIA has no apt repository for '{os_name}'",
            position=cuda.position,
            advice="name one of a system like it with ENVD_CUDA_APT_REPO",
        )
    url = (given or f"{_REPOSITORIES}/{os_name.replace('.', '')}/x86_64").rstrip("/")
    keyring = os.environ.get("ENVD_CUDA_APT_KEYRING", "")
    if keyring and not Path(keyring).is_file():
        raise UsageError(
            f"ENVD_CUDA_APT_KEYRING: {keyring}: no such file",
            position=cuda.position,
            advice="unset it, and the key is fetched from the repository and believed for its fingerprint",
        )
    path = Path(keyring) if keyring else _key(cuda, url, title, cache)
    return Repository(f"deb [signed-by={path.absolute()}] {url}/ ./", title)


def _key(cuda: Cuda, url: str, title: str, cache: Path) -> Path:
    ends = [fingerprint[-8:] for fingerprint in NVIDIA.trusted(cuda.position)]
    names = [f"{form}.pub" for end in ends for form in (end.lower(), end)]
    urls = [f"{url}/{name}" for name in (*dict.fromkeys(names), "cuda-archive-keyring.gpg")]
    try:
        return archive_keys.fetched(NVIDIA, urls, cache, cuda.position)
    except archive_keys.NoKeyError as error:
        raise UsageError(
            f"{title} cannot be trusted: {error}",
            position=cuda.position,
            advice="check ENVD_CUDA_APT_REPO, name its key's file with ENVD_CUDA_APT_KEYRING, or its "
            f"fingerprint with {NVIDIA.setting}",
        ) from error


# -- what it has ------------------------------------------------------------------------------


def lacks(cuda: Cuda, apt: Apt, title: str) -> str:
    """Which version the repository does not have, and those that it has; "" when it has all that
    is asked for."""
    found = [m for n in apt.names if (m := re.fullmatch(r"cuda-cudart-(\d+)-(\d+)", n))]
    known = {f"{m[1]}.{m[2]}" for m in found}
    if short(cuda.version) not in known:
        return f"CUDA {short(cuda.version)} in {title}; it has {numbers(known, 2) or 'none'}"
    releases = _releases(cuda, apt)
    if cuda.version.count(".") == 2 and cuda.version not in releases:
        return (
            f"CUDA {cuda.version} in {title}; of {short(cuda.version)} it has "
            f"{numbers(releases, 3) or 'no whole release'}"
        )
    if cuda.cudnn and not _for_cuda(cuda, apt, _cudnn(cuda), cuda.cudnn):
        there = [
            version
            for name in apt.names
            if re.fullmatch(rf"libcudnn\d+(-cuda-{major(cuda)})?", name)
            for version in _for_cuda(cuda, apt, name, "")
        ]
        return (
            f"cuDNN {cuda.cudnn} for CUDA {major(cuda)} in {title}; it has "
            f"{numbers(map(_upstream, there), 3) or 'none'}"
        )
    return ""


def requests(cuda: Cuda, apt: Apt, title: str) -> list[Request]:
    """The packages asked for, as the repository names them, with the versions that belong to that
    release. Raises ResolveError for what it does not have."""
    if lacking := lacks(cuda, apt, title):
        raise ResolveError(
            f"there is no {lacking}",
            position=cuda.position,
            advice="leave source out, and the Python index is asked, too",
        )
    bounds = _bounds(cuda, apt) if cuda.version.count(".") == 2 else {}
    wanted: dict[str, str] = {}
    for name in asked(cuda):
        for package in _of(name, cuda, apt, title):
            wanted[package] = ""
    if cuda.cudnn:
        wanted[_cudnn(cuda)] = ""
        wanted[NAMES["cublas"][1][0].format(v=_dashed(cuda))] = ""
    # A metapackage asks for its release or a newer one: what it brings is named, too.
    for package in list(wanted):
        for name in _below(package, bounds):
            wanted.setdefault(name, "")
    for package in wanted:
        wanted[package] = _version(package, cuda, apt, bounds)
    return [
        Request(f"{name}={version}" if version else name, cuda.position) for name, version in wanted.items()
    ]


def _of(name: str, cuda: Cuda, apt: Apt, title: str) -> list[str]:
    """The packages of a component or group."""
    if name in GROUPS:
        return [n.format(v=_dashed(cuda)) for n in _GROUP_PACKAGES[name]]
    known = set(apt.names)
    names = [n.format(v=_dashed(cuda)) for n in NAMES[name][1]]
    found = next((n for n in names if n in known), None)
    if found is None or not there_is(name, cuda):
        there = [k for k, (_, v) in NAMES.items() if known & {n.format(v=_dashed(cuda)) for n in v}]
        raise ResolveError(
            f"CUDA {short(cuda.version)} has no component '{name}'{since(name)} in "
            f"{title}; it has {', '.join(there)}",
            position=cuda.position,
        )
    return [found]


def _upstream(version: str) -> str:
    """ "8.1.1.33" of "8.1.1.33-1+cuda11.2"."""
    return re.split(r"[-+~]", version)[0]


def _parts(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def _known(apt: Apt, name: str) -> list[str]:
    """The versions of a package, the newest last."""
    return sorted({s["Version"] for s in apt.stanzas(name)}, key=_parts)


def _releases(cuda: Cuda, apt: Apt) -> list[str]:
    """The toolkit's releases of that minor version: "11.2.0", "11.2.1"."""
    names = [n.format(v=_dashed(cuda)) for n in _METAPACKAGES[:2]]
    return sorted(
        {
            _upstream(v)
            for n in names
            for v in _known(apt, n)
            if re.fullmatch(rf"{re.escape(short(cuda.version))}\.\d+", _upstream(v))
        },
        key=_parts,
    )


def _bounds(cuda: Cuda, apt: Apt) -> dict[str, dict[str, str]]:
    """Metapackage of that very release -> package -> the version that belongs to it."""
    found: dict[str, dict[str, str]] = {}
    for pattern in _METAPACKAGES:
        name = pattern.format(v=_dashed(cuda))
        versions = [v for v in _known(apt, name) if _upstream(v) == cuda.version]
        if not versions:
            continue
        found[name] = {name: versions[-1]}
        depends = (apt.stanza(name, versions[-1]) or {}).get("Depends", "")
        for package, version in re.findall(r"([a-z0-9][a-z0-9+.-]*)\s*\(>?=\s*([^)\s]+)\)", depends):
            found[name][package] = version
    return found


def _below(package: str, bounds: dict[str, dict[str, str]]) -> Iterable[str]:
    """All that a metapackage brings."""
    waiting, seen = [package], {package}
    while waiting:
        for name in bounds.get(waiting.pop(), {}):
            if name not in seen:
                seen.add(name)
                waiting.append(name)
                yield name


def _version(package: str, cuda: Cuda, apt: Apt, bounds: dict[str, dict[str, str]]) -> str:
    """The version of a package that belongs to the release asked for; "" for the newest."""
    if package == "libnccl2":
        return (_for_cuda(cuda, apt, package, "") or [""])[-1]
    if cuda.cudnn and package == _cudnn(cuda):
        return _for_cuda(cuda, apt, package, cuda.cudnn)[-1]
    for held in bounds.values():
        if package in held:
            wanted = held[package]
            known = _known(apt, package)
            exact = [v for v in known if v == wanted or _upstream(v) == _upstream(wanted)]
            return exact[-1] if exact else ""
    return ""


def _for_cuda(cuda: Cuda, apt: Apt, package: str, series: str) -> list[str]:
    """The versions of a library released apart from the toolkit that are `series` ("8", "8.1"; ""
    is any) and built for that CUDA, the best last: the newest of those built for no newer CUDA
    than the one asked for, else the newest of those for its major version."""
    fitting: list[tuple[bool, tuple[int, ...], str]] = []
    for version in _known(apt, package):
        if series and not f"{_upstream(version)}.".startswith(f"{series}."):
            continue
        built = re.search(r"\+cuda(\d+)\.(\d+)", version)
        if built is None:  # its name says for which CUDA it is
            fitting.append((True, _parts(_upstream(version)), version))
        elif int(built[1]) == major(cuda):
            fits = (int(built[1]), int(built[2])) <= release(cuda)
            fitting.append((fits, (*_parts(_upstream(version)), int(built[2])), version))
    return [version for _, _, version in sorted(fitting)]
