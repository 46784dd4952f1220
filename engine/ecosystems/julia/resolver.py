"""The lock section "julia": Julia itself, its packages, and the artifacts that these need.

Julia: its project's own releases, from the index versions.json (URL, SHA-256 and size of each
file). Packages: a package server (see `engine.ecosystems.julia.registry`); GET /package/UUID/HASH and
/artifact/HASH give a tree as a tar, which is held to its git tree hash here and pinned by SHA-256.
"""

from __future__ import annotations

import json
import tarfile
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.core.atomic import write_text
from engine.core.urls import redacted
from engine.ecosystems import languages
from engine.ecosystems.julia import registry as juliaregistry
from engine.ecosystems.julia import solver as juliapkg
from engine.ecosystems.julia.git_tree import tree_hash
from engine.ecosystems.julia.solver import Candidate
from engine.ecosystems.julia.versions import Version
from engine.errors import ResolveError
from engine.lock.packages import JuliaArtifact, JuliaPackage, LockedFile, LockedPackage, ToolArchive
from engine.net.fetch import fetch
from engine.net.pin import Unpinned, pin_all
from engine.net.upstream import Upstream, begins, choose
from grammar.environment import NOWHERE, Environment, Position
from store import Store, archives

RELEASES = Upstream("Julia's releases", "ENVD_JULIA_DOWNLOADS", "https://julialang-s3.julialang.org")
_INDEX = "/bin/versions.json"
_TRIPLET = "x86_64-linux-gnu"
# Base.BinaryPlatforms.HostPlatform() there; a tag that an artifact lacks is none that it minds.
_HOST = {
    "arch": "x86_64",
    "os": "linux",
    "libc": "glibc",
    "libgfortran_version": "5.0.0",
    "cxxstring_abi": "cxx11",
}

Log = Callable[[str], None]


def resolve(
    environment: Environment, old: Sequence[LockedPackage], store: Path, log: Log
) -> list[LockedPackage]:
    """Julia, and the packages asked for with all that they need. Versions of `old` (an earlier
    lock's) are kept where they fit. Raises ResolveError."""
    asked = languages.julia(environment)
    assert asked is not None
    cache_directory = store / "cache"
    releases = [p for p in old if isinstance(p, ToolArchive)]
    kept = next((p for p in releases if begins(p.version, asked.version)), None)
    release = kept or _release(asked.version, asked.position)
    requests = environment.julia_packages
    if not requests:
        return [release]
    position = next((r.position for r in requests if r.position.line), NOWHERE)
    with Store.open(store) as opened:
        library = standard_library(release, opened, cache_directory, log)
        url = languages.julia_server(environment)
        # what one envd keeps of older registries is what another one may just be reading
        with opened.lock("julia-registries", "reads the registries of Julia"):
            registries = juliaregistry.read(url, position, cache_directory, log)
        julia = juliapkg.Julia(Version.parse(release.version), library)
        preferred = {p.uuid: Version.parse(p.version) for p in old if isinstance(p, JuliaPackage)}
        chosen = juliapkg.solve(requests, registries, julia, preferred)
        known = {p.tree if isinstance(p, JuliaPackage) else p.version: p.file for p in old if p is not kept}
        return [release, *_pinned(chosen, url, release.version, known, opened, log)]


# -- Julia itself -----------------------------------------------------------------------------


def _release(wanted: str, at: Position) -> LockedPackage:
    """The archive of the newest stable version that `wanted` ("1.10", "" for any) stands for."""
    answer = RELEASES.require(_INDEX, at)
    try:
        index = answer.json()
        files = {
            str(version): row
            for version, about in index.items()
            for row in about["files"]
            if row["triplet"] == _TRIPLET and row["kind"] == "archive" and str(row["url"]).endswith(".tar.gz")
        }
        version = choose(wanted, files, RELEASES.name, at)
        row = files[version]
        url, sha256, size = str(row["url"]), str(row["sha256"]), int(row.get("size", 0))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RELEASES.unreadable(_INDEX, at) from error
    # A mirror has the index as it is: with the site's own URLs.
    if url.startswith(f"{RELEASES.default}/"):
        url = RELEASES.url + url.removeprefix(RELEASES.default)
    return ToolArchive("julia", version, LockedFile(url.rpartition("/")[2], url, sha256, size))


def standard_library(release: LockedPackage, store: Store, cache_directory: Path, log: Log) -> dict[str, str]:
    """UUID -> name of the packages that a release's archive holds; remembered."""
    file = release.file
    memo = cache_directory / f"julia/library-{file.sha256}.json"
    with suppress(OSError, ValueError, TypeError):
        return dict(json.loads(memo.read_text("utf-8")))
    log(f"reading the standard library of Julia {release.version} ({file.size / 1e6:.0f} MB)")
    path = fetch(file.fetch(), store)
    found = {}
    try:
        with archives.opened(path) as archive:
            for member in archives.members(archive):
                parts = member.name.removeprefix("./").split("/")
                # julia-X.Y.Z/share/julia/stdlib/vX.Y/NAME/Project.toml
                if (
                    parts[1:4] != ["share", "julia", "stdlib"]
                    or parts[-1] != "Project.toml"
                    or len(parts) != 7
                ):
                    continue
                if not member.isreg():
                    continue
                project = tomllib.loads(archives.read(archive, member).decode("utf-8"))
                if "uuid" in project:
                    found[str(project["uuid"])] = str(project.get("name", parts[5]))
    except (tarfile.TarError, OSError, ValueError, RecursionError) as error:
        raise ResolveError(f"cannot read it: {error}", subject=file.name) from error
    memo.parent.mkdir(parents=True, exist_ok=True)
    write_text(memo, json.dumps(found))
    return found


# -- packages and artifacts -------------------------------------------------------------------


@dataclass(frozen=True)
class _Tree:
    """A tree to pin: its hash, and where to get it."""

    tree: str
    file: Unpinned


def _pinned(
    chosen: Sequence[Candidate], url: str, julia: str, known: Mapping[str, LockedFile], store: Store, log: Log
) -> Iterator[LockedPackage]:
    log(f"downloading {len(chosen)} packages")
    trees = [
        _Tree(
            c.tree,
            Unpinned(
                f"{c.package.name}-{c.version}.tar.gz", f"{url}/package/{c.package.uuid}/{c.tree}", c.position
            ),
        )
        for c in chosen
    ]
    artifacts: dict[str, tuple[str, _Tree]] = {}
    for candidate, (file, path) in zip(chosen, _download(trees, known, store), strict=True):
        members = _members(path)
        project = _toml(members.get("Project.toml") or members.get("JuliaProject.toml"))
        yield _package(candidate, file, project)
        listing = members.get("JuliaArtifacts.toml") or members.get("Artifacts.toml")
        for name, row in needed_artifacts(_toml(listing), julia).items():
            tree = str(row["git-tree-sha1"])
            source: Mapping[str, Any] = next(iter(row.get("download", ())), {})
            artifacts[tree] = (
                name,
                _Tree(
                    tree,
                    Unpinned(
                        f"{name}-{tree[:8]}.tar.gz",
                        f"{url}/artifact/{tree}",
                        candidate.position,
                        fallback=str(source.get("url", "")),
                    ),
                ),
            )
    if artifacts:
        log(f"downloading {len(artifacts)} artifacts")
    found = _download([tree for _, tree in artifacts.values()], known, store)
    for (tree, (name, _)), (file, _) in zip(artifacts.items(), found, strict=True):
        yield JuliaArtifact(name, tree, file)


def _download(
    trees: Sequence[_Tree], known: Mapping[str, LockedFile], store: Store
) -> list[tuple[LockedFile, Path]]:
    """The pinned files, and where they are; each is the tree that it should be. Those of `known`
    (by tree) are pinned already."""
    pinned = iter(pin_all([t.file for t in trees if t.tree not in known], store))
    found = []
    for wanted in trees:
        file = known.get(wanted.tree) or next(pinned)
        url = wanted.file.url  # with a login, where it needs one
        path = fetch(file.fetch(url, fallback=file.url), store)
        try:
            tree = tree_hash(path)
        except (tarfile.TarError, ValueError, EOFError, OSError) as error:
            raise ResolveError(
                f"{redacted(file.url)} is not an archive: {error}", position=wanted.file.position
            ) from error
        if tree != wanted.tree:
            raise ResolveError(
                f"{redacted(file.url)} is not what the registry says: its tree is {tree}",
                position=wanted.file.position,
                advice="try another server with config.julia_pkg_server",
            )
        found.append((file, path))
    return found


def _package(candidate: Candidate, file: LockedFile, project: Mapping[str, Any]) -> JuliaPackage:
    """A package, with what a manifest says of it."""
    package, version = candidate.package, candidate.version
    tables = {
        key: json.dumps(table, sort_keys=True)
        for key in ("weakdeps", "extensions")
        if (table := project.get(key))
    }
    deps = " ".join(f"{d.name}={d.uuid}" for d in package.dependencies(version))
    return JuliaPackage(
        package.name,
        str(version),
        file,
        uuid=package.uuid,
        tree=candidate.tree,
        deps=deps or None,
        weakdeps=tables.get("weakdeps"),
        extensions=tables.get("extensions"),
    )


def _members(path: Path) -> dict[str, bytes]:
    """The files at the top of a tar whose names end in .toml."""
    found = {}
    with archives.opened(path) as archive:
        for member in archives.members(archive):
            name = member.name.removeprefix("./")
            if "/" not in name and name.endswith(".toml") and member.isreg():
                found[name] = archives.read(archive, member)
    return found


def _toml(data: bytes | None) -> dict[str, Any]:
    try:
        return tomllib.loads((data or b"").decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ResolveError(f"a Julia package holds a malformed TOML file: {error}") from error


def needed_artifacts(listing: Mapping[str, Any], julia: str) -> dict[str, Mapping[str, Any]]:
    """The rows of an Artifacts.toml that this platform needs at once, by name.

    Of several rows that fit, the one with the fewest tags that the host does not have; the choice
    of Pkg's select_platform. A package's own .pkg/select_artifacts.jl is code, which is not run.
    """
    found = {}
    for name, rows in listing.items():
        fitting = [
            row
            for row in (rows if isinstance(rows, list) else [rows])
            if "git-tree-sha1" in row and not row.get("lazy") and _fits(row, julia)
        ]
        if fitting:
            found[name] = max(
                fitting, key=lambda row: (-len(_tags(row) - set(_HOST)), sorted(map(str, row.items())))
            )
    return found


def _tags(row: Mapping[str, Any]) -> set[str]:
    return {key for key in row if key not in ("git-tree-sha1", "download", "lazy")}


def _fits(row: Mapping[str, Any], julia: str) -> bool:
    if "julia_version" in row and str(row["julia_version"]).split(".")[:2] != julia.split(".")[:2]:
        return False
    return all(str(row[key]) == value for key, value in _HOST.items() if key in row)
