"""What a lock pins, one record for each kind of row, and how a row is written.

Hash and file terms for wheels follow PEP 751 (pylock.toml).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from engine.core.derivation import Fetch
from engine.lock.rows import shown


@dataclass(frozen=True)
class LockedFile:
    """One pinned file. `sha256` is 64 hex digits; `size` is in bytes, 0 when unknown."""

    name: str  # file name
    url: str
    sha256: str
    size: int = 0

    def fetch(self, url: str = "", *, fallback: str = "") -> Fetch:
        """How it is fetched: from its URL, unless another `url` is given; see `Fetch`."""
        return Fetch(self.name, url or self.url, self.sha256, self.size, fallback)


class RowError(ValueError):
    """A row that is none of a lock: what is wrong with it, in one clause."""


# How a field is read from a row's text, and written: None leaves it out.
_Read = Callable[[str], Any]
_Write = Callable[[Any], str | None]


def _field(default: Any, read: _Read, write: _Write) -> Any:
    return field(default=default, metadata={"read": read, "write": write})


def text(default: str | None = None) -> Any:
    """A field of text; None is one that the row does not have."""
    return _field(default, str, lambda value: value)


def needed() -> Any:
    """A field of text that every row has."""
    return field(metadata={"read": str, "write": lambda value: value, "needed": True})


def flag() -> Any:
    """A field that is "yes" in the row, or not there."""
    yes_or_no = {"yes": True, "no": False, "": False}
    return _field(False, yes_or_no.__getitem__, lambda value: "yes" if value else None)


def words() -> Any:
    """A field of words, separated by blanks in the row."""
    return _field(
        None, lambda value: tuple(value.split()), lambda value: None if value is None else " ".join(value)
    )


def number(digits: int) -> Any:
    """A field that is a number, of so many digits at least in the row."""
    return _field(None, int, lambda value: None if value is None else f"{value:0{digits}}")


@dataclass(frozen=True)
class LockedPackage:
    """A named, versioned package and its file; each kind is a class of its own, which has what else
    is known of such a package."""

    kind: ClassVar[str] = ""

    name: str
    version: str
    file: LockedFile

    def facts(self) -> dict[str, str]:
        """The fields of its kind, as a row has them."""
        found = {}
        for each in fields(self):
            if "write" in each.metadata:
                value = each.metadata["write"](getattr(self, each.name))
                if value is not None:
                    found[each.name] = value
        return dict(sorted(found.items()))


@dataclass(frozen=True)
class Deb(LockedPackage):
    """A Debian package; one that is `essential` must lie there before dpkg can run."""

    kind = "deb"
    arch: str | None = text()
    essential: bool = flag()


@dataclass(frozen=True)
class Wheel(LockedPackage):
    """A Python package, built."""

    kind = "wheel"


@dataclass(frozen=True)
class BuildWheel(LockedPackage):
    """A wheel that building an sdist needs."""

    kind = "build-wheel"


@dataclass(frozen=True)
class Sdist(LockedPackage):
    """A Python package as source; `build` are the wheels ("NAME==VERSION") that building it needs."""

    kind = "sdist"
    build: tuple[str, ...] | None = words()


@dataclass(frozen=True)
class Conda(LockedPackage):
    """A conda package; `python`: it is for one version of Python."""

    kind = "conda"
    build: str | None = text()
    subdir: str | None = text()
    python: bool = flag()


@dataclass(frozen=True)
class Vsix(LockedPackage):
    """An extension of VS Code, for the platform `target`."""

    kind = "vsix"
    target: str | None = text()


@dataclass(frozen=True)
class Layer(LockedPackage):
    """A layer of a registry image. In the section "images", `image` is the reference that was asked
    for, and `position` counts its layers from the bottom up."""

    kind = "layer"
    diff_id: str = needed()
    media_type: str = needed()
    image: str | None = text()
    position: int | None = number(3)


@dataclass(frozen=True)
class Config(LockedPackage):
    """The config of a registry image."""

    kind = "config"


@dataclass(frozen=True)
class WebFile(LockedPackage):
    """A file of io.http; `request` is what was asked for."""

    kind = "file"
    request: str | None = text()


@dataclass(frozen=True)
class ToolArchive(LockedPackage):
    """A release archive of a tool. `request` is what was asked for, `toolchain` the tool's name where
    the archive has another, `key` names a build of Python, `program` where a program lies inside."""

    kind = "tool"
    request: str | None = text()
    toolchain: str | None = text()
    key: str | None = text()
    program: str | None = text()


@dataclass(frozen=True)
class RSource(LockedPackage):
    """An R package as source; `depends` is a list such as "R>=3.5 Rcpp", `md5` is the index's."""

    kind = "r-source"
    depends: str | None = text()
    compiled: bool = flag()
    md5: str | None = text()


@dataclass(frozen=True)
class JuliaPackage(LockedPackage):
    """A Julia package. `tree` is its git tree hash, `deps` is a list of NAME=UUID; `weakdeps` and
    `extensions` are tables of its project file, as JSON."""

    kind = "julia-package"
    uuid: str = needed()
    tree: str = needed()
    deps: str | None = text()
    weakdeps: str | None = text()
    extensions: str | None = text()


@dataclass(frozen=True)
class JuliaArtifact(LockedPackage):
    """An artifact of Julia packages; its version is its git tree hash."""

    kind = "julia-artifact"


_KINDS: dict[str, type[LockedPackage]] = {
    kind.kind: kind
    for kind in (
        Deb,
        Wheel,
        BuildWheel,
        Sdist,
        Conda,
        Vsix,
        Layer,
        Config,
        WebFile,
        ToolArchive,
        RSource,
        JuliaPackage,
        JuliaArtifact,
    )
}
OWN = frozenset(_KINDS)  # those of envd's own sections
_ROW = frozenset({"name", "version", "kind", "file", "url", "size", "sha256"})


def know(kind: type[LockedPackage]) -> None:
    """Let locks have rows of one more kind."""
    _KINDS[kind.kind] = kind


def row_of(package: LockedPackage) -> dict[str, Any]:
    """A package as a lock has it."""
    return {
        "name": package.name,
        "version": package.version,
        "kind": package.kind,
        "file": package.file.name,
        "url": package.file.url,
        "size": package.file.size,
        "sha256": package.file.sha256,
        **package.facts(),
    }


def package_of(row: Mapping[str, Any]) -> LockedPackage:
    """The package of a row. Raises RowError, and KeyError and TypeError for one that is malformed."""
    kind = _KINDS.get(str(row["kind"]))
    if kind is None:
        raise RowError(f"kind {shown(str(row['kind']))} is not one that this envd knows")
    known = {each.name: each for each in fields(kind) if "read" in each.metadata}
    given: dict[str, Any] = {}
    for key, value in row.items():
        if key in _ROW:
            continue
        if key not in known:
            raise RowError(f"{shown(key)} is not the name of a field of a {kind.kind}")
        try:
            given[key] = known[key].metadata["read"](str(value))
        except (KeyError, ValueError):
            raise RowError(f"{key} {shown(str(value))} is not a valid {key} of a {kind.kind}") from None
    for key, each in known.items():
        if "needed" in each.metadata and key not in given:
            raise RowError(f"it has no {key}, which a {kind.kind} has")
    if type(row["size"]) is not int:  # TOML has numbers that are no size: inf, nan, true
        raise ValueError(f"the size {row['size']!r} is not a whole number")
    file = LockedFile(str(row["file"]), str(row["url"]), str(row["sha256"]), row["size"])
    return kind(str(row["name"]), str(row["version"]), file, **given)
