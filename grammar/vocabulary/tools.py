"""`install.python`, `install.uv`, `install.r_lang`, …: languages and tools, and what goes into them."""

from __future__ import annotations

import re

from grammar.environment import Position, Request, Toolchain
from grammar.errors import SpecError
from grammar.vocabulary.signature import Api, Given, Parameter, Run, each
from grammar.vocabulary.state import State

TOOLCHAINS: set[str] = set()  # all that some call asks for, as an Environment names them
_VERSION = re.compile(r"\d[A-Za-z0-9]*([.+-][A-Za-z0-9]+)*")
_R_NAME = re.compile(r"[A-Za-z][A-Za-z0-9.]*")
_JULIA_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(@\d+(\.\d+)*)?")


def toolchain(name: str, *options: str, words: tuple[str, ...] = ()) -> Run:
    """A call that asks for the toolchain `name`; `options` are the parameters besides version,
    `words` the versions that are no numbers."""
    function = "r_lang" if name == "r" else name
    TOOLCHAINS.add(name)

    def run(state: State, given: Given) -> None:
        for field in ("version", "python_version"):
            value = str(given.values.get(field) or "")
            if value and value not in words and not _VERSION.fullmatch(value):
                also = "".join(f" or '{word}'" for word in words)
                raise SpecError(f"'{value}' is not a valid version, such as '1.2.3'{also}", given.at(field))
            if value.startswith("2") and (name, field) in (("python", "version"), ("uv", "python_version")):
                raise SpecError('Python is 3, such as "3.11"', given.at(field))
        chosen = {option: given[option] for option in options if given[option]}
        made = Toolchain(
            name,
            str(given.values.get("version") or ""),
            tuple(sorted((k, "true" if v is True else str(v)) for k, v in chosen.items())),
            given.position,
        )
        state.only_once(f"install.{function}", given.position, (made.version, made.options))
        state.toolchains[name] = made

    return run


def _named(pattern: re.Pattern[str], what: str, field: str) -> Run:
    """A call that adds package names to `field` of the state."""

    def run(state: State, given: Given) -> None:
        def one(text: str, where: Position) -> None:
            if not pattern.fullmatch(text):
                raise SpecError(f"'{text}' is not a valid name of {what}", where)
            getattr(state, field).setdefault(text, Request(text, where))

        each(given, "name", one)

    return run


def _url(field: str) -> Run:
    """A call that sets `field` of the state to an URL."""

    def run(state: State, given: Given) -> None:
        if not re.match(r"(https?|file)://", given["url"]):
            raise SpecError(f"'{given['url']}' is not a valid URL", given.at("url"))
        setattr(state, field, str(given["url"]).rstrip("/"))

    return run


def _rstudio(state: State, given: Given) -> None:
    state.rstudio_server = given.position


_VERSIONED = Parameter("version", "str", "", about='such as "1.2.3" [the current one]')
_NAMES = Parameter("name", "list[str]", aliases=("names",), about="names")


def _carried(*words: str) -> Parameter:
    """The version of a tool that the distribution carries."""
    named = "".join(f', "{word}"' for word in words)
    return Parameter("version", "str", "", about=f'such as "1.2" or "1.2.3"{named} [the distribution\'s]')


# Versions that are no numbers.
_RUST, _GO, _NODEJS = ("stable", "beta", "nightly"), ("latest",), ("latest", "lts")
_CARRIED = (
    "Without a version, or with the one that the distribution carries, it is the "
    "distribution's own; every other is upstream's release."
)

APIS = (
    Api(
        "install.python",
        (_carried(),),
        toolchain("python"),
        "A Python: the distribution's own, or a build of another version below /opt/python.",
        differs="Without a version it is the distribution's, not 3.11. With `install.conda` it is "
        "conda's, as there, and so is every package for it.",
    ),
    Api(
        "install.conda",
        (Parameter("use_mamba", "bool", False, about="micromamba instead"),),
        toolchain("conda", "use_mamba"),
        "conda, or micromamba, in /opt/conda; the environment's Python is conda's then.",
        differs="There is no environment `envd` inside: everything is in the one prefix.",
    ),
    Api(
        "install.uv",
        (Parameter("python_version", "str", "", about="a Python that it manages [none]"), _VERSIONED),
        toolchain("uv", "python_version"),
        "uv, from the Python index.",
        differs="It brings no Python unless one is asked for; the distribution's own is used where "
        "its version fits. Other Pythons may be used beside it.",
    ),
    Api(
        "install.pixi",
        (
            Parameter("use_pixi_mirror", "bool", False, about="take packages from pixi's mirror"),
            Parameter("pypi_index", "str", None, about="a Python index for it"),
            _VERSIONED,
        ),
        toolchain("pixi", "use_pixi_mirror", "pypi_index"),
        "pixi.",
    ),
    Api(
        "install.r_lang",
        (
            Parameter(
                "version", "str", "", about='such as "4.2", of those that the apt sources carry [the newest]'
            ),
        ),
        toolchain("r"),
        "R with its recommended packages, from Debian.",
        differs="It is the distribution's, or config.apt_source's, not always the one of CRAN's own "
        "apt repository.",
    ),
    Api(
        "install.julia",
        (_VERSIONED,),
        toolchain("julia"),
        "Julia: its project's own release.",
        differs="The newest stable one, not always the same.",
    ),
    Api(
        "install.rust",
        (_carried(*_RUST),),
        toolchain("rust", words=_RUST),
        "Rust and cargo, with a linker.",
        differs=f"{_CARRIED} There is no rustup.",
    ),
    Api("install.go", (_carried(*_GO),), toolchain("go", words=_GO), "Go.", differs=_CARRIED),
    Api(
        "install.nodejs",
        (_carried(*_NODEJS),),
        toolchain("nodejs", words=_NODEJS),
        "Node.js and npm.",
        differs=_CARRIED,
    ),
    Api(
        "install.codex",
        (_VERSIONED,),
        toolchain("codex"),
        "The Codex command line: the program of its npm package, without Node.js.",
    ),
    Api(
        "install.r_packages",
        (_NAMES,),
        _named(_R_NAME, "an R package", "r_packages"),
        "R packages and all that they need, from CRAN, each built from source into a layer of its "
        "own. What they need of the system is named with install.apt_packages.",
        differs="They are locked: version and hash of each.",
    ),
    Api(
        "install.julia_packages",
        (_NAMES,),
        _named(_JULIA_NAME, "a Julia package", "julia_packages"),
        'Julia packages ("Name" or "Name@1.2") and all that they need, with their artifacts.',
        differs="They are locked, and come after the user's own in Julia's search paths.",
    ),
    Api(
        "config.cran_mirror",
        (Parameter("url", about="a mirror of CRAN"),),
        _url("cran_mirror"),
        "Where R packages are.",
    ),
    Api(
        "config.julia_pkg_server",
        (Parameter("url", about="a package server"),),
        _url("julia_pkg_server"),
        "Where Julia packages are.",
    ),
    Api(
        "config.rstudio_server",
        (),
        _rstudio,
        "An RStudio server that starts with the container, on port 8787, with a random password.",
    ),
)
