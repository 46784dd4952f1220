"""Rust's own releases, without rustup: the channel manifests that rustup reads, and the archives
that they name. Format: rustup's channel manifest, version 2."""

from __future__ import annotations

import hashlib
import re
import tomllib
from typing import Any

from engine.errors import ResolveError
from engine.lock.packages import LockedFile, ToolArchive
from engine.net.upstream import Upstream, choose
from grammar.environment import Position, Toolchain

DIST = Upstream("Rust's releases", "ENVD_RUST_DIST", "https://static.rust-lang.org")
TARGET = "x86_64-unknown-linux-gnu"
# rustup's "default" profile, less the documentation. The first three are Rust itself.
_NEEDED = ("rustc", "cargo", "rust-std")
_WELCOME = ("clippy-preview", "rustfmt-preview")


def resolve(toolchain: Toolchain) -> list[ToolArchive]:
    """The components of the version asked for: a number, or a channel's name.

    Raises ResolveError.
    """
    at = toolchain.position
    path = f"/dist/channel-rust-{toolchain.version}.toml"
    answer = DIST.get(path, at)
    if answer is None:
        # raises, naming the nearest, unless the list knows what the server does not have
        choose(toolchain.version, _known(at), DIST.name, at)
        raise ResolveError(f"{DIST.url}{path} is not there", position=at, advice=DIST.advice)
    seal = DIST.get(f"{path}.sha256", at)
    if seal is not None and seal.text().split()[:1] != [hashlib.sha256(answer.body).hexdigest()]:
        raise ResolveError(f"{DIST.url}{path} does not fit its .sha256", position=at, advice=DIST.advice)
    try:
        manifest = tomllib.loads(answer.text())
        version = str(manifest["pkg"]["rust"]["version"]).split()[0]
        found = [_component(manifest, name, version, at) for name in (*_NEEDED, *_WELCOME)]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise DIST.unreadable(path, at) from error
    return [component for component in found if component is not None]


def _component(manifest: dict[str, Any], name: str, version: str, at: Position) -> ToolArchive | None:
    target = manifest["pkg"].get(name, {}).get("target", {}).get(TARGET, {})
    if not target.get("available"):
        if name in _WELCOME:
            return None
        raise ResolveError(f"Rust {version} has no {name} for {TARGET}", position=at)
    packed = "xz_" if "xz_url" in target else ""
    # As rustup does: manifests name the first server, and a mirror keeps its paths.
    url = str(target[f"{packed}url"]).replace(DIST.default, DIST.url, 1)
    file = LockedFile(url.rpartition("/")[2], url, str(target[f"{packed}hash"]), DIST.size(url, at))
    return ToolArchive(name.removesuffix("-preview"), version, file, toolchain="rust")


def _known(at: Position) -> list[str]:
    """Every numbered version, where the server lists them."""
    answer = DIST.get("/manifests.txt", at)
    if answer is None:
        return []
    return re.findall(r"channel-rust-(\d+\.\d+\.\d+)\.toml$", answer.text(), re.MULTILINE)
