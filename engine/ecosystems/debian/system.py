"""What packages are resolved against: the base's archives, C library, Python and dpkg status."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.ecosystems.debian import releases as debian
from engine.errors import ResolveError
from engine.lock.packages import Deb, LockedPackage
from grammar.environment import Base, Environment, Position, Request


@dataclass(frozen=True)
class Archives:
    """Where .debs come from: sources.list lines, trusted by `keyring` (a path, or "") and by `keys`
    (by file name)."""

    sources: tuple[str, ...]
    keyring: str = ""
    keys: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class System:
    """A base, to those who resolve for it.

    `title` is for people. `archives` of a bootstrapped one are looked for apart: the rest is known
    without them. Without `apt` the system takes no .debs. `glibc` is "" on another
    C library. `python` is the Python that an image has; of a bootstrapped base it is the release's,
    which is there only once the lock pins its .deb. `status` is dpkg's own, None where the lock's
    .debs are all that is installed. `there` names the .debs whose place something of an image's own
    takes: nothing of a bootstrapped base's, whatever its release carries.
    """

    os: str
    title: str
    archives: Archives | None
    glibc: str
    python: str
    status: str | None = None
    apt: bool = True
    musl: str = ""
    there: frozenset[str] = frozenset()


def bootstrapped(environment: Environment) -> System:
    """The system of `base(os=...)`. Raises ResolveError."""
    release = debian.release_of(environment.base)
    return System(release.os, release.os, None, release.glibc, release.python)


def archives(environment: Environment, cache: Path) -> Archives:
    """The archives of `base(os=...)`. Raises ResolveError for what this machine lacks to read
    them."""
    release = debian.release_of(environment.base)
    keys = debian.own_keys(environment)
    sources = debian.sources(environment, release)
    keyring = debian.keyring(release, needed=False)
    if not keyring and not keys:
        keyring = debian.fetched_keyring(release, cache, environment.base.position)
    return Archives(sources, keyring, keys)


def version_of(packages: Sequence[LockedPackage], name: str) -> str:
    """The "X.Y" that a .deb's version begins with, or "" when it is not among `packages`."""
    for package in packages:
        if isinstance(package, Deb) and package.name == name:
            match = re.match(r"(?:\d+:)?(\d+\.\d+)", package.version)
            return match[1] if match else ""
    return ""


def status_with(status: str, packages: Sequence[LockedPackage], added: str) -> str:
    """A dpkg status in which `added`, the paragraphs of `packages`, stands for what was there
    of them."""
    names = {p.name for p in packages}
    kept = [
        paragraph
        for paragraph in re.split(r"\n[ \t]*\n", status)
        if (match := re.search(r"^Package:[ \t]*(\S+)", paragraph, re.MULTILINE)) and match[1] not in names
    ]
    return "\n\n".join([*(p.strip("\n") for p in kept), added.strip("\n")]).strip("\n") + "\n"


def without_what_is_there(requests: Sequence[Request], system: System) -> tuple[Request, ...]:
    """`requests` for .debs, less what envd itself asks for and the base has in another way."""
    return tuple(r for r in requests if r.position.line or r.text not in system.there)


def refuse_debs(requests: Sequence[Request], system: System, base: Base) -> None:
    """Raise ResolveError when `requests` want .debs from a base that takes none."""
    if system.apt or not requests:
        return
    where = next((r.position for r in requests if r.position.line), base.position)
    names = ", ".join(r.text for r in requests)
    raise ResolveError(
        f"cannot add {names}: the base {system.title} has no apt",
        position=where,
        advice="use an image of Debian or Ubuntu, or one that has them already",
    )


def python_of(base: Base, system: System, added: str) -> str:
    """The Python "X.Y" of an image, its own or `added` by apt.

    Raises ResolveError when it is not the one that `language` names.
    """
    found = system.python or added
    wanted = re.fullmatch(r"python(3\.\d+)", base.language)
    if wanted and found and wanted[1] != found:
        raise ResolveError(f"{system.title} has Python {found}, not {wanted[1]}", position=base.position)
    return found


def check_library(position: Position, system: System, glibc: str, *, only_glibc: bool) -> None:
    """Raise ResolveError when packages are built for another C library than the base has."""
    if glibc or (system.musl and not only_glibc):
        return
    has = "musl" if system.musl else "none that envd knows"
    wanted = "glibc" if only_glibc else "glibc or musl"
    raise ResolveError(
        f"these packages need {wanted} as the C library, and the base {system.title} has {has}",
        position=position,
        advice="use an image of Debian or Ubuntu",
    )


def no_python(position: Position | None, system: System) -> ResolveError:
    """What to say when Python packages are wanted and no Python is there."""
    return ResolveError(
        f"Python packages need a Python, and the base {system.title} has none",
        position=position,
        advice="write install.python()",
    )
