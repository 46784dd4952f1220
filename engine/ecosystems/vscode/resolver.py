"""Resolving VS Code extensions against an Open VSX-compatible gallery.

API: Open VSX's registry REST API, GET /api/{publisher}/{name}[/{target}][/{version}].
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from engine.errors import ResolveError, together
from engine.lock.packages import LockedFile, LockedPackage, Vsix
from engine.net.answers import get
from grammar.environment import Position, Request
from grammar.nearest import nearest
from store import archives

DEFAULT_GALLERY = "https://open-vsx.org"
TARGET = "linux-x64"
_MOST = 500  # extensions of one spec, with what they need
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\.[A-Za-z0-9][A-Za-z0-9_-]*")


def gallery() -> str:
    """The gallery's URL: ENVD_VSCODE_GALLERY, or Open VSX."""
    return os.environ.get("ENVD_VSCODE_GALLERY", DEFAULT_GALLERY).rstrip("/")


def resolve(requests: Sequence[Request], log: Callable[[str], None]) -> list[LockedPackage]:
    """The extensions asked for, and those that they depend on. Raises ResolveError."""
    found: dict[str, LockedPackage] = {}
    problems: list[ResolveError] = []
    todo = [(r.text, r.position) for r in requests]
    while todo:
        text, position = todo.pop(0)
        identity, _, version = text.partition("@")
        if identity.lower() in found:
            continue
        log(f"looking up {text}")
        data = _metadata(identity, version, position)
        if data is None:
            problems.append(_unknown(identity, version, position))
            continue
        found[identity.lower()] = _locked(data, identity, position)
        todo += [(name, position) for name in _needed(data, identity, position)]
        if len(found) > _MOST:
            raise ResolveError(
                f"the gallery {gallery()} names more than {_MOST} extensions that "
                f"{requests[0].text} and others need; it cannot be right",
                position=position,
            )
    if problems:
        raise together(problems)
    return list(found.values())


def _needed(data: Mapping[str, Any], identity: str, position: Position) -> Iterator[str]:
    """The extensions that one depends on, or is made of. Raises ResolveError."""
    for group in ("dependencies", "bundledExtensions"):
        try:
            for other in data.get(group) or ():
                namespace, name = other["namespace"], other["extension"]
                # What the editor itself carries is in no gallery.
                if namespace.lower() != "vscode":
                    if not _NAME.fullmatch(f"{namespace}.{name}"):
                        raise ValueError(f"'{namespace}.{name}'")
                    yield f"{namespace}.{name}"
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ResolveError(
                f"the gallery's {group} of it are malformed ({error!r})", position=position, subject=identity
            ) from error


def _metadata(identity: str, version: str, position: Position) -> Mapping[str, Any] | None:
    publisher, _, name = identity.partition(".")
    base = f"{gallery()}/api/{quote(publisher)}/{quote(name)}"
    tail = f"/{quote(version)}" if version else ""
    for url in (f"{base}/{TARGET}{tail}", f"{base}/universal{tail}", f"{base}{tail}"):
        answer = get(url, position)
        if answer is None:
            continue
        try:
            data = answer.json()
            if (
                all(isinstance(data[key], str) for key in ("namespace", "name", "version"))
                and isinstance(data["files"], dict)
                and data["files"]["download"]
            ):
                _check_asked(data, identity, version, position)
                return dict(data)
        except (ValueError, KeyError, TypeError):
            pass
        raise ResolveError("not an answer of an extension gallery", position=position, subject=url)
    return None


def _check_asked(data: Mapping[str, Any], identity: str, version: str, position: Position) -> None:
    """Raise ResolveError when a gallery answers with another extension than the one asked for."""
    found = f"{data['namespace']}.{data['name']}"
    if found.lower() != identity.lower() or (version and data["version"] != version):
        raise ResolveError(
            f"asked for {identity}{f'@{version}' if version else ''}, the gallery "
            f"{gallery()} answers with {archives.shown(found)} {archives.shown(data['version'])}",
            position=position,
        )


def _unknown(identity: str, version: str, position: Position) -> ResolveError:
    """The error of an extension that the gallery has not, with what it finds by that name."""
    wanted = f" in version {version}" if version else ""
    hint = ""
    for query in (identity, identity.partition(".")[2]):
        names = _search(query, position)
        close = nearest(identity.lower(), names)
        same = [n for n in names if n.partition(".")[2] == query.lower()]
        if (close or same) and identity.lower() not in names:
            hint = f"did you mean '{names[close or same[0]]}'?"
            break
    return ResolveError(
        f"the gallery {gallery()} has no extension '{identity}'{wanted} for {TARGET}",
        position=position,
        subject=identity,
        advice=hint,
    )


def _search(query: str, position: Position) -> dict[str, str]:
    """Extensions that a gallery finds, by lower-case name; none when it cannot search."""
    try:
        answer = get(f"{gallery()}/api/-/search?query={quote(query)}&size=20", position)
        rows = answer.json()["extensions"] if answer is not None else []
        names = [f"{row['namespace']}.{row['name']}" for row in rows]
    except (ResolveError, ValueError, KeyError, TypeError):
        return {}
    return {name.lower(): name for name in names}


def _locked(data: Mapping[str, Any], identity: str, position: Position) -> LockedPackage:
    files = data["files"]
    for key in ("download", "sha256"):
        if not str(files.get(key, "http://")).startswith(("http://", "https://")):
            raise ResolveError(
                f"the gallery {gallery()} names '{archives.shown(str(files[key]))}', which is not an "
                "http or https URL",
                position=position,
                subject=identity,
            )
    url = str(files["download"])
    sha256, size = "", 0
    if "sha256" in files:
        answer = get(str(files["sha256"]), position)
        words = answer.text().split() if answer is not None else []
        sha256 = words[0].lower() if words and len(words[0]) == 64 else ""
    if not sha256:  # older galleries give none: it is what we get now
        answer = get(url, position)
        if answer is None:
            raise ResolveError(f"{url} is not there", position=position, subject=identity)
        sha256, size = hashlib.sha256(answer.body).hexdigest(), len(answer.body)
    name = urlsplit(url).path.rpartition("/")[2] or f"{identity}.vsix"
    return Vsix(
        f"{data['namespace']}.{data['name']}",
        str(data["version"]),
        LockedFile(name, url, sha256, size),
        target=str(data.get("targetPlatform") or "universal"),
    )
