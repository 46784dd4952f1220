"""Choosing versions of Julia packages: the newest that all who need one allow.

The search is resolvelib's (as pip's): newest first, going back where nothing fits. Packages of
Julia's standard library are there already and have no versions to choose from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.ecosystems.julia.registry import Package, Registries
from engine.ecosystems.julia.versions import Ranges, Version
from engine.errors import ResolveError, together
from grammar.environment import Position, Request
from store.libraries import resolvelib

_ROUNDS = 100_000


@dataclass(frozen=True)
class Requirement:
    """A package that is needed: `by` is who needs it ("" for the user), `position` the user's line
    that led to it."""

    name: str
    uuid: str
    ranges: Ranges | None
    by: str
    position: Position

    def __str__(self) -> str:
        return f"{self.name} {self.ranges}" if self.ranges else self.name


@dataclass(frozen=True)
class Candidate:
    """A version of a package."""

    package: Package
    version: Version
    position: Position

    @property
    def tree(self) -> str:
        """The git tree hash of its content."""
        return self.package.versions[self.version]

    def __hash__(self) -> int:
        return hash((self.package.uuid, self.version))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Candidate) and (self.package.uuid, self.version) == (
            other.package.uuid,
            other.version,
        )


@dataclass(frozen=True)
class Julia:
    """The Julia that packages are for, and its standard library (UUID -> name)."""

    version: Version
    library: Mapping[str, str]


def solve(
    requests: Sequence[Request], registries: Registries, julia: Julia, preferred: Mapping[str, Version] = {}
) -> list[Candidate]:
    """One version of each package that `requests` ("Name", "Name@1.2") need, sorted by name: the
    `preferred` one (by UUID) where it fits, else the newest.

    Raises ResolveError, naming everything that is not known, or what cannot go together.
    """
    asked = _asked(requests, registries, julia)
    barred: set[Candidate] = set()
    while True:
        provider: Any = _Provider(registries, julia, barred, preferred)
        try:
            result = resolvelib.Resolver(provider, resolvelib.BaseReporter()).resolve(asked, _ROUNDS)
        except resolvelib.ResolutionImpossible as error:
            raise _explained(list(error.causes), registries, julia) from error
        chosen = sorted(result.mapping.values(), key=lambda c: (c.package.name, c.package.uuid))
        clashing = _clashing(chosen)
        if clashing is None:
            return chosen
        barred.add(clashing)


def _asked(requests: Sequence[Request], registries: Registries, julia: Julia) -> list[Requirement]:
    found, problems = [], []
    for request in requests:
        name, _, version = request.text.partition("@")
        if name in julia.library.values():
            continue
        packages = registries.by_name.get(name, [])
        if len(packages) != 1:
            problems.append(
                ResolveError(
                    f"the registries have several packages '{name}'"
                    if packages
                    else f"no Julia package '{name}' in the registry{registries.similar(name)}",
                    position=request.position,
                    subject=name,
                )
            )
            continue
        ranges = Ranges.parse(version) if version else None
        found.append(Requirement(name, packages[0].uuid, ranges, "", request.position))
    if problems:
        raise together(problems)
    return found


def _clashing(chosen: Sequence[Candidate]) -> Candidate | None:
    """A candidate that extends another one which is there in a version that it does not know."""
    there = {c.package.uuid: c for c in chosen}
    for candidate in chosen:
        for weak in candidate.package.weak(candidate.version):
            other = there.get(weak.uuid)
            if other is not None and weak.ranges is not None and other.version not in weak.ranges:
                return candidate
    return None


class _Provider:
    """What resolvelib asks (its AbstractProvider)."""

    def __init__(
        self, registries: Registries, julia: Julia, barred: set[Candidate], preferred: Mapping[str, Version]
    ) -> None:
        self._preferred = preferred
        self._registries = registries
        self._julia = julia
        self._barred = barred

    def identify(self, requirement_or_candidate: Requirement | Candidate) -> str:
        if isinstance(requirement_or_candidate, Candidate):
            return requirement_or_candidate.package.uuid
        return requirement_or_candidate.uuid

    def get_preference(
        self,
        identifier: str,
        resolutions: Any,
        candidates: Any,
        information: Mapping[str, Iterator[Any]],
        backtrack_causes: Sequence[Any],
    ) -> tuple[bool, bool, str]:
        causes = {self.identify(c.requirement) for c in backtrack_causes}
        users = any(i.parent is None for i in information[identifier])
        return identifier not in causes, not users, identifier

    def find_matches(
        self,
        identifier: str,
        requirements: Mapping[str, Iterator[Requirement]],
        incompatibilities: Mapping[str, Iterator[Candidate]],
    ) -> list[Candidate]:
        wanted = list(requirements[identifier])
        bad = {*incompatibilities[identifier], *self._barred}
        package = self._registries.packages.get(identifier)
        if package is None:
            return []
        found = [
            Candidate(package, version, wanted[0].position)
            for version in usable(package, self._julia)
            if all(r.ranges is None or version in r.ranges for r in wanted)
        ]
        first = self._preferred.get(identifier)
        return sorted((c for c in found if c not in bad), key=lambda c: c.version != first)

    def is_satisfied_by(self, requirement: Requirement, candidate: Candidate) -> bool:
        return requirement.ranges is None or candidate.version in requirement.ranges

    def get_dependencies(self, candidate: Candidate) -> list[Requirement]:
        package = candidate.package
        return [
            Requirement(d.name, d.uuid, d.ranges, f"{package.name} {candidate.version}", candidate.position)
            for d in package.dependencies(candidate.version)
            if d.uuid not in self._julia.library
        ]

    def narrow_requirement_selection(
        self, identifiers: Any, resolutions: Any, candidates: Any, information: Any, backtrack_causes: Any
    ) -> Any:
        return identifiers


def usable(package: Package, julia: Julia) -> list[Version]:
    """Versions for that Julia, newest first; pre-releases only where nothing else is."""
    found = []
    for version in package.versions:
        ranges = package.julia(version)
        if ranges is None or julia.version in ranges:
            found.append(version)
    return [v for v in found if not v.prerelease] or found


def _explained(causes: Sequence[Any], registries: Registries, julia: Julia) -> ResolveError:
    """What cannot go together, at the user's line."""
    requirements: list[Requirement] = [c.requirement for c in causes]
    first = next((r for r in requirements if not r.by), requirements[0])
    package = registries.packages.get(first.uuid)
    if package is None:
        return ResolveError(
            f"{first.by} needs {first.name} ({first.uuid}), which the registry does not have",
            position=first.position,
        )
    words = "; ".join(
        dict.fromkeys(f"{r.by} needs {r}" if r.by else f"you ask for {r}" for r in requirements)
    )
    versions = usable(package, julia)
    if not versions:
        return ResolveError(
            f"no version of {first.name} is for Julia {julia.version}: {words}",
            position=first.position,
            advice="take another one with install.julia(version=…)",
        )
    known = ", ".join(str(v) for v in versions[:5]) + (", …" if len(versions) > 5 else "")
    return ResolveError(
        f"no versions of the Julia packages go together: {words}; "
        f"for Julia {julia.version} there is {first.name} {known}",
        position=first.position,
    )
