"""`Section`: all that envd knows of one ecosystem, in one record.

A section is a part of the lock that is resolved as a whole: Debian packages, Python packages, an
editor's extensions. It says what an environment asks of it, how that is pinned, which layers that
makes and who builds them. `engine.sections.registry` has the list of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from engine.core.derivation import Derivation
from engine.lock.model import Lock
from engine.lock.packages import LockedPackage
from engine.lock.rows import Rule
from engine.realise.context import Builder
from grammar.environment import Environment, Position, Request
from grammar.errors import SpecError

if TYPE_CHECKING:
    from engine.sections.session import Session

# What a section may follow although it is none: what all of them lie on.
BASE = "base"


class SectionError(Exception):
    """A section, or a tool, that does not fit in with the others: a fault of who registers it."""


@dataclass(frozen=True)
class Variables:
    """What a section adds to the image's variables, and directories that it adds to PATH."""

    values: Mapping[str, str] = field(default_factory=dict)
    path: tuple[str, ...] = ()


@dataclass(frozen=True)
class Draft:
    """A plan in the making: `layers` are those below, from the bottom up; `system` are those of them
    that a command can run in (the base, and what was installed into it)."""

    environment: Environment
    lock: Lock
    directory: Path  # the project's
    layers: tuple[Derivation, ...]
    system: tuple[Derivation, ...]


def _no_debs(_: Environment) -> tuple[Request, ...]:
    return ()


def _as_they_are(_: Session, __: Lock, requests: tuple[Request, ...]) -> tuple[Request, ...]:
    return requests


@dataclass(frozen=True)
class Debs:
    """What a section asks of apt.

    `named`: Debian packages, known from the spec alone. `needed`: what its rows want beside these,
    as strings that tell when that changes; a section that has it is resolved before "apt".
    `joined`: whether, with these request strings, its packages are among apt's. `refined`: the
    requests with what only the package lists tell, such as a version. `local`: .debs outside of the
    archives (name -> file), for as long as apt resolves; the directory is the store's.
    """

    named: Callable[[Environment], tuple[Request, ...]] = _no_debs
    needed: Callable[[Lock], tuple[str, ...]] | None = None
    joined: Callable[[Sequence[str]], bool] = lambda _: False
    refined: Callable[[Session, Lock, tuple[Request, ...]], tuple[Request, ...]] = _as_they_are
    local: Callable[[Lock, Path], AbstractContextManager[Mapping[str, Path]]] = lambda _, __: nullcontext({})


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section of a lock, and what becomes of it. Pieces without a default must be there.

    `name` is what the lock's `requests` and other sections call it, `table` what the lock's rows
    are called (the same, unless given). `follows` names sections that, when they move, make this
    one be resolved again; `needs` those without which it means nothing; `after` those whose rows it
    looks at beyond that: all are resolved before it. BASE may be followed. `kinds` are the kinds of
    rows that no other section has, with what they may hold.
    """

    name: str
    # What an environment asks of it, as the strings that the lock records; () when nothing.
    requests: Callable[[Environment], tuple[str, ...]]
    # The kinds of its rows.
    holds: tuple[type[LockedPackage], ...]
    # Where the spec asks for it; may be empty.
    places: Callable[[Environment], Iterable[Position]]
    # The rows. Raises ResolveError, UsageError, FetchError.
    resolve: Callable[[Session, Lock], Sequence[LockedPackage]]
    # Which of the request strings pinned nothing. The last are the .debs that envd itself asks for.
    unpinned: Callable[[Lock, Sequence[str], Iterable[str]], Iterable[str]]
    # The layers, from the bottom up.
    derivations: Callable[[Draft], Sequence[Derivation]]
    variables: Callable[[Environment, Lock], Variables]
    # Who builds the kinds of derivations that this section alone makes.
    builders: Mapping[str, Builder]
    table: str = ""
    follows: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    kinds: Mapping[type[LockedPackage], Rule] = field(default_factory=dict)
    debs: Debs = Debs()
    # What lies in its layers is part of the system that later commands run in.
    is_system: bool = False
    # Its layers lie above the environment's own settings, right below the spec's steps.
    is_topmost: bool = False
    # Toolchains (names in an Environment) that it takes, beside those that are tools.
    toolchains: tuple[str, ...] = ()
    # Calls that make no sense in this environment: one error for each.
    faults: Callable[[Environment], Iterator[SpecError]] = lambda _: iter(())
    # Its rows with their URLs as they are on this machine (logins, paths): no part of any hash.
    located: Callable[[Environment, Path, Sequence[LockedPackage]], Sequence[LockedPackage]] = (
        lambda _, __, rows: rows
    )
    # Requests that envd makes by itself since a later version: a lock without them is older.
    since: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise SectionError(f"'{self.name}' is not a valid name of a section")
        if not self.table:
            object.__setattr__(self, "table", self.name)

    @property
    def sources(self) -> tuple[str, ...]:
        """The sections that are resolved before it."""
        return tuple(x for x in (*self.follows, *self.needs, *self.after) if x != BASE)


def no_variables(_: Environment, __: Lock) -> Variables:
    """For a section that adds none."""
    return Variables()


def no_layers(_: Draft) -> Sequence[Derivation]:
    """For a section whose rows are taken by steps, or installed with others'."""
    return ()


def texts(requests: Iterable[Request]) -> tuple[str, ...]:
    """Their texts, sorted, each once."""
    return tuple(sorted({r.text for r in requests}))


def with_settings(requests: Iterable[Request], **settings: str | None) -> tuple[str, ...]:
    """Their texts, then "KEY=VALUE" of each setting that is set."""
    return (*texts(requests), *(f"{k}={v}" for k, v in sorted(settings.items()) if v))


def places_of(requests: Iterable[Request]) -> tuple[Position, ...]:
    """Where each was written."""
    return tuple(r.position for r in requests)


def unless_empty(table: str) -> Callable[[Lock, Sequence[str], Iterable[str]], Iterable[str]]:
    """A section's `unpinned`: everything, when there is no row at all."""
    return lambda lock, asked, _: () if lock[table] else asked


def by_fact(table: str, key: str) -> Callable[[Lock, Sequence[str], Iterable[str]], Iterable[str]]:
    """A section's `unpinned`: requests that no row has as its `key`."""

    def unpinned(lock: Lock, asked: Sequence[str], _: Iterable[str]) -> Iterable[str]:
        there = {p.facts().get(key) for p in lock[table]}
        return [text for text in asked if text not in there]

    return unpinned


def names(packages: Iterable[LockedPackage]) -> set[str]:
    """Their names."""
    return {p.name for p in packages}
