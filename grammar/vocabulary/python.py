"""`install.python_packages`: requirements, requirements files, and other files that name packages."""

from __future__ import annotations

from pathlib import Path

from grammar.environment import Position, PythonInput
from grammar.errors import Problems, SpecError
from grammar.vocabulary import requirements
from grammar.vocabulary.requirements import Collected
from grammar.vocabulary.signature import Api, Given, Parameter, each
from grammar.vocabulary.state import State

_FILES = {"pyproject": "pyproject", "uv_lock": "uv.lock", "pylock": "pylock"}


def _python(state: State, given: Given) -> None:
    problems = Problems()
    with problems:
        each(
            given,
            "name",
            lambda text, where: _add(state, requirements.entry(text, where, state.directory, state.allowed)),
        )
    if given["requirements"]:
        text = given["requirements"]
        with problems:
            _add(
                state,
                requirements.read(
                    state.directory / text, given.where("requirements", text), state.directory, state.allowed
                ),
            )
    with problems:
        each(given, "local_wheels", lambda text, where: _input(state, "wheel", text, where))
    with problems:
        _project(state, given)
    problems.check()


def _add(state: State, found: Collected) -> None:
    state.python += found.requests
    state.python_constraints += found.constraints
    state.python_options += found.options
    state.python_inputs += found.inputs
    state.read_files += found.read


def _project(state: State, given: Given) -> None:
    files = [name for name in _FILES if given[name]]
    for name in ("extras", "groups"):
        if given[name] and not files:
            raise SpecError(
                f"{name} choose from a project's dependencies: write pyproject=, uv_lock= or pylock=",
                given.at(name),
            )
    # uv.lock holds what pyproject.toml beside it asks for
    if "uv_lock" in files and "pyproject" in files:
        named = (state.directory / given["pyproject"]).resolve()
        if named.parent == (state.directory / given["uv_lock"]).resolve().parent:
            files.remove("pyproject")
    extras, groups = (tuple(sorted({str(x) for x in given[n]})) for n in ("extras", "groups"))
    problems = Problems()
    for name in files:
        with problems:
            _input(state, _FILES[name], given[name], given.where(name, given[name]), extras, groups)
    problems.check()


def _input(
    state: State,
    kind: str,
    path: str,
    position: Position,
    extras: tuple[str, ...] = (),
    groups: tuple[str, ...] = (),
) -> None:
    """A file that says which packages: read when it is locked, so it must be there."""
    found = state.file(path, position)
    if kind == "wheel" and found.suffix != ".whl":
        raise SpecError(f"'{path}' is not a wheel: the name of one ends in .whl", position)
    if not found.is_file():
        reason = "a directory, not a file" if found.is_dir() else "no such file"
        raise SpecError(f"{reason}: {found}", position)
    state.read_files.append(str(found.resolve()))
    state.python_inputs.append(
        PythonInput(kind, str(path), position, str(state.directory.absolute()), extras, groups)
    )
    if kind == "uv.lock":
        project = state.file(str(Path(path).parent / "pyproject.toml"), position)
        if found.name != "uv.lock" or not project.is_file():
            raise SpecError(f"'{path}': uv reads it as uv.lock beside a pyproject.toml", position)
        state.read_files.append(str(project.resolve()))


APIS = (
    Api(
        "install.python_packages",
        (
            Parameter(
                "name",
                "list[str]",
                (),
                ("names",),
                "PEP 508 requirements; an entry may hold "
                "pip's --index-url, --extra-index-url and --find-links",
            ),
            Parameter("requirements", "str", None, about="a requirements file of pip's format"),
            Parameter("local_wheels", "list[str]", (), about="wheels of the project's directory"),
            Parameter("pyproject", "str", None, about="a pyproject.toml: its dependencies, not itself"),
            Parameter("uv_lock", "str", None, about="a uv.lock, taken as it is"),
            Parameter("pylock", "str", None, about="a pylock.toml (PEP 751), taken as it is"),
            Parameter("extras", "list[str]", (), about="optional dependencies of the project"),
            Parameter("groups", "list[str]", (), about="dependency groups (PEP 735)"),
        ),
        _python,
        "Python packages, resolved by uv and locked with their hashes.",
        differs="What cannot be locked (git URLs, editable installs, directories) is refused; an "
        "index beside a requirement is asked besides the others, not instead of them. All "
        "that name a project's own files are new.",
    ),
)
