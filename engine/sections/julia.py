"""The section "julia": Julia itself, its packages and their artifacts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from engine.core.derivation import Derivation
from engine.core.urls import redacted
from engine.ecosystems import languages
from engine.ecosystems.julia import builder as layers
from engine.ecosystems.julia import resolver as julia
from engine.lock.model import Lock
from engine.lock.packages import JuliaArtifact, JuliaPackage, LockedPackage, ToolArchive
from engine.net.origins import Origins
from engine.sections.section import Draft, Section, Variables, places_of, unless_empty, with_settings
from engine.sections.session import Session
from grammar.environment import Environment
from grammar.errors import SpecError


def _requests(environment: Environment) -> tuple[str, ...]:
    asked = languages.julia(environment)
    if asked is None:
        return ()
    return with_settings(
        environment.julia_packages,
        server=redacted(environment.julia_pkg_server or ""),
        version=asked.version or "stable",
    )


def _resolve(session: Session, lock: Lock) -> Sequence[LockedPackage]:
    return languages.without_logins(
        julia.resolve(session.environment, lock["julia"], session.store, session.log)
    )


def _faults(environment: Environment) -> Iterator[SpecError]:
    if languages.julia(environment) is None:
        for request in environment.julia_packages[:1]:
            yield SpecError(
                'Julia packages need Julia; write base(language="julia") or install.julia()', request.position
            )


def _located(
    environment: Environment, directory: Path, rows: Sequence[LockedPackage]
) -> Sequence[LockedPackage]:
    sites = [languages.julia_server(environment), os.environ.get("ENVD_JULIA_DOWNLOADS", "")]
    return Origins(directory, sites).packages(rows)


def _layers(draft: Draft) -> Sequence[Derivation]:
    return layers.derivations(draft.lock["julia"], draft.environment.julia_packages)


def _variables(environment: Environment, lock: Lock) -> Variables:
    return Variables(layers.variables(lock["julia"], environment.julia_pkg_server))


JULIA = Section(
    name="julia",
    holds=(ToolArchive, JuliaPackage, JuliaArtifact),
    requests=_requests,
    places=lambda environment: places_of(environment.julia_packages),
    resolve=_resolve,
    unpinned=unless_empty("julia"),
    derivations=_layers,
    variables=_variables,
    builders=layers.BUILDERS,
    toolchains=("julia",),
    faults=_faults,
    located=_located,
)
