"""`Environment` -> `Lock`: resolve what changed, keep what still fits.

Each section of a lock records the request strings that it was resolved from. A section whose
requests are the same is kept as it is, so that adding an extension never moves a wheel. What the
sections are, `engine.sections.registry` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from engine.core.events import Event, Sink
from engine.ecosystems.images import web
from engine.ecosystems.python import chosen as chosen_python
from engine.errors import EnvdError, FetchError, ResolveError, UsageError, together
from engine.lock import rows as lock_rows
from engine.lock.model import Lock, LockedBase
from engine.lock.packages import LockedPackage
from engine.sections import base, cuda, debian, registry
from engine.sections.section import BASE, Section
from engine.sections.session import Session
from grammar.environment import Environment, Position


def misfits(lock: Lock, requests: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Sections of the lock that do not fit `requests`, each with what exactly differs.

    What `envd up` has added is no misfit of a plain build.
    """
    found: dict[str, str] = {}
    for section in sorted({*lock.requests, *requests}):
        had, wants = lock.requests.get(section, ()), requests.get(section, ())
        if had == wants or (section == "dev" and not wants):
            continue
        added = [f"+{text}" for text in wants if text not in had]
        removed = [f"-{text}" for text in had if text not in wants]
        found[section] = " ".join(added + removed) or "order changed"
    return found


def outdated(lock: Lock, environment: Environment, requests: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Sections of the lock to resolve anew, each with the reason: it does not fit `requests`, or
    pins nothing for one of them, as a faulty lock of an older envd's."""
    found = misfits(lock, requests)
    for section, texts in _unpinned(lock, environment).items():
        if section in requests:
            found.setdefault(section, f"nothing pinned for {' '.join(texts)}")
    return found


def older(lock: Lock, requests: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Sections that lack only what an older envd did not ask for, each with what that is: such a
    lock can be used as it is."""
    found = {}
    for section in registry.sections():
        had, wants = set(lock.requests.get(section.name, ())), set(requests.get(section.name, ()))
        if had < wants and wants - had <= section.since and lock.provided is None:
            found[section.name] = " ".join(sorted(wants - had))
    return found


def _unpinned(lock: Lock, environment: Environment) -> dict[str, tuple[str, ...]]:
    implied = [
        r.text
        for r in registry.debs_of(environment)
        if not r.position.line and r.text != chosen_python.DISTUTILS
    ]
    return registry.unpinned(lock, implied)


def _unsound(fault: str) -> ResolveError:
    return ResolveError(
        f"a source answered with something that cannot be used: {fault}", advice="do not trust that source"
    )


def resolve(environment: Environment, *, old: Lock | None, cache: Path, emit: Sink) -> Lock:
    """A lock for `environment`; sections of `old` that still fit are kept.

    `cache` is a directory for package lists. Raises ResolveError.
    """
    problems = _Problems()
    if cuda.is_same(environment, old):
        environment = cuda.settled(environment, old)
    with Session(environment, cache, emit, registry.sections()) as session:
        if not environment.base.image:
            _settle_cuda(session, problems)
        session.base = _base(session, old, problems)
        if environment.base.image:  # which system that is had to be known
            _settle_cuda(session, problems)
        lock = _Resolution(session, session.base, old, problems).run()
        environment = session.environment
    problems.check()
    lock = replace(lock, provided=debian.satisfied_elsewhere(lock))
    if lost := _unpinned(lock, environment):
        names = "; ".join(f"{section}: {' '.join(texts)}" for section, texts in lost.items())
        raise ResolveError(
            f"nothing was found for {names}: no source has it under that name, or "
            "envd left it out; please report it with the spec",
            position=environment.base.position,
        )
    return lock


class _Resolution:
    """The sections of one lock, resolved one after the other upon a known base."""

    def __init__(self, session: Session, base: LockedBase, old: Lock | None, problems: _Problems) -> None:
        self._session, self._old, self._problems = session, old, problems
        environment = session.environment
        self._requests = registry.requests_of(environment)
        self._stale = _stale(environment, self._requests, old)
        self._failed: set[str] = set()
        if old is not None and "dev" in old.requests and not self._stale & {BASE, "apt"}:
            # a plain build keeps what `envd up` has added, as long as it still fits
            self._requests.setdefault("dev", old.requests["dev"])
        # What pip needs of an image's Python is known only now, and no request of the spec's.
        self._implied: set[str] = set()
        if base.kind == "image" and "apt" not in self._requests and "python" in self._requests:
            self._implied = {"apt"}
            if (
                self._stale & {BASE, "python"}
                and base.packages
                and debian.needs_distutils(session, Lock(base))
            ):
                self._stale.add("apt")
        self._lock = Lock(
            base=base, requests=self._requests, includes=web.includes(environment), packages=self._kept()
        )

    def _kept(self) -> dict[str, tuple[LockedPackage, ...]]:
        """The rows of the old lock that may be used again."""
        old = self._old
        if old is None:
            return {}
        keeps = self._requests.keys() | (self._implied if "apt" not in old.requests else set())
        return {s.table: old[s.table] for s in registry.sections() if s.name in keeps}

    def run(self) -> Lock:
        """The lock; what went wrong is among the problems."""
        before = () if self._old is None else registry.needed_debs(self._old)
        for section in registry.resolve_order():
            if section.name == "apt" and registry.needed_debs(self._lock) != before:
                self._stale |= {"apt", "dev"}
            asked = section.name in self._requests or section.name in self._implied
            if section.name in self._stale and asked and not self._failed.intersection(section.needs):
                self._resolve(section)
            if section.name == "apt":
                self._choose_python()
        return self._lock

    def _resolve(self, section: Section) -> None:
        session, asked = self._session, self._requests.get(section.name, ())
        session.emit(Event("resolve", section.name, text=" ".join(asked)[:200]))
        try:
            packages = tuple(section.resolve(session, self._lock))
            lock_rows.check(packages, _unsound)
        except _COLLECTED as error:
            # The other sections may have faults, too.
            self._problems.add(error, registry.place(section.name, session.environment))
            self._failed.add(section.name)
        else:
            self._lock = self._lock.with_rows(section.table, packages)

    def _choose_python(self) -> None:
        """The Python comes before its packages: base and apt are known."""
        old, session = self._old, self._session
        try:
            if old is not None and not self._stale & {BASE, "apt", "python"}:
                python = old.python
            else:
                python = session.python(self._lock)
        except _COLLECTED as error:
            self._problems.add(error, registry.place(BASE, session.environment))
            self._failed |= {"python", "tools"}
        else:
            self._lock = replace(self._lock, python=python)


def _settle_cuda(session: Session, problems: _Problems) -> None:
    """Decide from where CUDA comes. One that cannot be had is a problem, and the rest is resolved
    without it: what else apt is asked for may have faults of its own."""
    try:
        cuda.settle(session)
    except _COLLECTED as error:
        problems.add(error, registry.place("cuda", session.environment))
        session.environment = replace(session.environment, cuda=None)


_COLLECTED = (ResolveError, UsageError, FetchError)


class _Problems:
    """Errors of several sections, said together and each once."""

    def __init__(self) -> None:
        self._found: list[EnvdError] = []

    def add(self, error: EnvdError, where: Position) -> None:
        """Keep an error; one that names no place of the spec gets `where`."""
        self._found.append(error.at(where))

    def check(self) -> None:
        """Raise what was kept, if anything."""
        if self._found:
            raise together(self._found)


def _base(session: Session, old: Lock | None, problems: _Problems) -> LockedBase:
    """The lock's base, kept or resolved. One that cannot be is a problem, and an empty one stands
    in for it, so that the spec's other faults are found."""
    environment = session.environment
    wanted = base.requests(environment)
    if old is not None and old.requests.get(BASE) == wanted:
        return old.base
    session.emit(Event("resolve", BASE, text=" ".join(wanted)[:200]))
    try:
        found = base.resolve(session, old)
        lock_rows.check(found.packages, _unsound)
        return found
    except _COLLECTED as error:
        where = registry.place(BASE, environment)
        problems.add(error, where)
        session.lacking = error.at(where)
    return LockedBase("image" if environment.base.image else "debootstrap", "", "", ())


def _stale(environment: Environment, requests: Mapping[str, tuple[str, ...]], old: Lock | None) -> set[str]:
    """The sections to resolve."""
    stale = set(requests) if old is None else set(outdated(old, environment, requests))
    for section in registry.sections():
        had = () if old is None else old.requests.get(section.name, ())
        if section.name in stale and section.debs.joined((*had, *requests.get(section.name, ()))):
            stale |= {"apt", "dev"} & set(requests)  # its packages are among apt's
    for section in registry.resolve_order():
        if section.name in requests and stale.intersection(section.follows):
            stale.add(section.name)
    return stale
