"""The section "tools": releases of toolchains as upstream builds them."""

from __future__ import annotations

from collections.abc import Sequence

from engine.build import tool as layers
from engine.build import toolchains
from engine.derivation import Derivation
from engine.ecosystems import python
from engine.ecosystems.section import Debs, Draft, Section, Variables, by_fact
from engine.ecosystems.session import Session
from engine.lock import Lock, LockedPackage
from engine.resolve import tools
from grammar.environment import Environment, Request


def _named(environment: Environment) -> tuple[Request, ...]:
    return tuple(map(Request, tools.apt_packages(environment)))


def _resolve(session: Session, lock: Lock) -> Sequence[LockedPackage]:
    return tools.resolve(
        session.environment, lock["tools"], session.target(lock), session.cache, session.log
    )


def _layers(draft: Draft) -> Sequence[Derivation]:
    return toolchains.derivations(draft.environment, draft.lock)


def _variables(environment: Environment, lock: Lock) -> Variables:
    values, path = toolchains.variables(environment, lock)
    return Variables(values, tuple(path))


TOOLS = Section(
    name="tools",
    requests=tools.requests,
    places=lambda environment: tuple(t.position for t in environment.toolchains),
    resolve=_resolve,
    unpinned=by_fact("tools", "request"),
    derivations=_layers,
    variables=_variables,
    builders={layers.KIND: layers.build},
    after=("apt",),  # which Python there is
    debs=Debs(_named),
    located=python.located,
)
