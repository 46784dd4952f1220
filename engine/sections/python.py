"""The sections "python" and "conda_wheels": wheels and sdists for the Pythons of an environment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from engine.core.derivation import Derivation
from engine.ecosystems.conda import builder as conda
from engine.ecosystems.conda import wheels as conda_wheels
from engine.ecosystems.debian import system
from engine.ecosystems.python import chosen as chosen_python
from engine.ecosystems.python import pypi, sdist, wheel
from engine.ecosystems.python.interpreter import Interpreter
from engine.ecosystems.python.requests import Wanted
from engine.lock.model import Lock
from engine.lock.packages import BuildWheel, Conda, LockedPackage, Sdist, Wheel
from engine.realise import group
from engine.sections import pythons
from engine.sections.section import BASE, Draft, Section, Variables, names, no_variables, places_of
from engine.sections.session import Session
from grammar.environment import Environment, Position
from grammar.errors import SpecError

# Docker's limit is 127 layers; overlayfs and registries like fewer. Beyond this, wheels are grouped.
MAX_SINGLE = 60


def located(
    environment: Environment, directory: Path, rows: Sequence[LockedPackage]
) -> Sequence[LockedPackage]:
    """Rows from the Python index, as they are fetched on this machine."""
    return pypi.origins(pythons.wanted(environment), directory).packages(rows)


def _layers(
    packages: Sequence[LockedPackage], python: Interpreter, below: Sequence[Derivation], lock: Lock
) -> list[Derivation]:
    """A layer for each package, or for a group of them; `below` is what building one needs."""
    builders = [p for p in packages if isinstance(p, BuildWheel)]
    single = [
        sdist.derivation(p, builders, python, below) if isinstance(p, Sdist) else wheel.derivation(p, python)
        for p in sorted(packages, key=lambda p: (p.name, p.version))
        if isinstance(p, Wheel | Sdist)
    ]
    sizes = {f"{p.name}-{p.version}": p.file.size for p in packages}
    limit = MAX_SINGLE // (2 if lock["wheels"] and lock["conda_wheels"] else 1)
    return group.grouped(single, sizes, limit)


def _faults(environment: Environment) -> Iterator[SpecError]:
    if (lacking := chosen_python.jupyter_fault(environment)) is not None:
        yield lacking


# -- python -----------------------------------------------------------------------------------


def _requests(environment: Environment) -> tuple[str, ...]:
    asked = pythons.wanted(environment).texts()
    return asked + tuple(chosen_python.python_facts(environment)) if asked else ()


def _places(environment: Environment) -> tuple[Position, ...]:
    files = tuple(given.position for given in environment.python_inputs)
    return (*places_of(environment.python_packages), *files)


def _where(wanted: Wanted, environment: Environment) -> Position:
    places = [r.position for r in wanted.requests] + [i.position for i in wanted.inputs]
    return next((p for p in places if p.line), environment.base.position)


def _resolve(session: Session, lock: Lock) -> Sequence[LockedPackage]:
    wanted = pythons.wanted(session.environment)
    where = _where(wanted, session.environment)
    system.check_library(where, session.system, session.glibc(lock), only_glibc=False)
    if not lock.python:
        raise system.no_python(where, session.system)
    return pypi.resolve(wanted, session.target(lock), session.cache, session.log, preferred=lock["wheels"])


def _unpinned(lock: Lock, asked: Sequence[str], implied: Iterable[str]) -> Iterable[str]:
    there = names(lock["wheels"])
    missing = []
    for text in asked:
        try:
            requirement = Requirement(text.split(" --hash=")[0])
        except InvalidRequirement:  # a file, an index, an option
            continue
        if requirement.marker is None and canonicalize_name(requirement.name) not in there:
            missing.append(text)
    return missing


def _python_layers(draft: Draft) -> Sequence[Derivation]:
    lock = draft.lock
    python = pythons.interpreter(draft.environment, lock)
    inside = [conda.derivation(lock.rows("conda", Conda))] if lock["conda"] else []
    holding = pythons.holding(python, [*draft.layers, *inside])
    return _layers(lock["wheels"], python, (*draft.system, *holding), lock)


def _variables(environment: Environment, lock: Lock) -> Variables:
    # The image is the environment: pip may install into it (PEP 668 guards a distribution).
    return Variables({"PIP_BREAK_SYSTEM_PACKAGES": "1"} if lock.python else {})


PYTHON = Section(
    name="python",
    holds=(Wheel, Sdist, BuildWheel),
    table="wheels",
    requests=_requests,
    places=_places,
    resolve=_resolve,
    unpinned=_unpinned,
    derivations=_python_layers,
    variables=_variables,
    builders={wheel.KIND: wheel.build, sdist.KIND: sdist.build, group.KIND: group.build},
    follows=(BASE,),
    after=("apt", "tools", "conda"),  # which Python there is, to its last digit
    faults=_faults,
    located=located,
)


# -- conda_wheels -----------------------------------------------------------------------------


def _resolve_in_conda(session: Session, lock: Lock) -> Sequence[LockedPackage]:
    return conda_wheels.resolve(
        pythons.wanted_in_conda(session.environment),
        lock.rows("conda", Conda),
        session.glibc(lock),
        session.cache,
        session.log,
        lock["conda_wheels"],
    )


def _layers_in_conda(draft: Draft) -> Sequence[Derivation]:
    lock = draft.lock
    inside = conda.interpreter(lock.rows("conda", Conda))
    if inside is None:
        return []
    below = (*draft.system, conda.derivation(lock.rows("conda", Conda)))
    return _layers(lock["conda_wheels"], inside, below, lock)


def _located_in_conda(
    environment: Environment, directory: Path, rows: Sequence[LockedPackage]
) -> Sequence[LockedPackage]:
    return pypi.origins(pythons.wanted_in_conda(environment), directory).packages(rows)


CONDA_WHEELS = Section(
    name="conda_wheels",
    holds=(Wheel, Sdist, BuildWheel),
    requests=lambda environment: pythons.wanted_in_conda(environment).texts(),
    places=lambda environment: places_of(environment.conda_pip),
    resolve=_resolve_in_conda,
    # what conda brings is not brought again
    unpinned=lambda lock, asked, _: (),
    derivations=_layers_in_conda,
    variables=no_variables,
    builders={},
    follows=(BASE, "conda"),
    needs=("conda",),
    located=_located_in_conda,
)
