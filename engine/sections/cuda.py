"""The section "cuda": NVIDIA's wheels, or, from apt, packages that join the section "apt"."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from engine.core.derivation import Derivation
from engine.core.events import Event
from engine.ecosystems.cuda import apt as cuda_apt
from engine.ecosystems.cuda import builder as layers
from engine.ecosystems.cuda import resolver as cuda
from engine.ecosystems.debian import system
from engine.errors import ResolveError, UsageError
from engine.lock.model import Lock
from engine.lock.packages import LockedPackage, Wheel
from engine.sections import python
from engine.sections.section import BASE, Debs, Draft, Section, Variables
from engine.sections.session import Session
from grammar.environment import Environment, Request

_FROM_APT = "source=apt"


def _requests(environment: Environment) -> tuple[str, ...]:
    asked = environment.cuda
    if asked is None:
        return ()
    found = [f"version={asked.version}", f"source={asked.source}"]
    if asked.cudnn:
        found.append(f"cudnn={asked.cudnn}")
    return (*found, *(f"component={c}" for c in sorted(asked.components)))


def settled(environment: Environment, lock: Lock | None) -> Environment:
    """`environment` with CUDA from where `lock` has it, when it may come from either source."""
    if environment.cuda is None or environment.cuda.source != "auto" or lock is None:
        return environment
    had = lock.requests.get("cuda", ())
    source = next((t.removeprefix("source=") for t in had if t.startswith("source=")), "auto")
    return replace(environment, cuda=replace(environment.cuda, source=source))


def is_same(environment: Environment, old: Lock | None) -> bool:
    """Whether a lock has what CUDA is asked for, wherever from."""
    if old is None or "cuda" not in old.requests:
        return False
    return _requests(settled(environment, old)) == old.requests["cuda"]


def settle(session: Session) -> None:
    """Decide from where CUDA comes: NVIDIA's wheels, or apt when these lack that version.

    Raises ResolveError when both do, or when its repository cannot be read.
    """
    wanted = session.environment.cuda
    if wanted is None:
        return
    if wanted.source == "apt":
        session.nvidia(wanted)
    if wanted.source != "auto":
        return
    source, lacking = "pypi", cuda.lacks(wanted, session.environment.pip_index)
    if lacking:
        try:
            repository, lists = session.nvidia(wanted)
        except (ResolveError, UsageError) as error:
            if error is session.lacking:
                raise
            kind = UsageError if isinstance(error, UsageError) else ResolveError
            raise kind(
                f"there is no {lacking}; and from apt: {error.text}", position=wanted.position
            ) from error
        if also := cuda_apt.lacks(wanted, lists, repository.title):
            raise ResolveError(f"there is no {lacking}; and no {also}", position=wanted.position)
        source = "apt"
        text = f"there is no {lacking.partition(';')[0]}: taking it from {repository.title}"
        session.emit(Event("message", "cuda", text=text))
    session.environment = replace(session.environment, cuda=replace(wanted, source=source))


def _named(environment: Environment) -> tuple[Request, ...]:
    """What CUDA from apt is asked for as, in the names that every release has."""
    wanted = environment.cuda
    if wanted is None or wanted.source != "apt":
        return ()
    return tuple(Request(name, wanted.position) for name in cuda_apt.packages(wanted))


def _refined(session: Session, lock: Lock, requests: tuple[Request, ...]) -> tuple[Request, ...]:
    """CUDA's packages with the versions of the release asked for."""
    wanted = session.environment.cuda
    if wanted is None or wanted.source != "apt":
        return requests
    repository, lists = session.nvidia(wanted)
    own = {r.text.partition("=")[0] for r in session.environment.apt_packages}
    implied = {r.text for r in _named(session.environment)} - own
    return (
        *(r for r in requests if r.text not in implied),
        *(
            r
            for r in cuda_apt.requests(wanted, lists, repository.title)
            if r.text.partition("=")[0] not in own
        ),
    )


def _resolve(session: Session, lock: Lock) -> Sequence[LockedPackage]:
    wanted = session.environment.cuda
    if wanted is None:
        return []
    system.check_library(wanted.position, session.system, session.glibc(lock), only_glibc=True)
    if wanted.source == "apt":
        return []
    return cuda.resolve(
        wanted, session.target(lock), session.environment.pip_index, session.cache, session.log
    )


def _unpinned(lock: Lock, asked: Sequence[str], implied: Iterable[str]) -> Iterable[str]:
    from_apt = _FROM_APT in asked or any(p.name.startswith("cuda-") for p in lock["apt"])
    return () if lock["cuda"] or from_apt else asked


def _layers(draft: Draft) -> Sequence[Derivation]:
    asked, packages = draft.environment.cuda, draft.lock["cuda"]
    if asked is None or not packages:
        return []
    return layers.derivations(packages, cuda.short(asked.version))


def _variables(environment: Environment, lock: Lock) -> Variables:
    if environment.cuda is None:
        return Variables()
    return Variables(dict(layers.environment(environment.cuda.version)), ("/usr/local/cuda/bin",))


CUDA = Section(
    name="cuda",
    holds=(Wheel,),
    requests=_requests,
    places=lambda environment: () if environment.cuda is None else (environment.cuda.position,),
    resolve=_resolve,
    unpinned=_unpinned,
    derivations=_layers,
    variables=_variables,
    builders=layers.BUILDERS,
    follows=(BASE,),
    after=("apt", "tools", "conda"),  # which Python there is, to its last digit
    debs=Debs(_named, joined=lambda texts: _FROM_APT in texts, refined=_refined),
    located=python.located,
)
