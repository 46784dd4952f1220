"""`install.*`: packages."""

from __future__ import annotations

import re

from grammar.api import requirements
from grammar.api.requirements import requirement
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


def _python(state: State, given: Given) -> None:
    for text in given["name"]:
        state.python.append(requirement(str(text), given.where("name", text)))
    if given["requirements"] is not None:
        text = given["requirements"]
        found = requirements.read(
            state.directory / text, given.where("requirements", text), state.directory
        )
        state.python += found.requests
        state.python_constraints += found.constraints
        state.python_options += found.options
        state.python_inputs += found.inputs
        state.read_files += found.read
    for text in given["local_wheels"]:
        _input(state, "wheel", text, given.where("local_wheels", text))
    files = [name for name in _PROJECT_FILES if given[name] is not None]
    for name in ("extras", "groups"):
        if given[name] and not files:
            raise SpecError(
                f"{name} choose from a project's dependencies: write pyproject=, uv_lock= or pylock=",
                given.at(name),
            )
    # uv.lock holds what pyproject.toml beside it asks for
    if "uv_lock" in files and "pyproject" in files:
        files.remove("pyproject")
    extras, groups = (tuple(sorted({str(x) for x in given[n]})) for n in ("extras", "groups"))
    for name in files:
        where = given.where(name, given[name])
        _input(state, _PROJECT_FILES[name], given[name], where, extras, groups)


_PROJECT_FILES = {"pyproject": "pyproject", "uv_lock": "uv.lock", "pylock": "pylock"}


def _input(
    state: State, kind: str, path: str, position: Position, extras: tuple[str, ...] = (),
    groups: tuple[str, ...] = (),
) -> None:
    """A file that says which packages: read when it is locked, so it must be there."""
    found = state.directory / path
    if not found.is_file():
        raise SpecError(f"no such file: {found}", position)
    if kind == "wheel" and found.suffix != ".whl":
        raise SpecError(f"'{path}' is no wheel: its name ends in .whl", position)
    state.read_files.append(str(found.resolve()))
    state.python_inputs.append(
        PythonInput(kind, str(path), position, str(state.directory.absolute()), extras, groups)
    )
    if kind == "uv.lock":
        project = found.parent / "pyproject.toml"
        if found.name != "uv.lock" or not project.is_file():
            raise SpecError(f"'{path}': uv reads it as uv.lock beside a pyproject.toml", position)
        state.read_files.append(str(project.resolve()))


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
         Parameter("uv_lock", "str", None), Parameter("pylock", "str", None),
         Parameter("extras", "list[str]", ()), Parameter("groups", "list[str]", ())),
        _python, "Python packages: PEP 508 requirements, a requirements file, wheels of the "
        "project's, or a project's dependencies",
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
