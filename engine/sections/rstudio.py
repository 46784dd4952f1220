"""The section "rstudio": RStudio Server's .deb, whose dependencies join the section "apt"."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine.core.derivation import Derivation
from engine.ecosystems import languages
from engine.ecosystems.debian import install as layer
from engine.ecosystems.r import rstudio
from engine.lock.model import Lock
from engine.lock.packages import Deb, LockedPackage
from engine.net.origins import Origins
from engine.sections.section import BASE, Debs, Draft, Section, no_variables, unless_empty
from engine.sections.session import Session
from grammar.environment import Environment
from grammar.errors import SpecError


def _requests(environment: Environment) -> tuple[str, ...]:
    return () if environment.rstudio_server is None else (languages.RSTUDIO,)


def _resolve(session: Session, lock: Lock) -> Sequence[LockedPackage]:
    found = rstudio.resolve(session.environment, session.system.os, session.store, session.log)
    return languages.without_logins([found])


@contextmanager
def _local(lock: Lock, store: Path) -> Iterator[Mapping[str, Path]]:
    if not lock["rstudio"]:
        yield {}
        return
    with rstudio.named(lock["rstudio"], store) as found:
        yield found


def _faults(environment: Environment) -> Iterator[SpecError]:
    if environment.rstudio_server is not None and languages.r(environment) is None:
        yield SpecError(
            'an RStudio server needs R; write base(language="r") or install.r_lang()',
            environment.rstudio_server,
        )


def _located(
    environment: Environment, directory: Path, rows: Sequence[LockedPackage]
) -> Sequence[LockedPackage]:
    return Origins(directory, [os.environ.get("ENVD_RSTUDIO_SERVER_DEB", "")]).packages(rows)


def _layers(draft: Draft) -> Sequence[Derivation]:
    packages = draft.lock["rstudio"]
    return [layer.derivation(packages, draft.system, languages.RSTUDIO)] if packages else []


RSTUDIO = Section(
    name="rstudio",
    holds=(Deb,),
    requests=_requests,
    places=lambda environment: () if environment.rstudio_server is None else (environment.rstudio_server,),
    resolve=_resolve,
    unpinned=unless_empty("rstudio"),
    derivations=_layers,
    variables=no_variables,
    builders={},
    follows=(BASE,),
    debs=Debs(needed=lambda lock: tuple(p.file.sha256 for p in lock["rstudio"]), local=_local),
    is_system=True,
    faults=_faults,
    located=_located,
)
