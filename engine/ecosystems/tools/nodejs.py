"""Node.js's own releases. Index: index.json and each version's SHASUMS256.txt of its dist site."""

from __future__ import annotations

from engine.errors import ResolveError
from engine.lock.packages import LockedFile, ToolArchive
from engine.net.upstream import Upstream, checksums, choose
from grammar.environment import Position, Toolchain

DIST = Upstream("Node.js's releases", "ENVD_NODE_DIST", "https://nodejs.org/dist")
_INDEX = "/index.json"
_PLATFORM = "linux-x64"


def resolve(toolchain: Toolchain) -> list[ToolArchive]:
    """The archive of the version asked for; "lts" is the newest with long-term support.

    Raises ResolveError.
    """
    at = toolchain.position
    answer = DIST.require(_INDEX, at)
    try:
        known = [
            str(release["version"]).removeprefix("v")
            for release in answer.json()
            if _PLATFORM in release["files"] and (toolchain.version != "lts" or release["lts"])
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise DIST.unreadable(_INDEX, at) from error
    wanted = "" if toolchain.version in ("latest", "lts") else toolchain.version
    version = choose(wanted, known, DIST.name, at)
    name = f"node-v{version}-{_PLATFORM}.tar.xz"
    url = f"{DIST.url}/v{version}/{name}"
    file = LockedFile(name, url, _checksum(version, name, at), DIST.size(url, at))
    return [ToolArchive("nodejs", version, file)]


def _checksum(version: str, name: str, at: Position) -> str:
    path = f"/v{version}/SHASUMS256.txt"
    sums = checksums(DIST.require(path, at).text())
    if name not in sums:
        raise ResolveError(f"{DIST.url}{path} has no {name}", position=at, advice=DIST.advice)
    return sums[name]
