"""Reading Julia's package registries, as a package server gives them.

Protocol: GET /registries names each registry and the git tree hash of its content today, GET
/registry/UUID/HASH is that content as a tar. Content: Registry.toml, and for each package
Package.toml, Versions.toml, Deps.toml, Compat.toml, WeakDeps.toml and WeakCompat.toml.
"""

from __future__ import annotations

import tarfile
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.core.urls import redacted
from engine.ecosystems.julia.git_tree import tree_hash
from engine.ecosystems.julia.versions import Ranges, Version
from engine.errors import ResolveError
from engine.net.answers import get
from grammar.environment import Position
from grammar.nearest import suggest
from store import archives


@dataclass(frozen=True)
class Dependency:
    """What a version of a package needs: a name, its UUID, and which versions (None: any)."""

    name: str
    uuid: str
    ranges: Ranges | None = None


@dataclass(frozen=True)
class Package:
    """A package in a registry; its files are parsed when they are asked for."""

    name: str
    uuid: str
    files: Mapping[str, bytes]  # "Versions.toml", …

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return tomllib.loads(self.files.get(name, b"").decode("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._malformed(name, error) from error

    def _malformed(self, name: str, error: Exception) -> ResolveError:
        return ResolveError(f"the registry's {name} of {self.name} is malformed: {error}")

    @cached_property
    def versions(self) -> dict[Version, str]:
        """Version -> git tree hash, newest first, without those that were withdrawn."""
        rows = self._read("Versions.toml")
        try:
            found = {
                Version.parse(text): str(row["git-tree-sha1"])
                for text, row in rows.items()
                if not row.get("yanked")
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._malformed("Versions.toml", error) from error
        return dict(sorted(found.items(), reverse=True))

    @cached_property
    def _sections(self) -> dict[str, list[tuple[Ranges, dict[str, Any]]]]:
        names = ("Deps.toml", "Compat.toml", "WeakDeps.toml", "WeakCompat.toml")
        found = {}
        for name in names:
            try:
                found[name] = [(Ranges.parse(key), dict(rows)) for key, rows in self._read(name).items()]
            except (ValueError, TypeError) as error:
                raise self._malformed(name, error) from error
        return found

    def _of(self, name: str, version: Version) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for ranges, rows in self._sections[name]:
            if version in ranges:
                found.update(rows)
        return found

    def julia(self, version: Version) -> Ranges | None:
        """Which Julia a version needs."""
        return self._ranges("Compat.toml", self._of("Compat.toml", version), "julia")

    def _ranges(self, file: str, limits: Mapping[str, Any], name: str) -> Ranges | None:
        try:
            return Ranges.parse(limits[name]) if name in limits else None
        except (ValueError, TypeError) as error:
            raise self._malformed(file, error) from error

    def dependencies(self, version: Version) -> list[Dependency]:
        """What a version needs."""
        return self._dependencies("Deps.toml", "Compat.toml", version)

    def weak(self, version: Version) -> list[Dependency]:
        """What a version extends when it is there."""
        return self._dependencies("WeakDeps.toml", "WeakCompat.toml", version)

    def _dependencies(self, deps: str, compat: str, version: Version) -> list[Dependency]:
        limits = self._of(compat, version)
        return [
            Dependency(name, str(uuid), self._ranges(compat, limits, name))
            for name, uuid in sorted(self._of(deps, version).items())
        ]


@dataclass
class Registries:
    """All registries of a server, as one."""

    packages: dict[str, Package] = field(default_factory=dict)  # by UUID

    @cached_property
    def by_name(self) -> dict[str, list[Package]]:
        """Packages by name: two may share one."""
        found: dict[str, list[Package]] = {}
        for package in self.packages.values():
            found.setdefault(package.name, []).append(package)
        return found

    def similar(self, name: str) -> str:
        """ "; did you mean 'X'?", or ""."""
        return suggest(name, self.by_name)


def read(server: str, position: Position, cache_directory: Path, log: Callable[[str], None]) -> Registries:
    """The registries of a package server, kept under `cache_directory`. Raises ResolveError."""
    answer = get(f"{server}/registries", position)
    lines = (
        []
        if answer is None
        else [line.strip().strip("/").split("/") for line in answer.text().splitlines() if line.strip()]
    )
    if not lines or any(len(parts) != 3 or parts[0] != "registry" for parts in lines):
        raise ResolveError(
            f"{redacted(server)} is not a Julia package server: its /registries lists none",
            position=position,
            advice="check config.julia_pkg_server and ENVD_JULIA_PKG_SERVER",
        )
    found = Registries()
    for _, uuid, tree in lines:
        url = f"{server}/registry/{uuid}/{tree}"
        path = _fetched(url, cache_directory / f"julia/registry-{uuid}-{tree}.tar", position, log)
        for package in _packages(path):
            found.packages.setdefault(package.uuid, package)
    return found


def _fetched(url: str, path: Path, position: Position, log: Callable[[str], None]) -> Path:
    """The registry of a URL at `path`; what was there of older ones goes."""
    tree, where = url.rpartition("/")[2], redacted(url)
    if path.exists():
        return path
    log(f"reading {where}")
    answer = get(url, position)
    if answer is None:
        raise ResolveError(f"{where} is not there", position=position)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(answer.body)
    try:
        hash_found = tree_hash(partial)
    except (tarfile.TarError, ValueError, EOFError, OSError) as error:
        raise ResolveError(f"{where} is not a registry: {error}", position=position) from error
    if hash_found != tree:
        raise ResolveError(f"{where} is not what it says: its tree is {hash_found}", position=position)
    for old in path.parent.glob(f"{path.name[: -len(tree) - 4]}*.tar"):
        old.unlink(missing_ok=True)
    partial.replace(path)
    return path


def _packages(path: Path) -> Iterable[Package]:
    files: dict[str, dict[str, bytes]] = {}
    with archives.opened(path) as archive:
        for member in archives.members(archive):
            directory, _, name = member.name.removeprefix("./").rpartition("/")
            if name.endswith(".toml") and member.isreg():
                files.setdefault(directory, {})[name] = archives.read(archive, member)
    try:
        index = tomllib.loads(files[""]["Registry.toml"].decode("utf-8"))
        rows = index["packages"].items()
        return [Package(str(r["name"]), str(u), files.get(str(r["path"]), {})) for u, r in rows]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ResolveError(f"a Julia registry's Registry.toml is malformed: {error!r}") from error
