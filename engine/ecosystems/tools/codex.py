"""Codex, OpenAI's command line: the native program in its npm package for the target.

Its package `@openai/codex` is a launcher for Node.js and one optional dependency for each
platform, which holds a static program; older ones hold the programs of all platforms themselves.
"""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

from engine.ecosystems.tools import npm
from engine.errors import ResolveError
from engine.lock.packages import ToolArchive
from engine.net.pin import pin
from grammar.environment import Toolchain
from store import Store, archives

PACKAGE = "@openai/codex"
_PROGRAM = re.compile(
    r"package/(vendor/x86_64-unknown-linux-musl/(?:codex|bin)/codex"
    r"|bin/codex-x86_64-unknown-linux-musl)"
)


def resolve(toolchain: Toolchain, cache: Path) -> list[ToolArchive]:
    """The package with the program of the version asked for, or of the latest.

    `cache` lies in the store. Raises ResolveError.
    """
    at = toolchain.position
    about = npm.package(PACKAGE, toolchain.version, at)
    version = str(about["version"])
    holder = next(iter(npm.optional(about, at)), about)
    dist = holder["dist"]
    url, integrity = str(dist["tarball"]), str(dist.get("integrity", ""))
    with Store.open(cache.parent) as store:
        file, path = pin(url.rpartition("/")[2], url, store, at, integrity)
    try:
        with archives.opened(path) as archive:
            names = (m for entry in archives.members(archive) if (m := _PROGRAM.fullmatch(entry.name)))
            program = next(names, None)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ResolveError(f"{file.url} is not an npm package: {error}", position=at) from error
    if program is None:
        raise ResolveError(
            f"{PACKAGE} {version} has no program for x86_64 Linux; it needs 0.2 or newer", position=at
        )
    return [ToolArchive("codex", version, file, program=program[1])]
