"""Pythons other than the distribution's: the relocatable builds of python-build-standalone.

Which there are is uv's own list, which it carries with it; SHA-256 sums come from the
SHA256SUMS of the release that a build belongs to.
"""

from __future__ import annotations

import json
import os
import subprocess
from urllib.parse import unquote, urlsplit

from engine.errors import ResolveError
from engine.lock import LockedFile, LockedPackage
from engine.resolve.upstream import Upstream, checksums, choose
from grammar.environment import Position

DOWNLOADS = Upstream(
    "python-build-standalone's releases", "ENVD_PYTHON_DOWNLOADS",
    "https://github.com/astral-sh/python-build-standalone/releases/download",
)
_PLATFORM = "linux-x86_64-gnu"


def resolve(name: str, version: str, position: Position) -> list[LockedPackage]:
    """The build of CPython `version` ("3.12", "3.12.4"), as a tool called `name`.

    Raises ResolveError.
    """
    builds = _builds()
    chosen = choose(version, builds, "CPython", position)
    key, url = builds[chosen]
    release, _, _ = url.rpartition("/")
    file = unquote(urlsplit(url).path.rpartition("/")[2])
    path = f"{release.removeprefix(DOWNLOADS.url)}/SHA256SUMS"
    sums = checksums(DOWNLOADS.require(path, position).text())
    if file not in sums:
        raise ResolveError(
            f"{position}: {DOWNLOADS.url}{path} has no {file}; {DOWNLOADS.advice}"
        )
    locked = LockedFile(file, url, sums[file], DOWNLOADS.size(url, position))
    return [LockedPackage("tool", name, chosen, locked, {"key": key})]


def _builds() -> dict[str, tuple[str, str]]:
    """Version -> uv's key and the URL, of every build that uv knows for the target."""
    from uv import find_uv_bin

    done = subprocess.run(
        [os.fspath(find_uv_bin()), "python", "list", f"cpython-3-{_PLATFORM}", "--only-downloads",
         "--all-versions", "--no-config", "--output-format", "json"],
        env={**os.environ, "UV_PYTHON_INSTALL_MIRROR": DOWNLOADS.url, "NO_COLOR": "1"},
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise ResolveError(f"uv cannot list its Pythons: {done.stderr.strip()}")
    return {
        str(row["version"]): (str(row["key"]), str(row["url"]))
        for row in json.loads(done.stdout)
        if row["implementation"] == "cpython" and row["variant"] == "default"
    }
