"""The npm registry: what a version of a package is, and which of its optional dependencies are
made for the target, as npm itself chooses.

API: the registry's GET /PACKAGE and GET /PACKAGE/VERSION; fields os, cpu and libc of package.json.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from engine.core.command import ask_text
from engine.errors import ResolveError
from engine.net.answers import get
from engine.net.upstream import choose
from grammar.environment import Position

SETTING = "ENVD_NPM_REGISTRY"
_TARGET = {"os": "linux", "cpu": "x64", "libc": "glibc"}


def registry() -> str:
    """The registry's URL: ENVD_NPM_REGISTRY, or what npm is configured with.

    Raises ResolveError when nothing says where it is.
    """
    found = os.environ.get(SETTING) or _configured()
    if not re.match(r"https?://", found):
        raise ResolveError(
            "npm is not installed here, so nothing names its registry", advice=f"set {SETTING}"
        )
    return found.rstrip("/")


@cache
def _configured() -> str:
    if shutil.which("npm"):
        done = ask_text(["npm", "config", "get", "registry"], environment=os.environ, cwd=Path("/"))
        return done.stdout.strip()
    try:
        text = Path("~/.npmrc").expanduser().read_text("utf-8")
    except (OSError, RuntimeError):
        return ""
    match = re.search(r"^registry\s*=\s*(\S+)", text, re.MULTILINE)
    return match[1] if match else ""


def _get(path: str, position: Position) -> Any | None:
    url = f"{registry()}/{path}"
    try:
        answer = get(url, position)
    except ResolveError as error:
        raise error.advised(f"set {SETTING} to another registry") from error
    if answer is None:
        return None
    try:
        return answer.json()
    except ValueError as error:
        raise ResolveError(
            f"{url} is not an answer of an npm registry", position=position, advice=f"set {SETTING}"
        ) from error


def _path(name: str) -> str:
    return quote(name, safe="@")  # a scope's slash is %2F in the registry's paths


def package(name: str, version: str, position: Position) -> Mapping[str, Any]:
    """package.json of a version of `name` ("" is the latest; "1.2" the newest that begins so), as
    the registry has it, with "dist". Raises ResolveError."""
    path = _path(name)
    exact = not version or version.count(".") >= 2
    found = _get(f"{path}/{quote(version or 'latest')}", position) if exact else None
    if found is None:
        whole = _get(path, position)
        if whole is None:
            raise ResolveError(f"{registry()} has no package {name}", position=position)
        found = whole["versions"][choose(version, whole["versions"], name, position)]
    if not isinstance(found, dict) or not {"version", "dist"} <= found.keys():
        raise ResolveError(
            f"{registry()} gives no package.json of {name}", position=position, advice=f"set {SETTING}"
        )
    return found


def for_target(about: Mapping[str, Any]) -> bool:
    """Whether a package.json's os, cpu and libc take the target. "!x" excludes x."""
    for field, value in _TARGET.items():
        listed = about.get(field) or []
        listed = [listed] if isinstance(listed, str) else list(listed)
        allowed = [entry for entry in listed if not entry.startswith("!")]
        if f"!{value}" in listed or (allowed and value not in allowed and "any" not in allowed):
            return False
    return True


def optional(about: Mapping[str, Any], position: Position) -> list[Mapping[str, Any]]:
    """The optional dependencies of a package.json that are for the target and are pinned exactly.

    Raises ResolveError.
    """
    found = []
    for name, spec in sorted((about.get("optionalDependencies") or {}).items()):
        if alias := re.fullmatch(r"npm:(@?[^@]+)@(.+)", spec):  # npm-install(1), "alias"
            name, spec = alias[1], alias[2]
        if re.fullmatch(r"\d+\.\d+\.\d+\S*", spec):
            other = _get(f"{_path(name)}/{quote(spec)}", position)
            # One that is not there is passed over: that is what optional means to npm.
            if other is not None and for_target(other):
                found.append(other)
    return found
