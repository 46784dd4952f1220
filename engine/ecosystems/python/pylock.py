"""Choosing files from a pylock.toml for a target (PEP 751, by `packaging`'s reading of it).

Of each package the one wheel is kept that fits the target best (PEP 425 order); a package
without one keeps its sdist.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)

from engine.core.urls import redacted
from engine.ecosystems.python.target import Target, tags
from engine.errors import ResolveError
from engine.lock.packages import LockedFile, LockedPackage, Sdist, Wheel
from store.libraries import pylock

# Package name (normalised) -> SHA-256 (64 hex digits) of the files that may be chosen.
Allowed = Mapping[str, Set[str]]


def choose(
    document: Mapping[str, Any],
    target: Target,
    *,
    extras: Set[str] = frozenset(),
    groups: Set[str] | None = None,
    allowed: Allowed | None = None,
    local: str = "",
) -> list[LockedPackage]:
    """The packages of a pylock document that the target installs, one file each.

    `groups` None means the document's own defaults. `local` leads from the project's directory to
    the document's: files that it names by path get URLs relative to the project. Raises
    ResolveError.
    """
    try:
        lock = pylock.Pylock.from_dict(_prepared(document, allowed or {}))
        chosen = list(
            lock.select(
                environment=target.markers,  # type: ignore[arg-type]
                tags=tags(target),
                extras=extras,
                dependency_groups=groups,
            )
        )
    except pylock.PylockSelectError as error:
        raise ResolveError(f"it does not fit {target}: {error}") from error
    except (
        pylock.PylockValidationError,
        AttributeError,
        TypeError,
        ValueError,
        LookupError,
        RecursionError,
    ) as error:
        raise ResolveError(f"not a valid pylock.toml: {error}") from error
    found: list[LockedPackage] = []
    for package, source in chosen:
        name = str(package.name)
        if isinstance(source, pylock.PackageDirectory | pylock.PackageVcs):
            what = "a directory" if isinstance(source, pylock.PackageDirectory) else "a repository"
            where = getattr(source, "path", None) or getattr(source, "url", None) or ""
            raise ResolveError(
                f"{name} comes from {what} ({where}), which cannot be locked",
                subject=name,
                advice="build a wheel of it and name that in local_wheels",
            )
        file = _file(name, source, local)
        version = str(package.version) if package.version else _version(file.name)
        kind = Wheel if file.name.endswith(".whl") else Sdist
        if isinstance(source, pylock.PackageArchive) and kind is Wheel and not _fits(file.name, target):
            raise ResolveError(f"{file.name} is not for {target}", subject=f"{name} {version}")
        found.append(kind(name, version, file))
    return found


def _prepared(document: Mapping[str, Any], allowed: Allowed) -> dict[str, Any]:
    """The document with what `allowed` forbids left out, and a wheel's higher build number before
    a lower one, as among equal tags it wins (PEP 427)."""
    packages = []
    rows = document.get("packages", ())
    if not isinstance(rows, list | tuple) or not all(isinstance(row, Mapping) for row in rows):
        raise ResolveError("not a valid pylock.toml: packages is not a list of tables")
    for row in rows:
        changed = dict(row)
        if hashes := allowed.get(str(row.get("name"))):
            _restrict(changed, hashes)
        if "wheels" in changed:
            changed["wheels"] = sorted(changed["wheels"], key=_build_number, reverse=True)
        packages.append(changed)
    return {**document, "packages": packages}


def _restrict(row: dict[str, Any], hashes: Set[str]) -> None:
    def fits(file: Mapping[str, Any]) -> bool:
        return file.get("hashes", {}).get("sha256") in hashes

    wheels = [w for w in row.get("wheels", ()) if fits(w)]
    sdist = row.get("sdist") if fits(row.get("sdist", {})) else None
    archive = row.get("archive")
    if not wheels and sdist is None and not (archive and fits(archive)):
        raise ResolveError(
            "none of its files has one of the hashes that are given for it",
            subject=f"{row.get('name')} {row.get('version', '')}",
        )
    for key, value in (("wheels", wheels), ("sdist", sdist)):
        row.pop(key, None)
        if value:
            row[key] = value


def _build_number(file: Mapping[str, Any]) -> tuple[int, str]:
    try:
        return parse_wheel_filename(file_name(file))[2] or (-1, "")
    except InvalidWheelFilename:
        return (-1, "")


def file_name(row: Mapping[str, Any]) -> str:
    """The name of a file of a pylock document: given, or the last part of its URL or path."""
    if name := row.get("name"):
        return str(name)
    if url := row.get("url"):
        return unquote(urlsplit(str(url)).path.rpartition("/")[2])
    return str(row.get("path", "")).rpartition("/")[2]


def _file(package: str, source: Any, local: str) -> LockedFile:
    row = {"url": source.url, "path": source.path, "name": getattr(source, "name", None)}
    name = file_name(row)
    sha256 = (source.hashes or {}).get("sha256")
    if not sha256:
        raise ResolveError(f"there is no SHA-256 for {name}", subject=package)
    if source.url and not str(source.url).startswith("file:"):
        url = redacted(str(source.url))
    else:
        path = source.path or unquote(urlsplit(str(source.url)).path)
        url = quote((Path(local) / path).as_posix())
    return LockedFile(name, url, str(sha256), int(source.size or 0))


def _fits(wheel: str, target: Target) -> bool:
    try:
        return not parse_wheel_filename(wheel)[3].isdisjoint(tags(target))
    except InvalidWheelFilename:
        return False


def _version(file: str) -> str:
    """The version in the name of an archive that was given by URL."""
    try:
        return str(parse_wheel_filename(file)[1])
    except InvalidWheelFilename:
        pass
    try:
        return str(parse_sdist_filename(file)[1])
    except InvalidSdistFilename:
        return "0"
