"""`install.*`: packages."""

from __future__ import annotations

import re
from pathlib import Path

from grammar.api.signature import Api, Given, Parameter
from grammar.api.state import State
from grammar.environment import Cuda, Position, PythonInput, Request
from grammar.errors import SpecError

_NAMES = Parameter("name", "list[str]", aliases=("names",))
_EXTENSION = re.compile(r"[A-Za-z0-9][\w-]*\.[A-Za-z0-9][\w.-]*?(@[0-9][\w.+-]*)?")
_APT = re.compile(r"[a-z0-9][a-z0-9+.-]*(:[a-z0-9]+)?(=[\w.+:~-]+)?")


def _apt(state: State, given: Given) -> None:
    for text in given["name"]:
        where = given.where("name", text)
        if not _APT.fullmatch(text):
            raise SpecError(f"'{text}' is no Debian package name", where)
        state.apt.setdefault(str(text), Request(str(text), where))


def requirement(text: str, position: Position) -> Request:
    """A PEP 508 requirement. Raises SpecError."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).split("\n")[0]
        raise SpecError(f"'{text}' is no Python requirement: {reason}", position) from None
    return Request(text, position)


def _python(state: State, given: Given) -> None:
    for text in given["name"]:
        state.python.append(requirement(str(text), given.where("name", text)))
    if given["requirements"] is not None:
        path = state.directory / given["requirements"]
        _requirements(state, path, given.where("requirements", given["requirements"]), ())
    for text in given["local_wheels"]:
        _input(state, "wheel", text, given.where("local_wheels", text))
    for name, kind in _PROJECT_FILES.items():
        if given[name] is not None:
            _input(state, kind, given[name], given.where(name, given[name]))


_PROJECT_FILES = {"pyproject": "pyproject", "uv_lock": "uv.lock", "pylock": "pylock"}


def _input(state: State, kind: str, path: str, position: Position) -> None:
    """A file that says which packages: read when it is locked, so it must be there."""
    found = state.directory / path
    if not found.is_file():
        raise SpecError(f"no such file: {found}", position)
    state.read_files.append(str(found.resolve()))
    state.python_inputs.append(PythonInput(kind, str(path), position))


def _requirements(
    state: State, path: Path, asked: Position, parents: tuple[Path, ...]
) -> None:
    """A requirements file (pip's format), without options that a lock makes meaningless."""
    if path in parents:
        raise SpecError(f"{path} includes itself", asked)
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise SpecError(f"cannot read {path}: {reason}", asked) from None
    state.read_files.append(str(path.resolve()))
    joined = re.sub(r"\\\r?\n", lambda m: " " * len(m[0]), text)
    for number, line in enumerate(joined.splitlines(), start=1):
        content = re.sub(r"(^|\s)#.*$", "", line).strip()
        if not content:
            continue
        where = Position(str(path), number, line.index(content[0]) + 1)
        if match := re.fullmatch(r"(?:-r|--requirement)[ =]?(\S+)", content):
            _requirements(state, path.parent / match[1], where, (*parents, path))
        elif content.startswith("-"):
            option = content.split()[0]
            raise SpecError(
                f"option '{option}' is not supported in requirements files; write it in "
                "build.envd (config.pip_index)", where,
            ).with_source(text)
        else:
            content = re.sub(r"\s+--hash=\S+", "", content)
            try:
                state.python.append(requirement(content, where))
            except SpecError as error:
                raise error.with_source(text) from None


def _conda_packages(state: State, given: Given) -> None:
    if given["env_file"] is not None:
        raise SpecError("env_file is not supported yet; list the packages", given.at("env_file"))
    for text in given["name"]:
        state.conda.append(Request(str(text), given.where("name", text)))
    state.conda_channels.extend(str(c) for c in given["channel"])


def _cuda(state: State, given: Given) -> None:
    state.only_once("install.cuda", given.position)
    version = given["version"]
    if not re.fullmatch(r"\d+\.\d+(\.\d+)?", version):
        raise SpecError(f"'{version}' is no CUDA version such as '12.9'", given.at("version"))
    cudnn = given["cudnn"]
    if cudnn is not None and not re.fullmatch(r"\d+(\.\d+)*", cudnn):
        raise SpecError(f"'{cudnn}' is no cuDNN version such as '9'", given.at("cudnn"))
    if given["source"] not in ("pypi", "apt"):
        raise SpecError("source is 'pypi' or 'apt'", given.at("source"))
    state.cuda = Cuda(
        str(version), None if cudnn is None else str(cudnn),
        tuple(str(c) for c in given["components"]), str(given["source"]), given.at("version"),
    )


def _vscode(state: State, given: Given) -> None:
    for text in given["name"]:
        where = given.where("name", text)
        if not _EXTENSION.fullmatch(text):
            raise SpecError(
                f"'{text}' is no extension: write 'publisher.name' or 'publisher.name@1.2.3'", where
            )
        state.vscode.setdefault(str(text).lower(), Request(str(text), where))


APIS = (
    Api("install.apt_packages", (_NAMES,), _apt, "Debian packages"),
    Api("install.system_packages", (_NAMES,), _apt, "the same as install.apt_packages"),
    Api(
        "install.python_packages",
        (Parameter("name", "list[str]", (), ("names",)), Parameter("requirements", "str", None),
         Parameter("local_wheels", "list[str]", ()), Parameter("pyproject", "str", None),
         Parameter("uv_lock", "str", None), Parameter("pylock", "str", None)),
        _python, "Python packages, as PEP 508 requirements or a requirements file",
    ),
    Api(
        "install.conda_packages",
        (Parameter("name", "list[str]", (), ("names",)), Parameter("channel", "list[str]", ()),
         Parameter("env_file", "str", None)),
        _conda_packages, "conda packages, as MatchSpecs",
    ),
    Api(
        "install.cuda",
        (Parameter("version"), Parameter("cudnn", "str", None),
         Parameter("components", "list[str]", ()), Parameter("source", "str", "pypi")),
        _cuda, "a CUDA toolkit, and cuDNN",
    ),
    Api("install.vscode_extensions", (_NAMES,), _vscode, "VS Code extensions"),
)
