"""The section "conda": conda packages, in the one prefix /opt/conda."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from engine.core.derivation import Derivation
from engine.core.urls import redacted
from engine.ecosystems.conda import builder as layer
from engine.ecosystems.conda import resolver as conda
from engine.ecosystems.debian import system
from engine.ecosystems.python import chosen as chosen_python
from engine.ecosystems.steps import login
from engine.lock.model import Lock
from engine.lock.packages import Conda, LockedPackage
from engine.net.origins import Origins
from engine.sections.section import Draft, Section, Variables, names, places_of, texts
from engine.sections.session import Session
from grammar.environment import Environment

_NAME = re.compile(r"(?:[^\s=]+::)?([A-Za-z0-9_][A-Za-z0-9_.-]*)")


def _requests(environment: Environment) -> tuple[str, ...]:
    asked = texts(chosen_python.conda_requests(environment))
    channels = [f"channel={redacted(c)}" for c in environment.conda_channels]
    return (*asked, *channels) if asked else ()


def _resolve(session: Session, lock: Lock) -> Sequence[LockedPackage]:
    environment = session.environment
    where = next((r.position for r in environment.conda_packages), environment.base.position)
    system.check_library(where, session.system, session.glibc(lock), only_glibc=True)
    return conda.resolve(
        chosen_python.conda_requests(environment),
        environment.conda_channels,
        session.glibc(lock),
        session.cache,
        session.log,
    )


def _unpinned(lock: Lock, asked: Sequence[str], implied: Iterable[str]) -> Iterable[str]:
    there = {name.lower() for name in names(lock["conda"])}
    matches = [
        (t, match[1]) for t in asked if not t.startswith("channel=") and (match := _NAME.match(t)) is not None
    ]
    return [text for text, name in matches if name.lower() not in there]


def _layers(draft: Draft) -> Sequence[Derivation]:
    packages = draft.lock.rows("conda", Conda)
    return [layer.derivation(packages)] if packages else []


def _variables(environment: Environment, lock: Lock) -> Variables:
    if not lock["conda"]:
        return Variables()
    return Variables(login.variables(), (f"{layer.PREFIX}/bin",))


def _located(
    environment: Environment, directory: Path, rows: Sequence[LockedPackage]
) -> Sequence[LockedPackage]:
    channels = [conda.channel_url(c) for c in environment.conda_channels]
    return Origins(directory, channels).packages(rows)


CONDA = Section(
    name="conda",
    holds=(Conda,),
    requests=_requests,
    places=lambda environment: places_of(environment.conda_packages),
    resolve=_resolve,
    unpinned=_unpinned,
    derivations=_layers,
    variables=_variables,
    builders={layer.KIND: layer.build},
    located=_located,
)
