"""Resolving Python packages with uv, for the target's Python and libc, not the host's.

uv solves for what is asked by name, by pyproject.toml and by local wheels; what a uv.lock or a
pylock.toml pins is taken as it is, and constrains the rest. Every file comes with URL, size and
SHA-256 (PEP 751).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, unquote

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from engine.ecosystems.python import pylock, uv
from engine.ecosystems.python.builds import Resolver
from engine.ecosystems.python.known import hint
from engine.ecosystems.python.requests import (
    Wanted,
    beside,
    document,
    path_of,
    project_requests,
    requires_python,
)
from engine.ecosystems.python.sdists import with_build_wheels
from engine.ecosystems.python.target import Target, tags
from engine.ecosystems.python.uv import Log
from engine.errors import ResolveError, UsageError
from engine.lock.packages import LockedFile, LockedPackage
from engine.net import machine
from engine.net.origins import Origins
from grammar.environment import Position, PythonInput, Request

__all__ = ["Target", "Wanted", "origins", "resolve"]


def origins(wanted: Wanted, directory: Path | None = None) -> Origins:
    """Where the files of a lock that was made for `wanted` are fetched from."""
    sources = uv.sources(wanted.index, wanted.options)
    here = machine.current() if wanted else machine.Machine()
    return Origins(
        _directory(wanted) or directory or Path(),
        (*sources.urls, *here.known),
        (*sources.trusted, *here.trusted),
    )


def _directory(wanted: Wanted) -> Path | None:
    """The project's directory, which relative URLs of the lock start from."""
    given = [*(i.directory for i in wanted.inputs), *(o.directory for o in wanted.options)]
    return next((Path(d) for d in given if d), None)


def _at_their_places(local: Mapping[str, PythonInput]) -> list[str]:
    """Wheels that are given themselves, as requirements."""
    return [f"{name} @ {path_of(given).resolve().as_uri()}" for name, given in local.items()]


def resolve(
    wanted: Wanted,
    target: Target,
    cache_directory: Path,
    log: Log,
    *,
    left_out: Set[str] = frozenset(),
    preferred: Sequence[LockedPackage] = (),
) -> list[LockedPackage]:
    """Everything that is wanted, with what it needs but for what is `left_out` (names that are
    there already). Versions of `preferred` (an earlier lock's) are kept where they fit.

    Raises ResolveError, UsageError.
    """
    sources = uv.sources(wanted.index, wanted.options)
    log = _saying_what_is_yanked(wanted.requests, log)
    exact = _exact(wanted, target, sources, cache_directory, log)
    pinned = [f"{p.name}=={p.version}" for p in exact.values() if p.version != "0"]
    found = dict(exact)
    local = _local(wanted, target)
    projects = [i for i in wanted.inputs if i.kind == "pyproject"]
    for project in projects:
        requires_python(project, target.full or target.python)
    asked = [*wanted.requests, *(r for i in projects for r in project_requests(i))]
    for name in exact.keys() & local.keys():
        del found[name]  # a wheel that is given itself is the one that is meant
    located = origins(wanted)
    resolver = Resolver(target, sources, cache_directory, log, lambda file: located.url(file.url))
    if wanted.requests or local or projects:
        wish = uv.Wish(
            [*(r.text for r in wanted.requests), *_at_their_places(local)],
            [*(r.text for r in wanted.constraints), *(p for p in pinned if _name(p) not in local)],
            projects=[(path_of(i).absolute(), i.extras, i.groups) for i in projects],
            left_out=sorted(left_out),
            preferred=preferred,
        )
        try:
            made = resolver.compile(wish)
        except uv.UvError as error:
            places = [*asked, *(Request(n, i.position) for n, i in local.items())]
            raise explained(error, places) from error
        for package in _chosen(made, target, asked):
            if package.name in local:
                found[package.name] = _local_wheel(package, local[package.name])
            else:
                found.setdefault(package.name, _in_project(package, _directory(wanted)))
    _check_hashes(found, [*asked, *wanted.constraints])

    def plain(needed: Sequence[str]) -> list[LockedPackage]:
        try:
            made = resolver.compile(uv.Wish(needed))
        except uv.UvError as error:
            raise explained(error, ()) from error
        return pylock.choose(made, target)

    return with_build_wheels(list(found.values()), plain, resolver.located, cache_directory.parent)


def _saying_what_is_yanked(requests: Sequence[Request], log: Log) -> Log:
    """A log that says of a release that its authors took back where it was asked for."""

    def heard(line: str) -> None:
        found = re.match(r"warning: `([^`]+)` is yanked(?: \(reason: \"(.*)\"\))?", line)
        if found is None:
            if not line.startswith("Resolved "):
                log(line)
            return
        name = _name(found[1])
        places = [str(r.position) for r in requests if _name(r.text) == name and r.position.line]
        reason = f": {found[2]}" if found[2] else ""
        told = f"{found[1]} was yanked by its authors{reason}; another version is better"
        log(": ".join(["warning", *places[:1], told]))

    return heard


def _chosen(document: Mapping[str, object], target: Target, asked: Sequence[Request]) -> list[LockedPackage]:
    allowed: dict[str, set[str]] = {}
    for request in asked:
        if request.hashes and (name := _name(request.text)):
            allowed.setdefault(name, set()).update(h.removeprefix("sha256:") for h in request.hashes)
    try:
        return pylock.choose(document, target, allowed=allowed)
    except ResolveError as error:
        name = _name(error.subject)
        place = next((r.position for r in asked if _name(r.text) == name and r.position.line), None)
        raise error.at(place) from error


# -- exact: uv.lock, pylock.toml --------------------------------------------------------------


def _exact(
    wanted: Wanted, target: Target, sources: uv.Sources, cache_directory: Path, log: Log
) -> dict[str, LockedPackage]:
    """What uv.lock and pylock.toml files pin, by name."""
    found: dict[str, LockedPackage] = {}
    owner: dict[str, PythonInput] = {}
    for given in wanted.inputs:
        if given.kind not in ("uv.lock", "pylock"):
            continue
        for package in _pinned_by(given, target, sources, cache_directory, log):
            before = found.get(package.name)
            if before is not None and before.file.sha256 != package.file.sha256:
                raise ResolveError(
                    f"{given.path} pins {package.name} {package.version}, and "
                    f"{owner[package.name].path} pins {before.name} {before.version} "
                    f"({before.file.name})",
                    position=given.position,
                )
            found[package.name], owner[package.name] = package, given
    return found


def _pinned_by(
    given: PythonInput, target: Target, sources: uv.Sources, cache_directory: Path, log: Log
) -> list[LockedPackage]:
    path = path_of(given)
    groups: set[str] | None = None
    extras: set[str] = set()
    if given.kind == "uv.lock":
        # names are checked first: uv's own words do not say where they were written
        list(project_requests(beside(given)))
        try:
            content = uv.export(
                path.parent.absolute(), given.extras, given.groups, sources, cache_directory, log
            )
        except uv.UvError as error:
            raise ResolveError(str(error), position=given.position, subject=str(path)) from error
    else:
        content = document(given)
        extras = set(given.extras)
        groups = {*content.get("default-groups", ()), *given.groups} if given.groups else None
        for kind, names in (("extras", given.extras), ("dependency-groups", given.groups)):
            for name in names:
                if name not in content.get(kind, ()):
                    known = ", ".join(content.get(kind, ())) or "none"
                    raise ResolveError(
                        f"it has no {kind[:-1]} '{name}'",
                        position=given.position,
                        subject=str(path),
                        advice=f"it has {known}",
                    )
    try:
        return pylock.choose(
            content, target, extras=extras, groups=groups, local=str(Path(given.path).parent)
        )
    except ResolveError as error:
        raise ResolveError(error.text, position=given.position, subject=str(path)) from error


# -- local wheels -----------------------------------------------------------------------------


def _local(wanted: Wanted, target: Target) -> dict[str, PythonInput]:
    """The local wheels by package name. Raises UsageError for one that the target cannot take, and
    for two of one name."""
    found: dict[str, PythonInput] = {}
    for given in wanted.inputs:
        if given.kind != "wheel":
            continue
        try:
            name, _, _, wheel_tags = parse_wheel_filename(Path(given.path).name)
        except InvalidWheelFilename as error:
            raise UsageError(f"'{given.path}': {error}", position=given.position) from error
        if wheel_tags.isdisjoint(tags(target)):
            raise UsageError(f"'{given.path}' is not for {target}", position=given.position)
        other = found.setdefault(str(name), given)
        if other.path != given.path:
            raise UsageError(
                f"'{given.path}' and '{other.path}' are both wheels of {name}", position=given.position
            )
    return found


def _local_wheel(package: LockedPackage, given: PythonInput) -> LockedPackage:
    """A wheel of the project's own: its URL is its path, so that any checkout has it."""
    path = path_of(given)
    content = path.read_bytes()
    file = LockedFile(
        path.name, quote(Path(given.path).as_posix()), hashlib.sha256(content).hexdigest(), len(content)
    )
    return replace(package, file=file)


def _in_project(package: LockedPackage, directory: Path | None) -> LockedPackage:
    """A package with its file's URL relative to the project when it lies in there (`--find-links`
    may name a directory); one that lies elsewhere on this machine keeps its whole path."""
    url = package.file.url
    if "://" in url or not url.startswith("/"):
        return package
    path = Path(unquote(url))
    if directory is not None and path.is_relative_to(directory.resolve()):
        url = quote(path.relative_to(directory.resolve()).as_posix())
    else:
        url = path.as_uri()
    return replace(package, file=replace(package.file, url=url, size=path.stat().st_size))


# -- hashes and errors ------------------------------------------------------------------------


def _check_hashes(found: Mapping[str, LockedPackage], requests: Sequence[Request]) -> None:
    """Hold what is locked to the hashes that requirements give. Raises ResolveError."""
    for request in requests:
        package = found.get(_name(request.text))
        if not request.hashes or package is None:
            continue
        if f"sha256:{package.file.sha256}" not in request.hashes:
            raise ResolveError(
                f"{package.name} {package.version}: {package.file.name} has "
                f"sha256:{package.file.sha256}, which is not among the {len(request.hashes)} hashes "
                "given for it",
                position=request.position,
            )


def _name(text: str) -> str:
    """The normalised name at the start of a requirement."""
    match = re.match(r"[A-Za-z0-9._-]+", text)
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""


class NoVersionError(ResolveError):
    """The index has not the version of the package `name` that is asked for."""

    def __init__(self, message: str, name: str, *, position: Position | None = None) -> None:
        super().__init__(message, position=position)
        self.name = name


def explained(error: uv.UvError, requests: Sequence[Request]) -> ResolveError:
    """uv's words at the place of the request that they name, with what was probably meant."""
    words = str(error)
    names = [_name(r.text) for r in requests]
    first = next((r.position for r in requests if r.position.line), None)
    if error.refused is not None:
        url, status = error.refused
        return ResolveError(
            f"the index {url} refuses access ({status}): give a login in "
            "config.pip_index's URL, in uv's or pip's configuration, or in ~/.netrc",
            position=first,
        )
    if error.missing:
        missing = _name(error.missing)
        asked = [r for r, n in zip(requests, names, strict=True) if n == missing and r.position.line]
        if missing in names and not asked:
            return ResolveError(
                f"the Python index has no '{missing}', which every environment gets",
                position=first,
                subject=missing,
                advice="add it to the index, or give an extra index that has it",
            )
        unknown, meant = f"there is no Python package '{missing}'", hint(missing, names)
        if asked:
            return ResolveError(unknown, position=asked[0].position, subject=missing, advice=meant)
        words = f"{unknown}; {meant} ({words})"
    lowered = re.sub(r"[_.]+", "-", words.lower())
    named, what = first, "the Python packages"
    for request, name in zip(requests, names, strict=True):
        if request.position.line and re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", lowered):
            named, what = request.position, f"'{request.text}'"
            break
    if error.unversioned:
        return NoVersionError(f"cannot resolve {what}: {words}", error.unversioned, position=named)
    return ResolveError(f"cannot resolve {what}: {words}", position=named)
