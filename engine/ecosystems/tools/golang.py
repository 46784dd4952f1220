"""Go's own releases. Index: the download page's JSON form, `?mode=json&include=all`."""

from __future__ import annotations

from engine.lock.packages import LockedFile, ToolArchive
from engine.net.upstream import Upstream, choose
from grammar.environment import Toolchain

DOWNLOADS = Upstream("Go's downloads", "ENVD_GO_DOWNLOADS", "https://go.dev/dl")
_INDEX = "/?mode=json&include=all"


def resolve(toolchain: Toolchain) -> list[ToolArchive]:
    """The archive of the version asked for. Raises ResolveError."""
    at = toolchain.position
    answer = DOWNLOADS.require(_INDEX, at)
    archives: dict[str, LockedFile] = {}
    try:
        for release in answer.json():
            for file in release["files"]:
                if (file["os"], file["arch"], file["kind"]) == ("linux", "amd64", "archive"):
                    name = str(file["filename"])
                    archives[str(release["version"]).removeprefix("go")] = LockedFile(
                        name, f"{DOWNLOADS.url}/{name}", str(file["sha256"]), int(file["size"])
                    )
    except (ValueError, KeyError, TypeError) as error:
        raise DOWNLOADS.unreadable(_INDEX, at) from error
    wanted = "" if toolchain.version == "latest" else toolchain.version
    version = choose(wanted, archives, DOWNLOADS.name, at)
    return [ToolArchive("go", version, archives[version])]
