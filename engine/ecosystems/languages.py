"""R, Julia and RStudio: what of them an environment asks for, and what that implies.

`base(language="r4.2")` and `install.r_lang(version="4.2")` mean the same; so for Julia. Nothing
here asks a network; `engine.sections.r`, `julia` and `rstudio` do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace

from engine.core.urls import redacted
from engine.ecosystems.inside import RSTUDIO_PORT as RSTUDIO_PORT
from engine.lock.packages import LockedPackage
from grammar.environment import Environment, Toolchain
from grammar.errors import SpecError

# What a user calls R: the interpreter and the packages that every R distribution holds.
R_PACKAGES = ("r-base-core", "r-recommended")
# Compilers and headers, for R packages that hold C, C++ or Fortran.
R_COMPILERS = "r-base-dev"
RSTUDIO = "rstudio-server"


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
            f'{function}(version="{named.version}") and base(language="{base.language}") '
            "differ; leave one out",
            named.position,
        )
    if named is not None and named.version:
        return named
    return Toolchain(name, match[1], (), base.position)


def packages_for_r(environment: Environment) -> tuple[str, ...]:
    """The Debian packages that R needs beyond the base. "r-base-core=4.2" stands for whichever
    Debian version that is, see `engine.ecosystems.r.resolver`."""
    asked = r(environment)
    if asked is None:
        return ()
    core, *others = R_PACKAGES
    return (f"{core}={asked.version}" if asked.version else core, *others)


def cran_mirror(environment: Environment) -> str:
    """The CRAN-like repository's URL: config.cran_mirror's, ENVD_CRAN_MIRROR, or CRAN's own."""
    given = environment.cran_mirror or os.environ.get("ENVD_CRAN_MIRROR")
    return (given or "https://cloud.r-project.org").rstrip("/")


def julia_server(environment: Environment) -> str:
    """The package server's URL: config.julia_pkg_server's, ENVD_JULIA_PKG_SERVER, or Julia's own."""
    given = environment.julia_pkg_server or os.environ.get("ENVD_JULIA_PKG_SERVER")
    return (given or "https://pkg.julialang.org").rstrip("/")


def without_logins(packages: Iterable[LockedPackage]) -> list[LockedPackage]:
    """`packages` as a lock has them: a login is this machine's, and put back when a plan is made."""
    return [replace(p, file=replace(p.file, url=redacted(p.file.url))) for p in packages]


def cran_archive(name: str, url: str) -> str:
    """Where CRAN moves a package's file when a newer version comes."""
    contrib, _, file = url.rpartition("/")
    return f"{contrib}/Archive/{name}/{file}"
