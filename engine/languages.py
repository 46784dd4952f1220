"""R, Julia and RStudio: what of them an environment asks for, and what that implies.

`base(language="r4.2")` and `install.r_lang(version="4.2")` mean the same; so for Julia. Nothing
here asks a network; `engine.resolve.languages` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.errors import UsageError
from grammar.environment import Environment, Position, Request, Toolchain

# What a user calls R: the interpreter and the packages that every R distribution holds.
R_PACKAGES = ("r-base-core", "r-recommended")
# Compilers and headers, for R packages that hold C, C++ or Fortran.
R_COMPILERS = "r-base-dev"
RSTUDIO = "rstudio-server"
RSTUDIO_PORT = 8787
TOOLCHAINS = ("r", "julia")


def r(environment: Environment) -> Toolchain | None:
    """The R asked for, or None. Raises UsageError for two that differ."""
    return _wanted(environment, "r", "install.r_lang")


def julia(environment: Environment) -> Toolchain | None:
    """The Julia asked for, or None. Raises UsageError for two that differ."""
    return _wanted(environment, "julia", "install.julia")


def _wanted(environment: Environment, name: str, function: str) -> Toolchain | None:
    base = environment.base
    match = re.fullmatch(rf"{name}((?:\d+(?:\.\d+)*)?)", base.language)
    named = next((t for t in environment.toolchains if t.name == name), None)
    if match is None:
        return named
    if named is not None and named.version and match[1] not in ("", named.version):
        raise UsageError(
            f"{named.position}: {function}(version=\"{named.version}\") and "
            f"base(language=\"{base.language}\") differ; leave one out"
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
            environment.r_packages, mirror=environment.cran_mirror,
            version=asked.version if asked else "",
        )
    if (julia_asked := julia(environment)) is not None:
        found["julia"] = _texts(
            environment.julia_packages, server=environment.julia_pkg_server,
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


def check(environment: Environment) -> None:
    """Raise UsageError, naming every call that needs R or Julia where there is none."""
    problems = [
        f"{position}: {what} need{verb} {language}; write base(language=\"{short}\") or {call}()"
        for position, what, verb, language, short, call in _lacking(environment)
    ]
    if problems:
        raise UsageError("\n".join(problems))


def _lacking(environment: Environment) -> Iterator[tuple[Position, str, str, str, str, str]]:
    if r(environment) is None:
        for request in environment.r_packages[:1]:
            yield request.position, "R packages", "", "R", "r", "install.r_lang"
        if environment.rstudio_server is not None:
            yield (environment.rstudio_server, "an RStudio server", "s", "R", "r",
                   "install.r_lang")
    if julia(environment) is None:
        for request in environment.julia_packages[:1]:
            yield request.position, "Julia packages", "", "Julia", "julia", "install.julia"
