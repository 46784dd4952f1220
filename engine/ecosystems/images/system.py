"""What packages are resolved against when the base is a registry image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.ecosystems.debian import releases as debian
from engine.ecosystems.debian.system import Archives, System
from engine.ecosystems.images import resolver as image
from engine.lock.model import LockedBase
from grammar.environment import Environment


def of_image(environment: Environment, base: LockedBase, cache: Path, log: Callable[[str], None]) -> System:
    """The system of `base(image=...)`: its archives are ours where we know the release, else its
    own. Raises ResolveError, FetchError."""
    facts = base.facts
    title = f"{base.image} ({facts.get('title') or 'which names no distribution'})"
    python, glibc = facts.get("python", ""), facts.get("glibc", "")
    there = frozenset((*facts.get("shells", "").split(), *(["python3"] if python else ())))
    if not facts.get("apt"):
        return System(base.os, title, None, glibc, python, apt=False, musl=facts.get("musl", ""), there=there)
    inside = image.contents(base.digest, base.packages, cache, log)
    release = debian.RELEASES.get(base.os)
    known = release is not None or environment.apt_source
    found = Archives(
        debian.sources(environment, release) if known else inside.sources,
        debian.keyring(release, needed=False),
        {**inside.keys, **debian.own_keys(environment)},
    )
    return System(base.os, title, found, glibc, python, inside.status, there=there)
