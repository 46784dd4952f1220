"""Pythons other than the distribution's: the relocatable builds of python-build-standalone.

Which there are is uv's own list, which it carries with it; SHA-256 sums come from the
SHA256SUMS of the release that a build belongs to.
"""

from __future__ import annotations

import json
import os
from urllib.parse import unquote, urlsplit

from uv import find_uv_bin

from engine.core.command import ask_text
from engine.errors import ResolveError
from engine.lock.packages import LockedFile, ToolArchive
from engine.net.upstream import Upstream, checksums, choose
from grammar.environment import Position

DOWNLOADS = Upstream(
    "python-build-standalone's releases",
    "ENVD_PYTHON_DOWNLOADS",
    "https://github.com/astral-sh/python-build-standalone/releases/download",
)
_PLATFORM = "linux-x86_64-gnu"


def resolve(name: str, version: str, position: Position) -> list[ToolArchive]:
    """The build of CPython `version` ("3.12", "3.12.4"), as a tool called `name`.

    Raises ResolveError.
    """
    builds = _builds()
    chosen = choose(version, builds, "CPython", position)
    key, url = builds[chosen]
    file = unquote(urlsplit(url).path.rpartition("/")[2])
    locked = LockedFile(file, url, _checksum(url, file, position), DOWNLOADS.size(url, position))
    return [ToolArchive(name, chosen, locked, key=key)]


def _checksum(url: str, file: str, position: Position) -> str:
    """From the release's SHA256SUMS; the oldest have a .sha256 beside each file instead."""
    path = url.removeprefix(DOWNLOADS.url)
    listing = f"{path.rpartition('/')[0]}/SHA256SUMS"
    answer = DOWNLOADS.get(listing, position)
    if answer is not None:
        sums = checksums(answer.text())
        if file in sums:
            return sums[file]
        raise ResolveError(
            f"{DOWNLOADS.url}{listing} has no {file}", position=position, advice=DOWNLOADS.advice
        )
    words = DOWNLOADS.require(f"{path}.sha256", position).text().split()
    if not words or len(words[0]) != 64:
        raise DOWNLOADS.unreadable(f"{path}.sha256", position)
    return words[0].lower()


def _builds() -> dict[str, tuple[str, str]]:
    """Version -> uv's key and the URL, of every build that uv knows for the target."""
    done = ask_text(
        [
            os.fspath(find_uv_bin()),
            "python",
            "list",
            f"cpython-3-{_PLATFORM}",
            "--only-downloads",
            "--all-versions",
            "--no-config",
            "--output-format",
            "json",
        ],
        environment={**os.environ, "UV_PYTHON_INSTALL_MIRROR": DOWNLOADS.url, "NO_COLOR": "1"},
    )
    if done.returncode != 0:
        raise ResolveError(f"uv cannot list its Pythons: {done.stderr.strip()}")
    return {
        str(row["version"]): (str(row["key"]), str(row["url"]))
        for row in json.loads(done.stdout)
        if row["implementation"] == "cpython" and row["variant"] == "default"
    }
