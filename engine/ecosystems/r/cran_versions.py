"""Choosing versions of R packages: the newest that all who need one allow.

The search is resolvelib's (as pip's, and as for Julia). CRAN has one version of a package, other
repositories and an earlier lock may have more: then it goes back where the newest do not go together.
What is wrong with a package is a choice too, the last one: so everything that is wrong is found at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.core.urls import redacted
from engine.ecosystems.r import cran
from engine.ecosystems.r.cran import Dependency, Entry, Index, Target
from engine.errors import ResolveError, together
from engine.lock.packages import RSource
from grammar.environment import NOWHERE, Position, Request
from store.libraries import resolvelib

_ROUNDS = 100_000


@dataclass(frozen=True)
class _Asked:
    """A dependency, whose it is ("" for the user's own), and the user's line that led to it."""

    dependency: Dependency
    by: str
    position: Position

    def __str__(self) -> str:
        return f"{self.by or 'you'} needs {self.dependency}"


@dataclass(frozen=True)
class _Choice:
    """A version of a package: an `entry` of the index, or the one that comes with R (None), or none,
    for a `problem`, as far as it is asked for by `asked`."""

    name: str
    version: str
    position: Position = field(compare=False)
    entry: Entry | None = field(default=None, compare=False)
    problem: str = ""
    asked: tuple[_Asked, ...] = field(default=(), compare=False)


def resolve(
    requests: Sequence[Request],
    repository: str,
    target: Target,
    old: Sequence[RSource],
    store: Path,
    log: Callable[[str], None],
) -> list[RSource]:
    """The source packages that `requests` need beyond what R has. Versions of `old` (an earlier
    lock's) are kept where they fit, and not downloaded again.

    Raises ResolveError, naming all that does not fit.
    """
    if not requests:
        return []
    position = next((r.position for r in requests if r.position.line), NOWHERE)
    log(f"reading {redacted(repository)}/src/contrib/PACKAGES")
    index = cran.open_index(repository, position, old)
    return cran.pinned(solve(requests, index, target, redacted(repository)), repository, old, store, log)


def solve(requests: Sequence[Request], index: Index, target: Target, repository: str) -> cran.Chosen:
    """One version of every package needed beyond those that come with R. `repository` is its name for
    messages. Raises ResolveError, naming everything that is wrong.
    """
    asked = [_Asked(Dependency(r.text), "", r.position) for r in requests]

    def choices(conflicts: bool) -> list[_Choice]:
        provider: Any = _Provider(index, target, repository, conflicts)
        return list(
            resolvelib.Resolver(provider, resolvelib.BaseReporter()).resolve(asked, _ROUNDS).mapping.values()
        )

    try:
        found = choices(conflicts=False)
    except resolvelib.ResolutionImpossible:
        found = choices(conflicts=True)
    if any(c.problem for c in found):
        raise together(
            ResolveError(c.problem, position=c.position)
            for c in sorted(found, key=lambda c: c.name)
            if c.problem
        )
    return {c.name: (c.entry, c.position) for c in found if c.entry is not None}


class _Provider:
    """What resolvelib asks (its AbstractProvider). With `conflicts`, that nothing fits is a choice."""

    def __init__(self, index: Index, target: Target, repository: str, conflicts: bool) -> None:
        self._index, self._target, self._repository = index, target, repository
        self._conflicts = conflicts
        self._order: dict[str, int] = {}  # in which packages were asked for
        self._entries: dict[str, list[Entry]] = {}

    def identify(self, requirement_or_candidate: _Asked | _Choice) -> str:
        if isinstance(requirement_or_candidate, _Choice):
            return requirement_or_candidate.name
        return requirement_or_candidate.dependency.name

    def get_preference(
        self,
        identifier: str,
        resolutions: Any,
        candidates: Any,
        information: Any,
        backtrack_causes: Sequence[Any],
    ) -> tuple[bool, int]:
        causes = {self.identify(c.requirement) for c in backtrack_causes}
        return identifier not in causes, self._order[identifier]

    def narrow_requirement_selection(
        self, identifiers: Any, resolutions: Any, candidates: Any, information: Any, backtrack_causes: Any
    ) -> Any:
        return identifiers

    def find_matches(
        self,
        identifier: str,
        requirements: Mapping[str, Iterator[_Asked]],
        incompatibilities: Mapping[str, Iterator[_Choice]],
    ) -> list[_Choice]:
        self._order.setdefault(identifier, len(self._order))
        asked = tuple(requirements[identifier])
        bad = set(incompatibilities[identifier])
        return [c for c in self._choices(identifier, asked) if c not in bad]

    def _choices(self, name: str, asked: tuple[_Asked, ...]) -> list[_Choice]:
        position = asked[0].position
        provided = self._target.provided.get(name)
        if provided is not None and all(a.dependency.allows(provided) for a in asked):
            return [_Choice(name, provided, position)]
        if name not in self._entries:
            self._entries[name] = self._index.entries(name)
        entries = self._entries[name]
        fitting = [e for e in entries if all(d.allows(self._target.r) for d in e.r)]
        if not fitting:
            problem = self._of_r(asked[0], entries) if entries else self._unknown(asked[0])
            return [_Choice(name, "", position, problem=problem, asked=asked)]
        found = [
            _Choice(name, entry.version, position, entry)
            for entry in fitting
            if all(a.dependency.allows(entry.version) for a in asked)
        ]
        if self._conflicts:
            problem = self._conflict(asked, fitting)
            found.append(_Choice(name, "", position, problem=problem, asked=asked))
        return found

    def is_satisfied_by(self, requirement: _Asked, candidate: _Choice) -> bool:
        if candidate.problem:
            return requirement in candidate.asked
        return requirement.dependency.allows(candidate.version)

    def get_dependencies(self, candidate: _Choice) -> list[_Asked]:
        if candidate.entry is None:
            return []
        by = f"{candidate.name} {candidate.version}"
        return [_Asked(d, by, candidate.position) for d in candidate.entry.dependencies if d.name != "R"]

    # what is wrong

    def _unknown(self, asked: _Asked) -> str:
        name = asked.dependency.name
        advice = (
            "; it may come from another repository (Bioconductor's, say), which envd cannot add"
            if asked.by
            else self._index.similar(name)
        )
        who = f", which {asked.by} needs" if asked.by else ""
        return f"no R package '{name}'{who} in {self._repository}{advice}"

    def _of_r(self, asked: _Asked, entries: Sequence[Entry]) -> str:
        needs = ", ".join(f"{d.operator} {d.version}" for d in entries[0].r)
        who = f", which {asked.by} needs," if asked.by else ""
        return (
            f"{entries[0].name} {entries[0].version}{who} needs R {needs}; "
            f"{self._target.os} has R {self._target.r}: take a newer base, or a snapshot of CRAN of "
            "that R's time with config.cran_mirror"
        )

    def _conflict(self, asked: Sequence[_Asked], fitting: Sequence[Entry]) -> str:
        wants = "; ".join(str(a) for a in dict.fromkeys(asked) if a.dependency.operator)
        has = ", ".join(e.version for e in fitting)
        return f"no version of {fitting[0].name} does: {wants}; {self._repository} has {has}"
