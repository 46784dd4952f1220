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
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from engine.errors import ResolveError
from engine.fetch import shown
from engine.languages import cran_archive
from engine.lock import LockedFile, LockedPackage
from engine.net.answers import get
from engine.resolve.package_lists import parse_stanzas
from engine.resolve.pin import Unpinned, pin_all
from engine.resolve.r import version_key
from grammar.environment import NOWHERE, Position, Request
from store import Store, bodies, limits
from store.compression import inflated
from store.errors import TooLargeError

_ITEM = re.compile(
    r"\s*([A-Za-z][A-Za-z0-9.]*)\s*(?:\(\s*(>=|<=|==|!=|>|<)\s*([0-9][0-9.-]*)\s*\))?\s*"
)
_LOCKED = "envd-url"  # field of an entry that stands for a locked package
_PASSES = 50  # of narrowing down; CRAN's one version per package needs two


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
            ">=": found >= wanted, "<=": found <= wanted, ">": found > wanted,
            "<": found < wanted, "==": found == wanted, "!=": found != wanted,
        }[self.operator]

    def __str__(self) -> str:
        return f"{self.name} {self.operator} {self.version}" if self.operator else self.name


@dataclass(frozen=True)
class Entry:
    """One version of a package in an index."""

    fields: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.fields["Package"].strip()

    @property
    def version(self) -> str:
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
        return f"{repository}/src/contrib/{path}/{name}" if path else \
            f"{repository}/src/contrib/{name}"


def of_lock(package: LockedPackage) -> Entry:
    """A locked package, as an index would have it."""
    depends = re.sub(r"([<>=!]=|[<>])(\S+)", r" (\1 \2)", package.extra.get("depends", ""))
    return Entry({
        "Package": package.name, "Version": package.version, _LOCKED: package.file.url,
        "Imports": re.sub(r"\s+(?=[A-Za-z])", ", ", depends),
        "NeedsCompilation": package.extra.get("compiled", "no"),
        **({"MD5sum": package.extra["md5"]} if "md5" in package.extra else {}),
    })


class Index:
    """A repository's index; paragraphs are read when they are asked for. `kept` are packages of an
    earlier lock: theirs are the versions that are taken where they fit."""

    def __init__(self, text: str, kept: Sequence[LockedPackage] = ()) -> None:
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
            e for e in found
            if "Version" in e.fields and e.fields.get("OS_type", "unix").strip() == "unix"
        ]
        kept = self._kept.get(name)
        if kept is not None and kept.version not in [e.version for e in found]:
            found.append(of_lock(kept))
        return sorted(
            found, reverse=True,
            key=lambda e: (kept is not None and e.version == kept.version, version_key(e.version)),
        )

    def similar(self, name: str) -> str:
        """ "; did you mean 'x'?", or ""."""
        folded = {known.casefold(): known for known in self._paragraphs}
        close = get_close_matches(name.casefold(), folded, n=1, cutoff=0.7)
        return f"; did you mean '{folded[close[0]]}'?" if close else ""


def _gunzipped(body: bytes) -> bytes:
    parts = (body[start : start + 65536] for start in range(0, len(body), 65536))
    return bodies.whole(inflated(parts), "answer", limits.current().answer)


def open_index(
    repository: str, position: Position, kept: Sequence[LockedPackage] = ()
) -> Index:
    """Read a repository's index. Raises ResolveError."""
    contrib = f"{repository}/src/contrib"
    if (answer := get(f"{contrib}/PACKAGES.gz", position)) is not None:
        try:
            # Some servers say that they compress a file that is compressed already.
            body = answer.body
            text = _gunzipped(body) if body[:2] == b"\x1f\x8b" else body
        except (zlib.error, EOFError, TooLargeError) as error:
            raise ResolveError(f"{position}: {contrib}/PACKAGES.gz: {error}") from error
        return Index(text.decode("utf-8", "replace"), kept)
    if (answer := get(f"{contrib}/PACKAGES", position)) is not None:
        return Index(answer.text(), kept)
    raise ResolveError(
        f"{position}: {shown(repository)} is not a CRAN-like repository: it has no "
        f"src/contrib/PACKAGES; "
        "check config.cran_mirror and ENVD_CRAN_MIRROR"
    )


@dataclass(frozen=True)
class Target:
    """What packages are for: R `r` ("4.2.2") of `os`, with `provided` (name -> version) in it."""

    os: str
    r: str
    provided: Mapping[str, str]


@dataclass(frozen=True)
class _Asked:
    """A dependency, whose it is ("" for the user's own), and the user's line that led to it."""

    dependency: Dependency
    by: str
    position: Position


def resolve(
    requests: Sequence[Request],
    repository: str,
    target: Target,
    old: Sequence[LockedPackage],
    store: Path,
    log: Callable[[str], None],
) -> list[LockedPackage]:
    """The source packages that `requests` need beyond what R has. Versions of `old` (an earlier
    lock's) are kept where they fit, and not downloaded again.

    Raises ResolveError, naming all that does not fit.
    """
    if not requests:
        return []
    position = next((r.position for r in requests if r.position.line), NOWHERE)
    log(f"reading {shown(repository)}/src/contrib/PACKAGES")
    index = open_index(repository, position, old)
    chosen = _solve(requests, index, target, shown(repository))
    known = {(p.name, p.version, p.extra.get("md5", "")): p.file for p in old}
    entries = [entry for _, (entry, _) in sorted(chosen.items())]
    missing = [
        _unpinned(entry, entry.url(repository), chosen[entry.name][1])
        for entry in entries if _key(entry) not in known
    ]
    log(f"downloading {len(missing)} packages")
    with Store.open(store) as opened:
        pinned = iter(pin_all(missing, opened))
    return [
        _locked(entry, known.get(_key(entry)) or next(pinned)) for entry in entries
    ]


def _key(entry: Entry) -> tuple[str, str, str]:
    # Without an MD5 there is no telling whether the file is still the same.
    return entry.name, entry.version, entry.fields.get("MD5sum", "unknown").strip()


def _unpinned(entry: Entry, url: str, position: Position) -> Unpinned:
    md5 = entry.fields.get("MD5sum", "").strip()
    known = re.fullmatch(r"[0-9a-fA-F]{32}", md5)
    integrity = f"md5-{base64.b64encode(bytes.fromhex(md5)).decode()}" if known else ""
    name = url.rpartition("/")[2]
    return Unpinned(name, url, position, integrity, cran_archive(entry.name, url))


def _locked(entry: Entry, file: LockedFile) -> LockedPackage:
    extra = {}
    if needs := sorted({f"{d.name}{d.operator}{d.version}" for d in entry.dependencies}):
        extra["depends"] = " ".join(needs)
    if entry.compiled:
        extra["compiled"] = "yes"
    if md5 := entry.fields.get("MD5sum", "").strip():
        extra["md5"] = md5
    return LockedPackage("r-source", entry.name, entry.version, file, extra)


Chosen = dict[str, tuple[Entry, Position]]


def _solve(
    requests: Sequence[Request], index: Index, target: Target, repository: str
) -> Chosen:
    """One version of every package needed: the newest that all who need it allow.

    What is asked of a package narrows down from pass to pass, until a pass asks for nothing new.
    """
    limits: dict[str, list[_Asked]] = {}
    for _ in range(_PASSES):
        chosen, asked, problems = _walk(requests, index, target, limits, repository)
        if {n: {a.dependency for a in items} for n, items in asked.items()} == \
                {n: {a.dependency for a in items} for n, items in limits.items()}:
            break
        limits = asked
    else:
        problems = [f"{requests[0].position}: what the R packages ask of one another never settles"]
    if problems:
        raise ResolveError("\n".join(dict.fromkeys(problems)))
    return chosen


def _walk(
    requests: Sequence[Request], index: Index, target: Target,
    limits: Mapping[str, Sequence[_Asked]], repository: str,
) -> tuple[Chosen, dict[str, list[_Asked]], list[str]]:
    chosen: Chosen = {}
    asked: dict[str, list[_Asked]] = {}
    problems: list[str] = []
    todo = [_Asked(Dependency(r.text), "", r.position) for r in requests]
    while todo:
        item = todo.pop(0)
        name = item.dependency.name
        asked.setdefault(name, []).append(item)
        if len(asked[name]) > 1:  # what it asks for counts in the next pass
            continue
        if _comes_with_r(name, item, target, limits):
            continue
        try:
            entry = _pick(item, index, target, limits.get(name, ()), repository)
        except ResolveError as error:
            problems.append(str(error))
            continue
        chosen[name] = entry, item.position
        todo += [
            _Asked(d, f"{entry.name} {entry.version}", item.position)
            for d in entry.dependencies if d.name != "R"
        ]
    return chosen, asked, problems


def _comes_with_r(
    name: str, item: _Asked, target: Target, limits: Mapping[str, Sequence[_Asked]]
) -> bool:
    """Whether R has a package already, in a version that does for all who need it."""
    version = target.provided.get(name)
    return version is not None and all(
        a.dependency.allows(version) for a in (item, *limits.get(name, ()))
    )


def _pick(
    item: _Asked, index: Index, target: Target, limits: Sequence[_Asked], repository: str
) -> Entry:
    name = item.dependency.name
    who = f", which {item.by} needs," if item.by else ""
    entries = index.entries(name)
    if not entries:
        advice = (
            "; it may come from another repository (Bioconductor's, say), which envd cannot add"
            if item.by else index.similar(name)
        )
        raise ResolveError(
            f"{item.position}: no R package '{name}'{who.rstrip(',')} in {repository}{advice}"
        )
    fitting = [e for e in entries if all(d.allows(target.r) for d in e.r)]
    if not fitting:
        needs = ", ".join(f"{d.operator} {d.version}" for d in entries[0].r)
        raise ResolveError(
            f"{item.position}: {name} {entries[0].version}{who or ' '.strip()} needs R {needs}; "
            f"{target.os} has R {target.r}: take a newer base, or a snapshot of CRAN of that R's "
            "time with config.cran_mirror"
        )
    for entry in fitting:
        if all(a.dependency.allows(entry.version) for a in (item, *limits)):
            return entry
    wants = "; ".join(_wish(a) for a in dict.fromkeys((item, *limits)) if a.dependency.operator)
    has = ", ".join(e.version for e in fitting)
    raise ResolveError(
        f"{item.position}: no version of {name} does: {wants}; {repository} has {has}"
    )


def _wish(asked: _Asked) -> str:
    return f"{asked.by or 'you'} needs {asked.dependency}"
