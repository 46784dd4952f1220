"""pixi's releases, laid out as GitHub's: `latest` leads to a tag, files lie below `download/TAG`,
each with a .sha256 beside it."""

from __future__ import annotations

import re

from engine.errors import ResolveError
from engine.lock.packages import LockedFile, ToolArchive
from engine.net.upstream import Upstream
from grammar.environment import Position, Toolchain

RELEASES = Upstream("pixi's releases", "ENVD_PIXI_RELEASES", "https://github.com/prefix-dev/pixi/releases")
_ARCHIVE = "pixi-x86_64-unknown-linux-musl.tar.gz"


def resolve(toolchain: Toolchain) -> list[ToolArchive]:
    """The archive of the version asked for, or of the latest. Raises ResolveError."""
    at = toolchain.position
    version = toolchain.version or _latest(at)
    place = f"/download/v{version}/{_ARCHIVE}"
    answer = RELEASES.get(f"{place}.sha256", at)
    if answer is None:
        raise ResolveError(
            f"{RELEASES.name} have no version {version}; the newest is {_latest(at)}", position=at
        )
    words = answer.text().split()
    if not words or not re.fullmatch(r"[0-9a-fA-F]{64}", words[0]):
        raise RELEASES.unreadable(f"{place}.sha256", at)
    url = f"{RELEASES.url}{place}"
    file = LockedFile(_ARCHIVE, url, words[0].lower(), RELEASES.size(url, at))
    return [ToolArchive("pixi", version, file)]


def _latest(at: Position) -> str:
    answer = RELEASES.require("/latest", at)
    match = re.search(r"/tag/v([0-9][^/?#]*)$", answer.url)
    if match is None:
        raise RELEASES.unreadable("/latest", at)
    return match[1]
