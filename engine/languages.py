"""R and Julia: which of them an environment asks for, and what that implies.

`base(language="r4.2")` and `install.r_lang(version="4.2")` mean the same; so for Julia.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.errors import UsageError
from grammar.environment import Environment, Position, Toolchain

# What a user calls R: the interpreter and the packages that every R distribution holds.
R_PACKAGES = ("r-base-core", "r-recommended")
# Compilers and headers, for R packages that hold C, C++ or Fortran.
R_COMPILERS = "r-base-dev"
RSTUDIO_PORT = 8787


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
    """The Debian packages that R needs beyond the base; see `engine.resolve.r` for its version."""
    return () if r(environment) is None else R_PACKAGES


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
