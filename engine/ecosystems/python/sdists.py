"""Source distributions: which wheels their build needs (PEP 517, PEP 518)."""

from __future__ import annotations

import tarfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from engine.core import zip_files
from engine.errors import ResolveError
from engine.lock.packages import BuildWheel, LockedFile, LockedPackage, Sdist, Wheel
from engine.net.fetch import fetch
from store import Store, archives

# Resolves requirements into packages: what `engine.ecosystems.python.pypi` gives its caller's index for.
Resolve = Callable[[Sequence[str]], list[LockedPackage]]


def with_build_wheels(
    packages: Sequence[LockedPackage], resolve: Resolve, located: Callable[[LockedFile], str], store: Path
) -> list[LockedPackage]:
    """`packages`, and for each sdist the wheels that building it needs (kind "build-wheel").

    `located` gives the URL that a file of the lock is fetched from. Raises ResolveError.
    """
    found: list[LockedPackage] = []
    tools: dict[tuple[str, str], LockedPackage] = {}
    for package in packages:
        if not isinstance(package, Sdist):
            found.append(package)
            continue
        chosen = resolve([*build_requires(package.file, located(package.file), store), "pip"])
        for tool in chosen:
            if not isinstance(tool, Wheel):
                raise ResolveError(
                    f"building it needs {tool.name} {tool.version}, which has no wheel for the target",
                    subject=package.name,
                )
            tools[tool.name, tool.version] = BuildWheel(tool.name, tool.version, tool.file)
        names = sorted(f"{t.name}=={t.version}" for t in chosen)
        found.append(replace(package, build=tuple(names)))
    return found + list(tools.values())


def fetched(file: LockedFile, url: str, store_path: Path) -> Path:
    """Where `file`, fetched from `url`, lies in the store. Raises FetchError."""
    with Store.open(store_path) as store:  # the build needs the file anyway
        return fetch(file.fetch(url), store)


def build_requires(file: LockedFile, url: str, store_path: Path) -> list[str]:
    """What pyproject.toml of an sdist says that its build needs. Raises ResolveError, FetchError."""
    path = fetched(file, url, store_path)
    try:
        text = next(_members(path, file.name, "pyproject.toml"), None)
    except (tarfile.TarError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise ResolveError(f"not a source distribution: {error}", subject=file.name) from error
    if text is None:
        return ["setuptools", "wheel"]
    try:
        system = tomllib.loads(text).get("build-system", {})
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ResolveError(f"its pyproject.toml is not valid TOML: {error}", subject=file.name) from error
    requires = system.get("requires", ["setuptools", "wheel"]) if isinstance(system, dict) else None
    if not isinstance(requires, list):
        raise ResolveError(
            "its pyproject.toml is malformed: build-system.requires is not a list of texts", subject=file.name
        )
    return requirements(requires, file.name)


def requirements(texts: Sequence[object], name: str) -> list[str]:
    """`texts`, which the sdist `name` says that its build needs, where each is a requirement of a
    package by name or by URL: they go into a requirements file, where a line may be an option or lead
    to a file of this machine. Raises ResolveError."""
    found = []
    for text in texts:
        try:
            if not isinstance(text, str):
                raise InvalidRequirement("not a text")
            parsed = Requirement(text)
        except InvalidRequirement as error:
            reason = str(error).split("\n")[0]
            raise ResolveError(
                f"its build needs '{text}', which is not a valid requirement: {reason}", subject=name
            ) from error
        if parsed.url and not parsed.url.startswith(("https://", "http://")):
            raise ResolveError(
                f"its build needs '{text}', which is not on an index and cannot be locked", subject=name
            )
        found.append(str(parsed))
    return found


def _members(path: Path, name: str, wanted: str) -> Iterator[str]:
    """Files called `wanted` directly below an sdist's one directory. Raises tarfile.TarError,
    zipfile.BadZipFile, UnicodeDecodeError."""
    if name.endswith(".zip"):
        with zip_files.opened(path) as archive:
            for member in archive.namelist():
                if member.count("/") == 1 and member.endswith(f"/{wanted}"):
                    yield zip_files.read(archive, member).decode("utf-8")
        return
    with archives.opened(path) as tar:
        for entry in archives.members(tar):
            if entry.name.count("/") == 1 and entry.name.endswith(f"/{wanted}") and entry.isreg():
                yield archives.read(tar, entry).decode("utf-8")
