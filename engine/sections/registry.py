"""The one list of sections. An ecosystem is added by one line here, or by `register`.

The order is that of their layers in an image, from the bottom up. In which order they are resolved
follows from what each says that it comes after.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from engine.ecosystems.images import web as includes
from engine.errors import UsageError
from engine.lock import packages as lock_packages
from engine.lock import rows as lock_rows
from engine.lock.model import RESERVED, Lock, wrong_kind
from engine.realise.context import Builder
from engine.sections import base, conda, cuda, debian, julia, python, r, rstudio, tools, vscode, web
from engine.sections.section import BASE, Section, SectionError, texts
from grammar.environment import Environment, Position, Request
from grammar.errors import SpecError, together
from grammar.vocabulary.tools import TOOLCHAINS


def _checked(sections: Sequence[Section]) -> tuple[Section, ...]:
    """`sections`, if they fit together. Raises SectionError."""
    names = {section.name for section in sections}
    for kind, taken in (("name", {BASE, "includes"}), ("table", RESERVED)):
        values = [getattr(section, kind) for section in sections]
        for value in values:
            if values.count(value) > 1 or value in taken:
                raise SectionError(f"the {kind} '{value}' of a section of a lock is taken")
    made: dict[str, str] = dict.fromkeys(base.BUILDERS, BASE)
    rows = dict.fromkeys(lock_packages.OWN, "lock")
    for section in sections:
        for other in (*section.follows, *section.needs, *section.after):
            if other not in {*names, BASE}:
                raise SectionError(f"section '{section.name}' comes after '{other}', which is none")
        own = [kind.kind for kind in section.kinds]
        for held in section.holds:
            if held.kind not in {*own, *lock_rows.RULES}:
                raise SectionError(f"section '{section.name}' holds {held.kind} rows without a rule")
        for what, had, kinds in (("builder", made, section.builders), ("rule", rows, own)):
            for kind in kinds:
                if kind in had:
                    raise SectionError(
                        f"sections '{had[kind]}' and '{section.name}' both have a {what} for '{kind}'"
                    )
                had[kind] = section.name
    list(_ordered(sections))
    return tuple(sections)


def _ordered(sections: Sequence[Section]) -> Iterator[Section]:
    """Each section after those that it comes after, else as they are listed. Raises SectionError
    for a circle."""
    by_name = {section.name: section for section in sections}
    before_apt = tuple(section.name for section in sections if section.debs.needed)
    done: set[str] = set()
    entered: list[str] = []

    def visit(section: Section) -> Iterator[Section]:
        if section.name in done:
            return
        if section.name in entered:
            raise SectionError(f"sections in a circle: {' -> '.join([*entered, section.name])}")
        entered.append(section.name)
        for name in section.sources + (before_apt if section.name == debian.APT.name else ()):
            yield from visit(by_name[name])
        entered.remove(section.name)
        done.add(section.name)
        yield section

    for section in sections:
        yield from visit(section)


def register(section: Section, *, below: str = "") -> None:
    """Add a section whose layers lie right below those of the section `below` (above all others,
    when none is named). Raises SectionError when it does not fit in with the others."""
    global _sections
    names = [s.name for s in _sections]
    if below and below not in names:
        raise SectionError(f"there is no section '{below}'")
    at = names.index(below) if below else len(names)
    _sections = _checked([*_sections[:at], section, *_sections[at:]])
    for kind, rule in section.kinds.items():
        lock_packages.know(kind)
        lock_rows.RULES[kind.kind] = rule


def sections() -> tuple[Section, ...]:
    """All of them, in the order of their layers from the bottom up."""
    return _sections


def resolve_order() -> tuple[Section, ...]:
    """All of them, each after those whose rows it looks at."""
    return tuple(_ordered(_sections))


def debs_of(environment: Environment) -> tuple[Request, ...]:
    """All Debian packages that the spec, or envd for its sake, asks of apt by name."""
    return debian.requests(environment, _sections)


def requests_of(environment: Environment) -> dict[str, tuple[str, ...]]:
    """The request strings of every section, as a lock records them."""
    found = {BASE: base.requests(environment)}
    found |= {section.name: section.requests(environment) for section in _sections}
    found[debian.APT.name] = texts(debs_of(environment))
    found["includes"] = includes.include_requests(environment)
    return {name: asked for name, asked in found.items() if asked}


def needed_debs(lock: Lock) -> tuple[str, ...]:
    """What the rows of other sections want of apt."""
    return tuple(x for s in _sections if s.debs.needed for x in s.debs.needed(lock))


def unclaimed(toolchains: Iterable[str]) -> list[str]:
    """Those of `toolchains` (names) that no tool and no section takes."""
    taken = tools.names().union(*(section.toolchains for section in _sections))
    return sorted(set(toolchains) - taken)


def check(environment: Environment) -> None:
    """Raise SpecErrors for every call that makes no sense in this environment."""
    problems = [fault for section in _sections for fault in section.faults(environment)]
    unknown = unclaimed(t.name for t in environment.toolchains)
    problems += [
        SpecError(f"this envd has no tool '{t.name}'", t.position)
        for t in environment.toolchains
        if t.name in unknown
    ]
    if problems:
        raise together(problems)


def unpinned(lock: Lock, implied: Iterable[str] = ()) -> dict[str, tuple[str, ...]]:
    """The requests that pinned nothing, by section; `implied` are the .debs that envd itself asks
    for, whose names are those of packages. A lock that is as it should be has none."""
    found: dict[str, tuple[str, ...]] = {}
    for section in _sections:
        asked = lock.requests.get(section.name, ())
        found[section.name] = tuple(section.unpinned(lock, asked, implied))
    there = {" ".join(filter(None, (row.git, row.ref))) for row in lock.includes}
    found["includes"] = tuple(x for x in lock.requests.get("includes", ()) if x not in there)
    found[BASE] = () if lock.base.packages else lock.requests.get(BASE, ())
    return {name: lost for name, lost in found.items() if lost}


def check_rows(lock: Lock) -> None:
    """Raise UsageError for a table of a lock that no section has, and for a row of a kind that its
    section does not hold."""
    by_table = {section.table: section for section in _sections}
    for table, rows in lock.packages.items():
        section = by_table.get(table)
        if section is None:
            raise UsageError(
                "this envd knows no such section",
                subject=f"envd.lock: [[{table}]]",
                advice="update envd, or delete the lock and run `envd lock`",
            )
        for row in rows:
            if not isinstance(row, section.holds):
                raise wrong_kind(table, row)


def located(environment: Environment, lock: Lock, directory: Path) -> Lock:
    """The lock with its files' URLs as they are on this machine (logins, paths of the project at
    `directory`): no part of any hash."""
    rows = {
        section.table: tuple(section.located(environment, directory, lock[section.table]))
        for section in _sections
        if lock[section.table]
    }
    return replace(base.located(environment, lock, directory), packages=rows)


def builders() -> dict[str, Builder]:
    """The builder of every kind of derivation that a section, or the base, makes."""
    found = dict(base.BUILDERS)
    for section in _sections:
        found |= section.builders
    return found


def place(name: str, environment: Environment) -> Position:
    """Where the spec asks for what the section `name` (or BASE) holds; else where it asks for the
    base, or, without a base(), for anything at all."""
    places = [p for section in _sections if section.name == name for p in section.places(environment)]
    if name == BASE:
        places.append(environment.apt_source_position)  # what cannot be read may be that
    places.append(environment.base.position)
    places += sorted(p for section in _sections for p in section.places(environment))
    return next((place for place in places if place.line), environment.base.position)


_sections = _checked(
    (
        debian.APT,
        cuda.CUDA,
        tools.TOOLS,
        python.PYTHON,
        r.R,
        julia.JULIA,
        conda.CONDA,
        python.CONDA_WHEELS,
        vscode.VSCODE,
        rstudio.RSTUDIO,
        debian.DEV,
        web.FILES,
        web.IMAGES,
    )
)

if _lacking := sorted(lock_packages.OWN ^ lock_rows.RULES.keys()):
    raise SectionError(f"a kind of row without a rule, or a rule without a kind: {_lacking[0]}")
if _lost := unclaimed(TOOLCHAINS):
    raise SectionError(f"the language has install.{_lost[0]}, which no tool and no section takes")
