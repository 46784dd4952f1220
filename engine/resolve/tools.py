"""Toolchains: what `install.go`, `install.python`, `install.conda`, … mean for a lock.

Where the distribution carries the version asked for, its packages are used: they join the apt
section, as what a shell needs does. conda and what it brings join the conda section. All else
is upstream's own release, pinned by URL, size and SHA-256 in the section "tools".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.errors import ResolveError, UsageError
from engine.lock import Lock, LockedPackage
from engine.resolve import debian
from engine.resolve.target import Target
from grammar.environment import Environment, Position, Request, Toolchain
from grammar.errors import SpecError

NAMES = frozenset({"python", "conda", "uv", "pixi", "rust", "go", "nodejs", "codex"})

# What each needs of the distribution: as its own version; as the tool that upstream built.
_DISTRIBUTED = {
    "go": ("golang-go",), "rust": ("rustc", "cargo"), "nodejs": ("nodejs", "npm"),
}
_NEEDED = {"rust": ("gcc", "libc6-dev"), "nodejs": ("libstdc++6",)}
# Versions as releases carry them. They only choose: what is locked is looked at again.
_CARRIED = {
    "debian11": {"go": "1.15.15", "rust": "1.48.0", "nodejs": "12.22.12"},
    "debian12": {"go": "1.19.8", "rust": "1.63.0", "nodejs": "18.20.4"},
    "debian13": {"go": "1.24.4", "rust": "1.85.1", "nodejs": "20.19.2"},
    "ubuntu20.04": {"go": "1.13.8", "rust": "1.75.0", "nodejs": "10.19.0"},
    "ubuntu22.04": {"go": "1.18.1", "rust": "1.75.0", "nodejs": "12.22.9"},
    "ubuntu24.04": {"go": "1.22.2", "rust": "1.75.0", "nodejs": "18.19.1"},
}
# Debian packages most of distutils apart, and pip needs all of it below Python 3.10.
DISTUTILS = "python3-distutils"
SPLIT_DISTUTILS = ("3.8", "3.9")
# Releases of upstream that need glibc; the others are static.
_OF_GLIBC = frozenset({"python", "uv", "uv-python", "nodejs", "rust"})
# The package whose version is the tool's, as a pattern of its name.
_VERSIONED = {"go": "golang-{series}-go", "rust": "rustc", "nodejs": "nodejs"}


def _wanted(environment: Environment) -> dict[str, Toolchain]:
    return {t.name: t for t in environment.toolchains if t.name in NAMES}


def _distributed(environment: Environment, toolchain: Toolchain) -> bool:
    """Whether the distribution's own packages are what was asked for."""
    if toolchain.name not in _DISTRIBUTED:
        return False
    from engine.resolve.upstream import begins

    # An image may be of any release: it gets upstream's where a version is asked for.
    release = "" if environment.base.image else environment.base.os
    carried = _CARRIED.get(release, {}).get(toolchain.name)
    return not toolchain.version or (carried is not None and begins(carried, toolchain.version))


# -- Python -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class TargetPython:
    """The environment's Python. `version` is as it was asked for ("3.12", "3.12.4"); `source` is
    "distribution", "standalone" (below /opt/python) or "conda" (/opt/conda's)."""

    version: str
    source: str

    @property
    def series(self) -> str:
        """Its "X.Y"."""
        return ".".join(self.version.split(".")[:2])


def python_of(environment: Environment) -> TargetPython | None:
    """The environment's Python, None when it asks for none.

    Raises UsageError when it asks for two, or for one that is no Python 3.
    """
    wanted = _wanted(environment)
    language = environment.base.language
    named = language.removeprefix("python") if language.startswith("python") else ""
    if "python" in wanted:
        toolchain = wanted["python"]
        if "." in named and toolchain.version and not _agree(named, toolchain.version):
            raise UsageError(
                f"{toolchain.position}: install.python(\"{toolchain.version}\") beside "
                f"base(language=\"{language}\"): an environment has one Python; leave one out"
            )
        named = toolchain.version or named
    elif not language.startswith("python"):
        return None
    # What an image has is not known yet: it is looked at when it is locked.
    own = "" if environment.base.image else debian.release_of(environment.base).python
    position = wanted["python"].position if "python" in wanted else environment.base.position
    if named.split(".")[0] not in ("", "3"):
        raise UsageError(f"{position}: there is no Python {named} for an environment, only 3.x")
    version = named if "." in named else own
    if "conda" in wanted:
        return TargetPython(version or debian.release_of(environment.base).python, "conda")
    if environment.base.image and not ("python" in wanted and wanted["python"].version):
        return TargetPython(version, "distribution")
    return TargetPython(version, "distribution" if version == own else "standalone")


def _agree(first: str, second: str) -> bool:
    from engine.resolve.upstream import begins

    return begins(first, second) or begins(second, first)


def wants_python(environment: Environment) -> bool:
    """Whether a Python was asked for."""
    return environment.base.language.startswith("python") or "python" in _wanted(environment)


def jupyter_fault(environment: Environment) -> SpecError | None:
    """The error when Jupyter is to start, and nothing brings a Python for it. What an image has is
    known only when it is looked at."""
    jupyter = environment.jupyter
    if jupyter is None or environment.base.image or wants_python(environment):
        return None
    from_apt = any("jupyter" in request.text for request in environment.apt_packages)
    if conda_requests(environment) or from_apt:
        return None
    return SpecError("config.jupyter needs a Python: write install.python()", jupyter.position)


def python_version(lock: Lock, series: str) -> str:
    """The whole version of the Python "X.Y" that a lock has, as its package says; "" if unknown."""
    rows = [p for p in (*lock["tools"], *lock["conda"]) if p.name == "python"]
    rows += [p for p in (*lock.base.packages, *lock["apt"]) if p.name == f"python{series}"]
    return rows[0].version if rows else ""


def brings_pip(environment: Environment) -> bool:
    """Whether pip comes with the Python, and not as a wheel: conda packages hold both."""
    python = python_of(environment)
    return python is not None and python.source == "conda"


def python_facts(environment: Environment) -> list[str]:
    """What the Python section's requests say of a Python that is not the distribution's."""
    python = python_of(environment)
    if python is None or python.source == "distribution":
        return []
    return [f"python={python.version}", f"python_from={python.source}"]


# -- what joins other sections ----------------------------------------------------------------


def apt_packages(environment: Environment) -> list[str]:
    """The distribution's packages that the toolchains are, or need."""
    found: list[str] = []
    wanted = _wanted(environment)
    for name, toolchain in sorted(wanted.items()):
        table = _DISTRIBUTED if _distributed(environment, toolchain) else _NEEDED
        found += table.get(name, ())
    python = python_of(environment)
    of_image = bool(environment.base.image)
    of_base = "" if of_image else debian.python_of(environment.base)
    own = "" if of_image else debian.release_of(environment.base).python
    if not of_base and (
        (python is not None and python.source == "distribution")
        or (own and _uv_python(environment) == own)
    ):
        found.append("python3")
    if not of_image and python is not None and python.source == "distribution" \
            and own in SPLIT_DISTUTILS:
        found.append(DISTUTILS)
    return found


def conda_requests(environment: Environment) -> tuple[Request, ...]:
    """The user's conda packages, and those that `install.conda` means."""
    requests = environment.conda_packages
    toolchain = _wanted(environment).get("conda")
    if toolchain is None:
        return requests
    at = toolchain.position
    named = {r.text.split("=")[0].split()[0].lower() for r in requests}
    mamba = ("use_mamba", "true") in toolchain.options
    implied = ["micromamba" if mamba else "conda"]
    python = python_of(environment)
    if python is not None:
        implied += [f"python={python.version}", "pip"]
    return requests + tuple(
        Request(text, at) for text in implied if text.split("=")[0] not in named
    )


def check_distributed(environment: Environment, packages: Sequence[LockedPackage]) -> None:
    """Raise ResolveError when the archive carries another version of a tool than was asked for."""
    from engine.resolve.upstream import begins

    for name, toolchain in _wanted(environment).items():
        if not toolchain.version or not _distributed(environment, toolchain):
            continue
        series = ".".join(toolchain.version.split(".")[:2])
        package = _VERSIONED[name].format(series=series)
        for found in packages:
            version = found.version.rpartition(":")[2]
            upstream = version.rpartition("-")[0].partition("+")[0].partition("~")[0] or version
            if found.name == package and not begins(upstream, toolchain.version):
                raise ResolveError(
                    f"{toolchain.position}: {environment.base.os} now carries {name} {upstream}, "
                    f"not {toolchain.version}; write \"{series}\" for what it carries"
                )


# -- the section "tools" ----------------------------------------------------------------------


def _uv_python(environment: Environment) -> str:
    toolchain = _wanted(environment).get("uv")
    return "" if toolchain is None else dict(toolchain.options).get("python_version", "")


def requests(environment: Environment) -> tuple[str, ...]:
    """The request strings of the section: what comes from upstream."""
    found = []
    python = python_of(environment)
    if python is not None and python.source == "standalone":
        found.append(f"python={python.version}")
    for name, toolchain in _wanted(environment).items():
        if name not in ("python", "conda") and not _distributed(environment, toolchain):
            found.append(f"{name}={toolchain.version}")
    managed = _uv_python(environment)
    own = "" if environment.base.image else debian.release_of(environment.base).python
    if managed and managed != own:
        found.append(f"uv-python={managed}")
    return tuple(sorted(found))


def resolve(
    environment: Environment, kept: Sequence[LockedPackage], target: Target, cache: Path,
    log: Callable[[str], None],
) -> list[LockedPackage]:
    """Every tool of the section, pinned; `kept` is what an earlier lock has: what was asked for in
    the same words stays. `cache` lies in the store. Raises ResolveError."""
    wanted = _wanted(environment)
    found: list[LockedPackage] = []
    for request in requests(environment):
        rows = [p for p in kept if p.extra.get("request") == request]
        if not rows:
            name, _, version = request.partition("=")
            if name in _OF_GLIBC and not target.glibc:
                position = _position(name, environment)
                raise ResolveError(
                    f"{position}: {name} is built for glibc, and the base has another C library; "
                    "use an image of Debian or Ubuntu"
                )
            log(f"looking up {name} {version}".rstrip())
            made = _resolve_one(
                name, version, wanted.get(name), environment, target, cache, log
            )
            rows = [replace(p, extra={**p.extra, "request": request}) for p in made]
        found += rows
    return found


def _position(name: str, environment: Environment) -> Position:
    """Where a tool of the section was asked for."""
    asker = _wanted(environment).get("uv" if name == "uv-python" else name)
    return environment.base.position if asker is None else asker.position


def _resolve_one(
    name: str, version: str, toolchain: Toolchain | None, environment: Environment,
    target: Target, cache: Path, log: Callable[[str], None],
) -> list[LockedPackage]:
    # Each resolver is imported when it is needed: most environments need none.
    if name == "python" or toolchain is None:
        from engine.resolve import pythons

        return pythons.resolve(name, version, _position(name, environment))
    if name == "uv":
        from engine.resolve import uv_release

        return uv_release.resolve(toolchain, target, environment.pip_index, cache, log)
    if name == "codex":
        from engine.resolve import codex

        return codex.resolve(toolchain, cache)
    if name == "go":
        from engine.resolve import golang

        return golang.resolve(toolchain)
    if name == "rust":
        from engine.resolve import rust

        return rust.resolve(toolchain)
    if name == "nodejs":
        from engine.resolve import nodejs

        return nodejs.resolve(toolchain)
    from engine.resolve import pixi

    return pixi.resolve(toolchain)
