"""uv itself: its wheel from the Python index, which carries the program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from engine.ecosystems.python import pypi
from engine.ecosystems.python.requests import Wanted
from engine.ecosystems.python.target import Target
from engine.errors import ResolveError
from engine.lock.packages import ToolArchive, Wheel
from grammar.environment import PipIndex, Request, Toolchain


def resolve(
    toolchain: Toolchain, target: Target, index: PipIndex | None, cache: Path, log: Callable[[str], None]
) -> list[ToolArchive]:
    """The wheel of the version asked for, or of the newest. Raises ResolveError."""
    wanted = toolchain.version
    # "0.8" is any 0.8.x, as for the other tools (PEP 440's "compatible" prefix match)
    text = "uv" if not wanted else f"uv=={wanted}" + (".*" if wanted.count(".") < 2 else "")
    # uv needs no Python to run; its wheel is for any.
    anywhere = replace(target, python=target.python or "3.11")
    found = pypi.resolve(Wanted((Request(text, toolchain.position),), index=index), anywhere, cache, log)
    (package,) = found
    if not isinstance(package, Wheel):
        raise ResolveError(f"uv {package.version} has no wheel for the target", position=toolchain.position)
    return [ToolArchive(package.name, package.version, package.file)]
