"""`install.python`, `install.uv`, `install.r_lang`, …: languages and tools, and what goes into them."""

from __future__ import annotations

import re

from grammar.api.signature import Api, Given, Parameter, Run
from grammar.api.state import State
from grammar.environment import Request, Toolchain
from grammar.errors import SpecError

_VERSION = re.compile(r"\d+(\.\d+)*([.+-]?[A-Za-z0-9]+)*")
_R_NAME = re.compile(r"[A-Za-z][A-Za-z0-9.]*")
_JULIA_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(@\d+(\.\d+)*)?")


def _toolchain(name: str, *options: str) -> Run:
    """A call that asks for the toolchain `name`; `options` are the parameters besides version."""

    def run(state: State, given: Given) -> None:
        state.only_once(f"install.{name}", given.position)
        version = str(given.values.get("version") or "")
        if version and not _VERSION.fullmatch(version):
            raise SpecError(f"'{version}' is no version such as '1.2.3'", given.at("version"))
        chosen = {option: given[option] for option in options if given[option]}
        state.toolchains[name] = Toolchain(
            name,
            version,
            tuple(sorted((k, "true" if v is True else str(v)) for k, v in chosen.items())),
            given.position,
        )

    return run


def _named(pattern: re.Pattern[str], what: str, field: str) -> Run:
    """A call that adds package names to `field` of the state."""

    def run(state: State, given: Given) -> None:
        for text in given["name"]:
            where = given.where("name", text)
            if not pattern.fullmatch(text):
                raise SpecError(f"'{text}' is no name of {what}", where)
            getattr(state, field).setdefault(str(text), Request(str(text), where))

    return run


def _url(field: str) -> Run:
    """A call that sets `field` of the state to an URL."""

    def run(state: State, given: Given) -> None:
        if not re.match(r"(https?|file)://", given["url"]):
            raise SpecError(f"'{given['url']}' is no URL", given.at("url"))
        setattr(state, field, str(given["url"]).rstrip("/"))

    return run


def _rstudio(state: State, given: Given) -> None:
    state.only_once("config.rstudio_server", given.position)
    state.rstudio_server = given.position


_VERSIONED = Parameter("version", "str", "")
_NAMES = Parameter("name", "list[str]", aliases=("names",))

APIS = (
    Api("install.python", (_VERSIONED,), _toolchain("python"), "a Python of its own version"),
    Api("install.conda", (Parameter("use_mamba", "bool", False),), _toolchain("conda", "use_mamba"),
        "conda, or micromamba"),
    Api("install.uv", (Parameter("python_version", "str", ""), _VERSIONED),
        _toolchain("uv", "python_version"), "uv"),
    Api("install.pixi", (Parameter("use_pixi_mirror", "bool", False),
                         Parameter("pypi_index", "str", None), _VERSIONED),
        _toolchain("pixi", "use_pixi_mirror", "pypi_index"), "pixi"),
    Api("install.r_lang", (_VERSIONED,), _toolchain("r"), "R"),
    Api("install.julia", (_VERSIONED,), _toolchain("julia"), "Julia"),
    Api("install.rust", (_VERSIONED,), _toolchain("rust"), "Rust"),
    Api("install.go", (_VERSIONED,), _toolchain("go"), "Go"),
    Api("install.nodejs", (_VERSIONED,), _toolchain("nodejs"), "Node.js and npm"),
    Api("install.codex", (_VERSIONED,), _toolchain("codex"), "the Codex command line"),
    Api("install.r_packages", (_NAMES,), _named(_R_NAME, "an R package", "r_packages"),
        "R packages, from CRAN"),
    Api("install.julia_packages", (_NAMES,),
        _named(_JULIA_NAME, "a Julia package", "julia_packages"), "Julia packages"),
    Api("config.cran_mirror", (Parameter("url"),), _url("cran_mirror"), "the CRAN mirror"),
    Api("config.julia_pkg_server", (Parameter("url"),), _url("julia_pkg_server"),
        "the Julia package server"),
    Api("config.rstudio_server", (), _rstudio, "an RStudio server in the container"),
)
