"""The base, on which all sections lie: what is asked of it, and how it is pinned."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path

from engine.core.derivation import Derivation
from engine.core.urls import hidden
from engine.ecosystems.debian import apt, base
from engine.ecosystems.debian import releases as debian
from engine.ecosystems.images import builder as image
from engine.ecosystems.images import resolver as images
from engine.lock.model import Lock, LockedBase
from engine.net.origins import Origins
from engine.realise.context import Builder
from engine.sections.session import Session
from grammar.environment import Environment

BUILDERS: dict[str, Builder] = {base.KIND: base.build, image.KIND: image.build}
# What lies at the bottom of an image.
KINDS = frozenset(BUILDERS)


def requests(environment: Environment) -> tuple[str, ...]:
    """The request strings."""
    asked = environment.base
    found = [f"image={asked.image}"] if asked.image else [f"os={asked.os}"]
    found.append(f"language={asked.language}")
    if environment.apt_source:
        found.append(f"apt_source={hidden(environment.apt_source)}")
    for name, content in debian.own_keys(environment).items():
        found.append(f"apt_key={name} sha256:{hashlib.sha256(content).hexdigest()}")
    return tuple(found)


def resolve(session: Session, old: Lock | None) -> LockedBase:
    """The base. Raises ResolveError."""
    environment, asked = session.environment, session.environment.base
    if asked.image:
        if old is not None and f"image={asked.image}" in old.requests.get("base", ()):
            return old.base  # something else about it changed: the tag stays where it was
        return images.base(asked.image, asked.position, session.cache, session.log)
    names = ["ca-certificates"]
    if debian.python_of(asked):
        names.append("python3")
    packages = apt.bootstrap(session.apt, names)
    return LockedBase(
        "debootstrap",
        session.system.os,
        debian.release_of(asked).suite,
        tuple(map(hidden, session.archives.sources)),
        packages=tuple(packages),
        keys=debian.own_keys(environment),
    )


def derivations(lock: Lock) -> tuple[Derivation, ...]:
    """Its layers, from the bottom up."""
    if lock.base.kind == "image":
        return tuple(image.layers(lock.base.packages))
    return (base.derivation(lock.base),)


def archives(environment: Environment, directory: Path) -> Origins:
    """Where .debs are fetched from on this machine."""
    mirrors = [v for k, v in os.environ.items() if k.startswith("ENVD_") and k.endswith("_MIRROR")]
    text = " ".join([environment.apt_source or "", *mirrors])
    return Origins(directory, re.findall(r"https?://\S+", text))


def located(environment: Environment, lock: Lock, directory: Path) -> Lock:
    """The lock with its base's files as they are fetched on this machine."""
    if lock.base.kind == "image":
        return lock
    packages = archives(environment, directory).packages(lock.base.packages)
    return replace(lock, base=replace(lock.base, packages=packages))
