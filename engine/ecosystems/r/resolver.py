"""R itself: the version that the base's apt sources carry, and R's own recommended packages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from engine.ecosystems import languages
from engine.ecosystems.debian.apt import Apt
from engine.ecosystems.debian.package_lists import parse_stanzas
from engine.ecosystems.debian.system import System
from engine.ecosystems.r.bundled import BASE, RECOMMENDED
from engine.errors import ResolveError
from engine.lock.packages import LockedPackage
from grammar.environment import Environment, Request

Version = tuple[int, ...]

# Debian's and Ubuntu's own, to say where another version is.
CARRIED = {
    "debian11": "4.0.4",
    "debian12": "4.2.2",
    "debian13": "4.5.0",
    "ubuntu20.04": "3.6.3",
    "ubuntu22.04": "4.1.2",
    "ubuntu24.04": "4.3.3",
}


def version_key(text: str) -> Version:
    """A package's version as R compares them: its numbers, separated by "." or "-"."""
    return tuple(int(number) for number in re.findall(r"\d+", text))


def upstream(version: str) -> str:
    """R's "4.2.2" of Debian's "4.2.2.20221110-2"."""
    match = re.match(r"(?:\d+:)?(\d+\.\d+\.\d+)", version)
    return match[1] if match else version


def requests(
    apt: Apt, environment: Environment, system: System, wanted: Sequence[Request]
) -> tuple[Request, ...]:
    """`wanted`, with r-base-core at the version that the environment names. Raises ResolveError."""
    asked = languages.r(environment)
    if asked is None or not asked.version:
        return tuple(wanted)
    exact = Request(f"r-base-core={_choose(apt, environment, system)}", asked.position)
    name = f"r-base-core={asked.version}"
    return tuple(exact if request.text == name else request for request in wanted)


def version_of(apt: Apt, environment: Environment, system: System, locked: Sequence[LockedPackage]) -> str:
    """The R ("4.2.2") that the environment has: the locked one, an image's own, else what apt would
    choose."""
    for package in locked:
        if package.name == "r-base-core":
            return upstream(package.version)
    for stanza in parse_stanzas(system.status or ""):
        if stanza.get("Package") == "r-base-core" and "Version" in stanza:
            return upstream(stanza["Version"])
    return upstream(_choose(apt, environment, system))


def _choose(apt: Apt, environment: Environment, system: System) -> str:
    asked = languages.r(environment)
    assert asked is not None
    carried = sorted(
        {s["Version"] for s in apt.stanzas("r-base-core")}, key=lambda v: version_key(upstream(v))
    )
    parts = version_key(asked.version)
    fitting = [v for v in carried if version_key(upstream(v))[: len(parts)] == parts]
    if fitting:
        return fitting[-1]
    has = ", ".join(upstream(v) for v in carried) or "no R"
    others = [
        f"{name} carries {version}"
        for name, version in CARRIED.items()
        if version_key(version)[: len(parts)] == parts and name != system.os
    ]
    known = others or [f"{name} carries {version}" for name, version in CARRIED.items() if name != system.os]
    raise ResolveError(
        f"the apt sources of {system.title} carry R {has}, not {asked.version}; "
        f"{', '.join(known)}; or name a source that has it with config.apt_source",
        position=asked.position,
    )


def provided(apt: Apt, r_version: str) -> Mapping[str, str]:
    """R packages (name -> version) that come with R: its own, and the recommended ones."""
    found = dict.fromkeys(BASE, r_version)
    for name in RECOMMENDED:
        versions = [s["Version"] for s in apt.stanzas(f"r-cran-{name.lower()}")]
        if versions:
            newest = max(versions, key=version_key)
            found[name] = newest.partition(":")[2] or newest
            found[name] = found[name].rpartition("-")[0] or found[name]
    return found
