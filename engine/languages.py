"""R, Julia and RStudio: what of them an environment asks for, and what that implies.

`base(language="r4.2")` and `install.r_lang(version="4.2")` mean the same; so for Julia. Nothing
here asks a network; `engine.resolve.languages` does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from engine.fetch import shown
from engine.lock import Lock
from engine.origins import Origins
from grammar.environment import Environment, Request, Toolchain
from grammar.errors import SpecError, together

# What a user calls R: the interpreter and the packages that every R distribution holds.
R_PACKAGES = ("r-base-core", "r-recommended")
# Compilers and headers, for R packages that hold C, C++ or Fortran.
R_COMPILERS = "r-base-dev"
RSTUDIO = "rstudio-server"
RSTUDIO_PORT = 8787
TOOLCHAINS = ("r", "julia")


def r(environment: Environment) -> Toolchain | None:
    """The R asked for, or None. Raises SpecError for two that differ."""
    return _wanted(environment, "r", "install.r_lang")


def julia(environment: Environment) -> Toolchain | None:
    """The Julia asked for, or None. Raises SpecError for two that differ."""
    return _wanted(environment, "julia", "install.julia")


def _wanted(environment: Environment, name: str, function: str) -> Toolchain | None:
    base = environment.base
    match = re.fullmatch(rf"{name}((?:\d+(?:\.\d+)*)?)", base.language)
    named = next((t for t in environment.toolchains if t.name == name), None)
    if match is None:
        return named
    if named is not None and named.version and match[1] not in ("", named.version):
        raise SpecError(
            f"{function}(version=\"{named.version}\") and base(language=\"{base.language}\") "
            "differ; leave one out", named.position,
        )
    if named is not None and named.version:
        return named
    return Toolchain(name, match[1], (), base.position)


def packages_for_r(environment: Environment) -> tuple[str, ...]:
    """The Debian packages that R needs beyond the base. "r-base-core=4.2" stands for whichever
    Debian version that is, see `engine.resolve.r`."""
    asked = r(environment)
    if asked is None:
        return ()
    core, *others = R_PACKAGES
    return (f"{core}={asked.version}" if asked.version else core, *others)


def requests(environment: Environment) -> dict[str, tuple[str, ...]]:
    """The request strings of the sections "r", "julia" and "rstudio" of a lock."""
    found: dict[str, tuple[str, ...]] = {}
    if environment.r_packages:
        asked = r(environment)
        found["r"] = _texts(
            environment.r_packages, mirror=shown(environment.cran_mirror or ""),
            version=asked.version if asked else "",
        )
    if (julia_asked := julia(environment)) is not None:
        found["julia"] = _texts(
            environment.julia_packages, server=shown(environment.julia_pkg_server or ""),
            version=julia_asked.version or "stable",
        )
    if environment.rstudio_server is not None:
        found["rstudio"] = (RSTUDIO,)
    return found


def _texts(named: tuple[Request, ...], **settings: str | None) -> tuple[str, ...]:
    return (
        *sorted({request.text for request in named}),
        *(f"{key}={value}" for key, value in sorted(settings.items()) if value),
    )


def cran_mirror(environment: Environment) -> str:
    """The CRAN-like repository's URL: config.cran_mirror's, ENVD_CRAN_MIRROR, or CRAN's own."""
    given = environment.cran_mirror or os.environ.get("ENVD_CRAN_MIRROR")
    return (given or "https://cloud.r-project.org").rstrip("/")


def julia_server(environment: Environment) -> str:
    """The package server's URL: config.julia_pkg_server's, ENVD_JULIA_PKG_SERVER, or Julia's own."""
    given = environment.julia_pkg_server or os.environ.get("ENVD_JULIA_PKG_SERVER")
    return (given or "https://pkg.julialang.org").rstrip("/")


def located(environment: Environment, lock: Lock, directory: Path) -> Lock:
    """The lock with logins in the URLs of its sections here, which it does not hold itself."""
    julia_sites = [julia_server(environment), os.environ.get("ENVD_JULIA_DOWNLOADS", "")]
    rstudio_site = os.environ.get("ENVD_RSTUDIO_SERVER_DEB", "")
    return replace(
        lock, r=Origins(directory, [cran_mirror(environment)]).packages(lock.r),
        julia=Origins(directory, julia_sites).packages(lock.julia),
        rstudio=Origins(directory, [rstudio_site]).packages(lock.rstudio),
    )


def check(environment: Environment) -> None:
    """Raise SpecErrors for every call that needs R or Julia where there is none."""
    problems = list(_lacking(environment))
    if problems:
        raise together(problems)


def _lacking(environment: Environment) -> Iterator[SpecError]:
    if r(environment) is None:
        advice = "R; write base(language=\"r\") or install.r_lang()"
        for request in environment.r_packages[:1]:
            yield SpecError(f"R packages need {advice}", request.position)
        if environment.rstudio_server is not None:
            yield SpecError(f"an RStudio server needs {advice}", environment.rstudio_server)
    if julia(environment) is None:
        for request in environment.julia_packages[:1]:
            yield SpecError(
                "Julia packages need Julia; write base(language=\"julia\") or install.julia()",
                request.position,
            )


def cran_archive(name: str, url: str) -> str:
    """Where CRAN moves a package's file when a newer version comes."""
    contrib, _, file = url.rpartition("/")
    return f"{contrib}/Archive/{name}/{file}"
