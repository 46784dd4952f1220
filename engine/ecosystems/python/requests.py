"""What Python packages an environment wants, and the strings by which a lock remembers that."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from packaging.dependency_groups import resolve_dependency_groups
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from engine.core.urls import redacted
from engine.errors import UsageError
from grammar.environment import PipIndex, Position, PythonInput, PythonOption, Request

# What of a pyproject.toml says which packages: the rest of it may change freely.
_PROJECT_KEYS = ("dependencies", "optional-dependencies", "requires-python", "dynamic")


@dataclass(frozen=True)
class Wanted:
    """Requirements, files of the project's, and where packages come from."""

    requests: tuple[Request, ...] = ()
    inputs: tuple[PythonInput, ...] = ()
    constraints: tuple[Request, ...] = ()
    options: tuple[PythonOption, ...] = ()
    index: PipIndex | None = None

    def __bool__(self) -> bool:
        return bool(self.requests or self.inputs)

    def texts(self) -> tuple[str, ...]:
        """The request strings. Files are in them by their hash, indexes without their logins.

        Raises UsageError when a file cannot be read.
        """
        if not self:
            return ()
        found = sorted({_text(r) for r in self.requests})
        found += sorted({f"constraint={_text(r)}" for r in self.constraints})
        for wanted in self.inputs:
            found.append(_fingerprint(wanted))
            found += [f"extra:{wanted.path}={name}" for name in wanted.extras]
            found += [f"group:{wanted.path}={name}" for name in wanted.groups]
        if self.index is not None:
            if self.index.url:
                found.append(f"index={redacted(self.index.url)}")
            if self.index.extra_url:
                found.append(f"extra_index={redacted(self.index.extra_url)}")
        found += [f"option:{o.name}={_option(o)}" for o in self.options]
        return tuple(found)


def _text(request: Request) -> str:
    return " ".join((request.text, *(f"--hash={h}" for h in request.hashes)))


def _option(option: PythonOption) -> str:
    if "://" in option.value:
        return redacted(option.value)
    # A directory's own path differs from checkout to checkout.
    return Path(option.value).name if option.name == "find-links" else option.value


def path_of(wanted: PythonInput) -> Path:
    """Where an input lies on this machine."""
    return Path(wanted.directory) / wanted.path


def _fingerprint(wanted: PythonInput) -> str:
    if wanted.kind == "pyproject":
        content = json.dumps(dependency_tables(wanted), sort_keys=True).encode()
    else:
        content = _read(wanted)
        if wanted.kind == "uv.lock":
            # Whether it still fits pyproject.toml is a part of what it means.
            content += json.dumps(dependency_tables(beside(wanted)), sort_keys=True).encode()
    return f"file:{wanted.path}=sha256:{hashlib.sha256(content).hexdigest()}"


def beside(lock: PythonInput) -> PythonInput:
    """The pyproject.toml that a uv.lock belongs to, with the same extras and groups."""
    return replace(lock, kind="pyproject", path=str(Path(lock.path).parent / "pyproject.toml"))


def _read(wanted: PythonInput) -> bytes:
    path = path_of(wanted)
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", position=wanted.position) from error


def document(wanted: PythonInput) -> dict[str, Any]:
    """An input that is TOML, parsed. Raises UsageError."""
    try:
        return tomllib.loads(_read(wanted).decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _fault(wanted, f"not valid TOML: {error}") from error


def _fault(wanted: PythonInput, message: str, advice: str = "") -> UsageError:
    """What is wrong with an input: said at the place in the spec that names it."""
    return UsageError(message, position=wanted.position, subject=str(path_of(wanted)), advice=advice)


def dependency_tables(wanted: PythonInput) -> dict[str, Any]:
    """The parts of a pyproject.toml that say which packages it needs. Raises UsageError."""
    content = document(wanted)
    project = _table(content, "project", wanted)
    uv = _table(content, "tool", wanted).get("uv", {})
    tables = {
        "groups": content.get("dependency-groups", {}),
        "uv": uv,
        **{key: project[key] for key in _PROJECT_KEYS if key in project},
    }
    return json.loads(json.dumps(tables, default=str))  # type: ignore[no-any-return]


def project_requests(wanted: PythonInput) -> Iterator[Request]:
    """The dependencies of a pyproject.toml that are wanted, each with its place in that file.

    Raises UsageError for a file that says none, lacks an extra or a group, or is malformed.
    """
    content = document(wanted)
    if "project" not in content and not wanted.groups:
        poetry = "poetry" in _table(content, "tool", wanted)
        advice = "export Poetry's with `poetry export` and name that file in requirements" if poetry else ""
        raise _fault(wanted, "it has no [project] table (PEP 621) with dependencies", advice)
    project = _table(content, "project", wanted)
    if "dependencies" in _texts(project, "dynamic", wanted):
        raise _fault(
            wanted, "its dependencies are dynamic", "name the file that they come from in requirements"
        )
    texts = _texts(project, "dependencies", wanted)
    optional = {_normal(k): k for k in _table(project, "optional-dependencies", wanted)}
    for extra in wanted.extras:
        if _normal(extra) not in optional:
            raise _fault(wanted, f"it has no extra '{extra}'", _known(optional))
        texts += _texts(project["optional-dependencies"], optional[_normal(extra)], wanted)
    groups = _table(content, "dependency-groups", wanted)
    for group in wanted.groups:
        if _normal(group) not in {_normal(g) for g in groups}:
            raise _fault(wanted, f"it has no dependency group '{group}'", _known(groups))
        try:
            texts += resolve_dependency_groups(groups, group)
        except (ValueError, TypeError, LookupError, ExceptionGroup) as error:
            raise _fault(wanted, f"dependency group '{group}': {error}") from error
    lines = path_of(wanted).read_text("utf-8").splitlines()
    for text in texts:
        place = _place(lines, text, wanted)
        try:
            Requirement(text)
        except InvalidRequirement as error:
            reason = str(error).split("\n")[0]
            raise UsageError(
                f"'{text}' is not a valid Python requirement: {reason}", position=place, subject=text
            ) from error
        yield Request(text, place)


def requires_python(wanted: PythonInput, version: str) -> None:
    """Raise UsageError when a pyproject.toml is not for the Python `version` ("3.11.2")."""
    text = _table(document(wanted), "project", wanted).get("requires-python", "")
    try:
        fits = SpecifierSet(text).contains(version, prereleases=True)
    except (InvalidSpecifier, TypeError, AttributeError) as error:
        raise _fault(wanted, f"requires-python '{text}' is not a valid version specifier") from error
    if not fits:
        raise _fault(wanted, f"it requires Python {text}, and the environment has {version}")


def _table(content: dict[str, Any], name: str, wanted: PythonInput) -> dict[str, Any]:
    found = content.get(name, {})
    if not isinstance(found, dict):
        raise _fault(wanted, f"'{name}' is not a table")
    return found


def _texts(content: dict[str, Any], name: str, wanted: PythonInput) -> list[str]:
    found = content.get(name, [])
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise _fault(wanted, f"'{name}' is not a list of strings")
    return list(found)


def _normal(name: str) -> str:
    return canonicalize_name(name)


def _known(names: Any) -> str:
    return f"it has {', '.join(sorted(names))}" if names else ""


def _place(lines: list[str], text: str, wanted: PythonInput) -> Any:
    for number, line in enumerate(lines, start=1):
        for quote in "\"'":
            if (column := line.find(f"{quote}{text}{quote}")) >= 0:
                return Position(str(path_of(wanted)), number, column + 2)
    return wanted.position
