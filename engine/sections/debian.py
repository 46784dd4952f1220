"""The sections "apt" and "dev": Debian packages of the environment, and what `envd up` adds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from engine.core.derivation import Derivation
from engine.ecosystems.debian import apt, system
from engine.ecosystems.debian import install as layer
from engine.ecosystems.python import chosen as chosen_python
from engine.ecosystems.steps import dev
from engine.ecosystems.steps.services import packages_for_services
from engine.ecosystems.steps.shell import packages_for_shell
from engine.lock.model import Lock
from engine.lock.packages import Deb, LockedPackage
from engine.sections import base, pythons, tools
from engine.sections.section import BASE, Debs, Draft, Section, names, no_variables, places_of, texts
from engine.sections.session import Session
from grammar.environment import Environment, Request

_DEB = re.compile(r"[^:=/]+")


def wants_services(environment: Environment) -> bool:
    """Whether something has to be started with the container."""
    return bool(environment.jupyter or environment.daemons or environment.init or environment.rstudio_server)


def _named(environment: Environment) -> tuple[Request, ...]:
    """The user's packages, and those that the shell and services need."""
    implied = list(packages_for_shell(environment.shell))
    if wants_services(environment):
        implied += packages_for_services()
    return environment.apt_packages + tuple(map(Request, implied))


def requests(environment: Environment, sections: Iterable[Section]) -> tuple[Request, ...]:
    """The user's Debian packages, then what all sections ask of apt beside them."""
    found: dict[str, Request] = {}
    for section in sections:
        for request in section.debs.named(environment):
            found.setdefault(request.text, request)
    return tuple(found.values())


def _resolve(session: Session, lock: Lock) -> Sequence[LockedPackage]:
    asked = _for_pip(requests(session.environment, session.sections), session, lock)
    asked = _wanted(asked, session)
    if not session.system.apt:
        return []
    with ExitStack() as stack:
        local: dict[str, Path] = {}
        for section in session.sections:
            asked = section.debs.refined(session, lock, asked)
            local |= stack.enter_context(section.debs.local(lock, session.store))
        packages = apt.resolve(session.apt, asked, session.status(lock), local)
    tools.check_distributed(session.environment, packages)
    return packages


def _wanted(requests: tuple[Request, ...], session: Session) -> tuple[Request, ...]:
    wanted = system.without_what_is_there(requests, session.system)
    system.refuse_debs(wanted, session.system, session.environment.base)
    return wanted


def needs_distutils(session: Session, lock: Lock) -> bool:
    """Whether pip needs Debian's distutils beside the Python that an image has, or gets."""
    environment, own = session.environment, session.system.python
    python = chosen_python.python_of(environment)
    if (
        pythons.in_conda(environment)
        or not (python or pythons.wanted(environment))
        or not session.system.apt
        or (python is not None and python.source != "distribution")
    ):
        return False
    if environment.base.image and own:
        return own in chosen_python.SPLIT_DISTUTILS and not lock.base.facts.get("prefix")
    known = system.version_of(lock.base.packages, "python3")
    carried = known or max(
        (m[1] for s in session.apt.stanzas("python3") if (m := re.match(r"(3\.\d+)", s["Version"]))),
        default="",
        key=lambda v: int(v[2:]),
    )
    return carried in chosen_python.SPLIT_DISTUTILS and session.apt.provides(chosen_python.DISTUTILS)


def _for_pip(requests: tuple[Request, ...], session: Session, lock: Lock) -> tuple[Request, ...]:
    """`requests` with what pip needs of the Python that is there, and without where it does not."""
    others = tuple(r for r in requests if r.position.line or r.text != chosen_python.DISTUTILS)
    named = any(r.text == chosen_python.DISTUTILS for r in others)
    if named or not (session.environment.base.image or len(others) < len(requests)):
        return others
    return (*others, Request(chosen_python.DISTUTILS)) if needs_distutils(session, lock) else others


def _layers(draft: Draft) -> Sequence[Derivation]:
    packages = draft.lock["apt"]
    return [layer.derivation(packages, draft.layers)] if packages else []


def _located(
    environment: Environment, directory: Path, rows: Sequence[LockedPackage]
) -> Sequence[LockedPackage]:
    return base.archives(environment, directory).packages(rows)


# -- whether everything is pinned -------------------------------------------------------------


def satisfied_elsewhere(lock: Lock) -> tuple[str, ...]:
    """The .debs asked for that no package of the lock is called: apt found that a package of
    another name provides them, or that the image has them. For `Lock.provided`."""
    there = _there(lock, lock["apt"], lock["dev"])
    asked = {*lock.requests.get("apt", ()), *lock.requests.get("dev", ())}
    return tuple(sorted(text for text in asked if _name(text) not in there))


def _name(text: str) -> str:
    match = _DEB.match(text)
    return match[0] if match else text


def _there(lock: Lock, *sections: Sequence[LockedPackage]) -> set[str]:
    below = lock.base.packages if lock.base.kind != "image" else ()
    return names(below).union(*map(names, sections))


def _missing(lock: Lock, asked: Sequence[str], there: set[str], implied: set[str]) -> list[str]:
    """A lock without `provided` is of an older envd: there, what the user asked for may have been
    provided by a package of another name."""
    missing = [text for text in asked if _name(text) not in there]
    strict = {text for text in missing if text in implied and not _in_image(lock, text)}
    if lock.provided is None:
        return [text for text in missing if text in strict]
    return [text for text in missing if text in strict or text not in lock.provided]


def _in_image(lock: Lock, name: str) -> bool:
    """Whether an image may have what a .deb is for: of its Python and shells we know."""
    if lock.base.kind != "image":
        return False
    facts = lock.base.facts
    known = {"python3": bool(facts.get("python"))}
    known |= {shell: shell in facts.get("shells", "").split() for shell in ("zsh", "fish")}
    return known.get(name, True)


def _unpinned(lock: Lock, asked: Sequence[str], implied: Iterable[str]) -> Iterable[str]:
    return _missing(lock, asked, _there(lock, lock["apt"]), set(implied))


APT = Section(
    name="apt",
    holds=(Deb,),
    requests=lambda environment: texts(_named(environment)),
    places=lambda environment: places_of(environment.apt_packages),
    resolve=_resolve,
    unpinned=_unpinned,
    derivations=_layers,
    variables=no_variables,
    builders={layer.KIND: layer.build},
    follows=(BASE,),
    debs=Debs(_named),
    is_system=True,
    located=_located,
    since=frozenset({chosen_python.DISTUTILS}),
)


# -- dev --------------------------------------------------------------------------------------


def _dev_requests(environment: Environment) -> tuple[str, ...]:
    return dev.packages_for(environment) if dev.wanted(environment) else ()


def _resolve_dev(session: Session, lock: Lock) -> Sequence[LockedPackage]:
    asked = _wanted(tuple(map(Request, dev.packages_for(session.environment))), session)
    return apt.resolve(session.apt, asked, session.status(lock, lock["apt"]))


def _dev_unpinned(lock: Lock, asked: Sequence[str], implied: Iterable[str]) -> Iterable[str]:
    return _missing(lock, asked, _there(lock, lock["apt"], lock["dev"]), set(asked))


def _dev_layers(draft: Draft) -> Sequence[Derivation]:
    developing = dev.wanted(draft.environment)
    return [dev.packages(draft.lock["dev"], draft.system)] if developing else []


DEV = Section(
    name="dev",
    holds=(Deb,),
    requests=_dev_requests,
    places=lambda _: (),
    resolve=_resolve_dev,
    unpinned=_dev_unpinned,
    derivations=_dev_layers,
    variables=no_variables,  # the entry point's, over the user's: see engine.plan.plan
    builders=dev.BUILDERS,
    follows=(BASE, "apt"),
    needs=("apt",),
    is_system=True,
    located=_located,
    since=frozenset(dev.EDITORS.values()),
)
