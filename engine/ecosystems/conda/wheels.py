"""Python packages inside the conda prefix: what pip would add to it, for conda's own Python."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from engine.ecosystems.python import pypi
from engine.ecosystems.python.requests import Wanted
from engine.ecosystems.python.target import Target
from engine.ecosystems.python.uv import Log
from engine.errors import ResolveError
from engine.lock.packages import BuildWheel, Conda, LockedPackage
from grammar.environment import Request

# conda's name -> the Python index's, where they differ.
_RENAMED = {
    "graphviz-python": "graphviz",
    "matplotlib-base": "matplotlib",
    "msgpack-python": "msgpack",
    "opencv": "opencv-python",
    "py-opencv": "opencv-python",
    "py-xgboost": "xgboost",
    "python-graphviz": "graphviz",
    "pytables": "tables",
    "pytorch": "torch",
    "pytorch-lightning": "pytorch-lightning",
    "ray-core": "ray",
    "tensorflow-base": "tensorflow",
}


def target_of(packages: Sequence[Conda], glibc: str) -> Target | None:
    """The Python that locked conda packages bring, as a target; None when they bring none."""
    for package in packages:
        if package.name == "python" and (match := re.match(r"\d+\.\d+", package.version)):
            return Target(match[0], glibc, package.version)
    return None


def provided(packages: Sequence[Conda]) -> dict[str, str]:
    """The Python packages among conda's: name on the Python index -> version."""
    return {
        _RENAMED.get(p.name, p.name.replace("_", "-").replace(".", "-")): p.version
        for p in packages
        if p.python
    }


def resolve(
    wanted: Wanted,
    packages: Sequence[Conda],
    glibc: str,
    cache_directory: Path,
    log: Log,
    preferred: Sequence[LockedPackage] = (),
) -> list[LockedPackage]:
    """The wheels of what is `wanted` beside the conda `packages`: what these bring already is
    there, in the version that they bring. Raises ResolveError."""
    target = target_of(packages, glibc)
    if target is None:
        place = next((r.position for r in wanted.requests if r.position.line), None)
        raise ResolveError(
            "Python packages need a Python: name 'python' among the conda packages, or "
            'write base(language="python3")',
            position=place,
        )
    there = provided(packages)
    missing = tuple(r for r in wanted.requests if not _satisfied(r, there))
    wanted = replace(wanted, requests=missing)
    if not wanted:
        return []
    pins = {}
    for name, version in sorted(there.items()):
        try:
            pins[name] = Request(f"{name}=={Version(version)}")
        except InvalidVersion:
            log(f"conda's {name} {version} has a version that pip cannot compare")
    while True:
        constraints = (*wanted.constraints, *pins.values())
        try:
            found = pypi.resolve(
                replace(wanted, constraints=constraints),
                target,
                cache_directory,
                log,
                left_out=there.keys() - pins.keys(),
                preferred=preferred,
            )
        except pypi.NoVersionError as error:
            # conda's version of it is not on the Python index: then nobody can compare
            if pins.pop(error.name, None) is None:
                raise
            continue
        return [p for p in found if isinstance(p, BuildWheel) or p.name not in there]


def _satisfied(request: Request, there: Mapping[str, str]) -> bool:
    """Whether conda brings what is requested already. Raises ResolveError when it brings another
    version."""
    wanted = Requirement(request.text)
    version = there.get(canonicalize_name(wanted.name))
    if version is None:
        return False
    try:
        fits = wanted.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        fits = not wanted.specifier
    if not fits or wanted.url:
        raise ResolveError(
            f"conda brings {wanted.name} {version}, which is not '{request.text}'",
            position=request.position,
            advice="ask conda for that version",
        )
    return not wanted.extras
