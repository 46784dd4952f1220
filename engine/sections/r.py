"""The section "r": R packages from a CRAN-like repository, each built from source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from engine.core.derivation import Derivation
from engine.core.urls import redacted
from engine.ecosystems import languages
from engine.ecosystems.r import builder as layers
from engine.ecosystems.r import bundled, cran, cran_versions
from engine.ecosystems.r import resolver as r
from engine.lock.model import Lock
from engine.lock.packages import LockedPackage, RSource
from engine.net.origins import Origins
from engine.sections.section import BASE, Debs, Draft, Section, names, no_variables, places_of, with_settings
from engine.sections.session import Session
from grammar.environment import Environment, Request
from grammar.errors import SpecError


def _requests(environment: Environment) -> tuple[str, ...]:
    if not environment.r_packages:
        return ()
    asked = languages.r(environment)
    return with_settings(
        environment.r_packages,
        mirror=redacted(environment.cran_mirror or ""),
        version=asked.version if asked else "",
    )


def _resolve(session: Session, lock: Lock) -> Sequence[LockedPackage]:
    environment, lists = session.environment, session.apt
    version = r.version_of(lists, environment, session.system, lock["apt"])
    target = cran.Target(session.system.title, version, r.provided(lists, version))
    repository = languages.cran_mirror(environment)
    return languages.without_logins(
        cran_versions.resolve(
            environment.r_packages, repository, target, lock.rows("r", RSource), session.store, session.log
        )
    )


def _unpinned(lock: Lock, asked: Sequence[str], implied: Iterable[str]) -> Iterable[str]:
    there = {*names(lock["r"]), *bundled.BASE, *bundled.RECOMMENDED}
    return [text for text in asked if "=" not in text and text not in there]


def _named(environment: Environment) -> tuple[Request, ...]:
    return tuple(map(Request, languages.packages_for_r(environment)))


def needed(lock: Lock) -> tuple[str, ...]:
    """The compilers, when a package of the lock has to be compiled."""
    compiled = any(p.compiled for p in lock.rows("r", RSource))
    return (languages.R_COMPILERS,) if compiled else ()


def _refined(session: Session, lock: Lock, requests: tuple[Request, ...]) -> tuple[Request, ...]:
    found = requests
    if languages.r(session.environment) is not None:
        found = r.requests(session.apt, session.environment, session.system, requests)
    return (*found, *map(Request, needed(lock)))


def _faults(environment: Environment) -> Iterator[SpecError]:
    if languages.r(environment) is None:
        for request in environment.r_packages[:1]:
            yield SpecError(
                'R packages need R; write base(language="r") or install.r_lang()', request.position
            )


def _located(
    environment: Environment, directory: Path, rows: Sequence[LockedPackage]
) -> Sequence[LockedPackage]:
    return Origins(directory, [languages.cran_mirror(environment)]).packages(rows)


def _layers(draft: Draft) -> Sequence[Derivation]:
    return layers.derivations(draft.lock.rows("r", RSource), draft.system)


R = Section(
    name="r",
    holds=(RSource,),
    requests=_requests,
    places=lambda environment: places_of(environment.r_packages),
    resolve=_resolve,
    unpinned=_unpinned,
    derivations=_layers,
    variables=no_variables,
    builders=layers.BUILDERS,
    follows=(BASE,),
    debs=Debs(_named, needed=needed, refined=_refined),
    toolchains=("r",),
    faults=_faults,
    located=_located,
)
