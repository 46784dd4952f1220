"""`install.*` of Debian packages, CUDA and VS Code extensions."""

from __future__ import annotations

import re

from grammar.environment import Cuda, Position, Request
from grammar.errors import Problems, SpecError
from grammar.vocabulary.signature import Api, Given, Parameter, each
from grammar.vocabulary.state import State

_EXTENSION = re.compile(r"[A-Za-z0-9][\w-]*\.[A-Za-z0-9][\w.-]*?(@[0-9][\w.+-]*)?")
# tensorchord/envd writes a version after the last dash (pkg/editor/vscode, ParsePlugin).
_DASHED = re.compile(r"([^@]+\.[^@]+)-(\d[^-@]*)")
_APT = re.compile(r"[a-z0-9][a-z0-9+.-]*(:[a-z0-9]+)?(=[\w.+:~-]+)?")


def _apt(state: State, given: Given) -> None:
    def one(text: str, where: Position) -> None:
        if not _APT.fullmatch(text):
            lower = f"; they are lower-case: '{text.lower()}'" if _APT.fullmatch(text.lower()) else ""
            raise SpecError(f"'{text}' is not a valid Debian package name{lower}", where)
        state.apt.setdefault(text, Request(text, where))

    each(given, "name", one)


def _cuda(state: State, given: Given) -> None:
    problems = Problems()
    version, cudnn = given["version"], given["cudnn"] or None
    with problems:
        if not re.fullmatch(r"\d+\.\d+(\.\d+)?", version):
            raise SpecError(f"'{version}' is not a valid CUDA version, such as '12.9'", given.at("version"))
    with problems:
        if cudnn is not None and not re.fullmatch(r"\d+(\.\d+)*", cudnn):
            raise SpecError(f"'{cudnn}' is not a valid cuDNN version, such as '9'", given.at("cudnn"))
    with problems:
        if given["source"] not in SOURCES:
            raise SpecError("source must be 'auto', 'pypi' or 'apt'", given.at("source"))
    problems.check()
    made = Cuda(
        str(version),
        None if cudnn is None else str(cudnn),
        tuple(str(c) for c in given["components"]),
        str(given["source"]),
        given.at("version"),
    )
    state.only_once("install.cuda", given.position, (made.version, made.cudnn, made.components, made.source))
    state.cuda = made


def _vscode(state: State, given: Given) -> None:
    def one(text: str, where: Position) -> None:
        if match := _DASHED.fullmatch(text):
            text = f"{match[1]}@{match[2]}"
        if not _EXTENSION.fullmatch(text):
            raise SpecError(
                f"'{text}' is not a valid extension: write 'publisher.name' or 'publisher.name@1.2.3'", where
            )
        state.vscode.setdefault(text.lower(), Request(text, where))

    each(given, "name", one)


SOURCES = ("auto", "pypi", "apt")

APIS = (
    Api(
        "install.apt_packages",
        (Parameter("name", "list[str]", (), ("names",), "names; NAME=VERSION pins one"),),
        _apt,
        "Debian packages, with all that they depend on.",
    ),
    Api(
        "install.system_packages",
        (Parameter("name", "list[str]", (), ("names",), "as of install.apt_packages"),),
        _apt,
        "The same as `install.apt_packages`.",
    ),
    Api(
        "install.cuda",
        (
            Parameter("version", about='such as "12.9"'),
            Parameter("cudnn", "str", None, about='such as "9"'),
            Parameter(
                "components",
                "list[str]",
                (),
                about='parts of the toolkit, or "runtime" or "all" [cudart, nvrtc, '
                "nvjitlink; for CUDA 11 what TensorFlow of that time loads]",
            ),
            Parameter(
                "source",
                "str",
                "auto",
                about='"pypi" (NVIDIA\'s wheels), "apt" (NVIDIA\'s repository), or the first of '
                "these that has that version",
                choices=SOURCES,
            ),
        ),
        _cuda,
        "A CUDA toolkit, and cuDNN.",
        differs="Adds layers to the base instead of replacing it with an nvidia/cuda image; cuDNN "
        "is only there when it is asked for; from CUDA 12 on without the libraries that "
        'Python packages bring themselves (components=["runtime"] adds them); components '
        "and source are new.",
    ),
    Api(
        "install.vscode_extensions",
        (
            Parameter(
                "name",
                "list[str]",
                aliases=("names",),
                about='"publisher.name", with "@1.2.3" or "-1.2.3" for one version',
            ),
        ),
        _vscode,
        "VS Code extensions, from an Open VSX-compatible gallery.",
    ),
)
