"""The lock sections "r", "julia" and "rstudio", and what they ask of the section "apt"."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from engine import languages
from engine.fetch import shown
from engine.lock import Lock, LockedPackage
from engine.resolve.apt import Apt
from engine.resolve.system import System
from grammar.environment import Environment, Request

SECTIONS = ("r", "julia", "rstudio")  # each a field of Lock; all before "apt"


def resolve(
    section: str,
    environment: Environment,
    lock: Lock,
    apt: Callable[[], Apt],
    system: Callable[[], System],
    store: Path,
    log: Callable[[str], None],
) -> list[LockedPackage]:
    """One section. `apt` gives the package lists, `system` the base; `lock` is what is known so
    far, and what was locked before. Raises ResolveError."""
    if section == "r":
        from engine.resolve import cran, r

        lists = apt()
        version = r.version_of(lists, environment, system(), lock.apt)
        target = cran.Target(system().title, version, r.provided(lists, version))
        repository = languages.cran_mirror(environment)
        found = cran.resolve(environment.r_packages, repository, target, lock.r, store, log)
    elif section == "julia":
        from engine.resolve import julia

        found = julia.resolve(environment, lock.julia, store, log)
    else:
        from engine.resolve import rstudio

        found = [rstudio.resolve(environment, system().os, store, log)]
    # a login is this machine's, see `engine.languages.located`
    return [replace(p, file=replace(p.file, url=shown(p.file.url))) for p in found]


def apt_needs(lock: Lock) -> tuple[str, ...]:
    """What other sections ask of "apt": names, and the hashes of .debs to be installed later."""
    compiled = any(p.extra.get("compiled") for p in lock.r)
    needs = (languages.R_COMPILERS,) if compiled else ()
    return (*needs, *(p.file.sha256 for p in lock.rstudio))


def apt_requests(
    apt: Apt, environment: Environment, system: System, lock: Lock, wanted: Sequence[Request]
) -> tuple[Request, ...]:
    """`wanted`, and what R and its packages need. Raises ResolveError."""
    from engine.resolve import r

    found = r.requests(apt, environment, system, wanted)
    if languages.R_COMPILERS in apt_needs(lock):
        found += (Request(languages.R_COMPILERS),)
    return found


@contextmanager
def local_debs(lock: Lock, store: Path) -> Iterator[dict[str, Path]]:
    """.debs outside the archive whose dependencies apt has to find: package name -> file."""
    if not lock.rstudio:
        yield {}
        return
    from engine.resolve import rstudio

    with rstudio.named(lock.rstudio, store) as found:
        yield found
