"""Resolving R packages against a CRAN-like repository.

Its index is src/contrib/PACKAGES, a control file; dependencies are in Depends, Imports and
LinkingTo ("Writing R Extensions", section 1.1.3; fields of the index: tools::write_PACKAGES).
CRAN keeps one version of a package there, and gives an MD5: the SHA-256 is of what we download.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from engine.core.urls import redacted
from engine.ecosystems.debian.package_lists import parse_stanzas
from engine.ecosystems.languages import cran_archive
from engine.ecosystems.r.resolver import version_key
from engine.errors import ResolveError
from engine.lock.packages import LockedFile, RSource
from engine.net.answers import get
from engine.net.pin import Unpinned, pin_all
from grammar.environment import Position
from grammar.nearest import suggest
from store import Store, bodies, limits
from store.compression import inflated
from store.errors import TooLargeError

_ITEM = re.compile(r"\s*([A-Za-z][A-Za-z0-9.]*)\s*(?:\(\s*(>=|<=|==|!=|>|<)\s*([0-9][0-9.-]*)\s*\))?\s*")
_LOCKED = "envd-url"  # field of an entry that stands for a locked package


@dataclass(frozen=True)
class Dependency:
    """`name`, and which of its versions: `operator` is "" for any."""

    name: str
    operator: str = ""
    version: str = ""

    def allows(self, version: str) -> bool:
        """Whether `version` is one of them."""
        if not self.operator:
            return True
        found, wanted = version_key(version), version_key(self.version)
        return {
            ">=": found >= wanted,
            "<=": found <= wanted,
            ">": found > wanted,
            "<": found < wanted,
            "==": found == wanted,
            "!=": found != wanted,
        }[self.operator]

    def __str__(self) -> str:
        return f"{self.name} {self.operator} {self.version}" if self.operator else self.name


@dataclass(frozen=True)
class Entry:
    """One version of a package in an index."""

    fields: Mapping[str, str]

    @property
    def name(self) -> str:
        """The package's name."""
        return self.fields["Package"].strip()

    @property
    def version(self) -> str:
        """The package's version, as the index writes it."""
        return self.fields["Version"].strip()

    @cached_property
    def dependencies(self) -> tuple[Dependency, ...]:
        """What must be there to build and to load it; with R itself."""
        found = []
        for field in ("Depends", "Imports", "LinkingTo"):
            for item in self.fields.get(field, "").split(","):
                if match := _ITEM.fullmatch(item):
                    found.append(Dependency(match[1], match[2] or "", match[3] or ""))
        return tuple(found)

    @property
    def compiled(self) -> bool:
        """Whether it holds code to compile."""
        return self.fields.get("NeedsCompilation", "no").strip().lower() == "yes"

    @property
    def r(self) -> tuple[Dependency, ...]:
        """Which R it needs."""
        return tuple(d for d in self.dependencies if d.name == "R")

    def url(self, repository: str) -> str:
        """Where its sources are."""
        if locked := self.fields.get(_LOCKED):
            return locked
        name = self.fields.get("File", f"{self.name}_{self.version}.tar.gz").strip()
        path = self.fields.get("Path", "").strip().strip("/")
        return f"{repository}/src/contrib/{path}/{name}" if path else f"{repository}/src/contrib/{name}"


def of_lock(package: RSource) -> Entry:
    """A locked package, as an index would have it."""
    depends = re.sub(r"([<>=!]=|[<>])(\S+)", r" (\1 \2)", package.depends or "")
    return Entry(
        {
            "Package": package.name,
            "Version": package.version,
            _LOCKED: package.file.url,
            "Imports": re.sub(r"\s+(?=[A-Za-z])", ", ", depends),
            "NeedsCompilation": "yes" if package.compiled else "no",
            **({"MD5sum": package.md5} if package.md5 is not None else {}),
        }
    )


class Index:
    """A repository's index; paragraphs are read when they are asked for. `kept` are packages of an
    earlier lock: theirs are the versions that are taken where they fit."""

    def __init__(self, text: str, kept: Sequence[RSource] = ()) -> None:
        self._kept = {package.name: package for package in kept}
        self._paragraphs: dict[str, list[str]] = {}
        for paragraph in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")):
            if match := re.search(r"^Package:[ \t]*(\S+)", paragraph, re.MULTILINE):
                self._paragraphs.setdefault(match[1], []).append(paragraph)

    @property
    def names(self) -> list[str]:
        """Every package's name."""
        return list(self._paragraphs)

    def entries(self, name: str) -> list[Entry]:
        """The versions of a package that are for this system, the kept one and newer ones first."""
        found = [Entry(s) for t in self._paragraphs.get(name, ()) for s in parse_stanzas(t)]
        found = [
            e for e in found if "Version" in e.fields and e.fields.get("OS_type", "unix").strip() == "unix"
        ]
        kept = self._kept.get(name)
        if kept is not None and kept.version not in [e.version for e in found]:
            found.append(of_lock(kept))
        return sorted(
            found,
            reverse=True,
            key=lambda e: (kept is not None and e.version == kept.version, version_key(e.version)),
        )

    def similar(self, name: str) -> str:
        """ "; did you mean 'x'?", or ""."""
        return suggest(name, self._paragraphs)


def _gunzipped(body: bytes) -> bytes:
    parts = (body[start : start + 65536] for start in range(0, len(body), 65536))
    return bodies.whole(inflated(parts), "answer", limits.current().answer)


def open_index(repository: str, position: Position, kept: Sequence[RSource] = ()) -> Index:
    """Read a repository's index. Raises ResolveError."""
    contrib = f"{repository}/src/contrib"
    if (answer := get(f"{contrib}/PACKAGES.gz", position)) is not None:
        try:
            # Some servers say that they compress a file that is compressed already.
            body = answer.body
            text = _gunzipped(body) if body[:2] == b"\x1f\x8b" else body
        except (zlib.error, EOFError, TooLargeError) as error:
            raise ResolveError(f"{contrib}/PACKAGES.gz: {error}", position=position) from error
        return Index(text.decode("utf-8", "replace"), kept)
    if (answer := get(f"{contrib}/PACKAGES", position)) is not None:
        return Index(answer.text(), kept)
    raise ResolveError(
        f"{redacted(repository)} is not a CRAN-like repository: it has no src/contrib/PACKAGES",
        position=position,
        advice="check config.cran_mirror and ENVD_CRAN_MIRROR",
    )


@dataclass(frozen=True)
class Target:
    """What packages are for: R `r` ("4.2.2") of `os`, with `provided` (name -> version) in it."""

    os: str
    r: str
    provided: Mapping[str, str]


Chosen = Mapping[str, tuple[Entry, Position]]  # name -> its entry, and the user's line that led to it


def pinned(
    chosen: Chosen, repository: str, old: Sequence[RSource], store: Path, log: Callable[[str], None]
) -> list[RSource]:
    """The sources of what was `chosen`, by name; those of `old` (an earlier lock's) are not downloaded
    again. Raises ResolveError."""
    known = {(p.name, p.version, p.md5 or ""): p.file for p in old}
    entries = [entry for _, (entry, _) in sorted(chosen.items())]
    missing = [
        _unpinned(entry, entry.url(repository), chosen[entry.name][1])
        for entry in entries
        if _key(entry) not in known
    ]
    log(f"downloading {len(missing)} packages")
    with Store.open(store) as opened:
        files = iter(pin_all(missing, opened))
    return [_locked(entry, known.get(_key(entry)) or next(files)) for entry in entries]


def _key(entry: Entry) -> tuple[str, str, str]:
    # Without an MD5 there is no telling whether the file is still the same.
    return entry.name, entry.version, entry.fields.get("MD5sum", "unknown").strip()


def _unpinned(entry: Entry, url: str, position: Position) -> Unpinned:
    md5 = entry.fields.get("MD5sum", "").strip()
    known = re.fullmatch(r"[0-9a-fA-F]{32}", md5)
    integrity = f"md5-{base64.b64encode(bytes.fromhex(md5)).decode()}" if known else ""
    name = url.rpartition("/")[2]
    return Unpinned(name, url, position, integrity, cran_archive(entry.name, url))


def _locked(entry: Entry, file: LockedFile) -> RSource:
    needs = sorted({f"{d.name}{d.operator}{d.version}" for d in entry.dependencies})
    return RSource(
        entry.name,
        entry.version,
        file,
        depends=" ".join(needs) or None,
        compiled=entry.compiled,
        md5=entry.fields.get("MD5sum", "").strip() or None,
    )
