"""`Tool`: all that envd knows of one tool that `install.NAME` asks for, in one record.

Where the distribution carries the version asked for, its packages are used: they join the section
"apt", as what a shell needs does. All else is upstream's own release, pinned by URL, size and SHA-256
in the section "tools". `engine.sections.tools` has the list of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.ecosystems.python.target import Target
from engine.ecosystems.tools.builder import Layout, Unpack
from engine.lock.packages import ToolArchive
from engine.net.upstream import begins
from engine.sections.section import SectionError
from grammar.environment import Environment, Toolchain

Log = Callable[[str], None]


@dataclass(frozen=True)
class Distributed:
    """A tool as the distribution has it: `packages` are Debian packages, `versioned` is the one whose
    version is the tool's ("{series}" stands for its "X.Y"), and `carried` is the version of each
    release. That only chooses: what is locked is looked at again."""

    packages: tuple[str, ...]
    versioned: str
    carried: Mapping[str, str]


@dataclass(frozen=True)
class Order:
    """A release to find: `toolchain` is the call that asks for it, `version` what it means ("" for
    the current one). `cache` is STORE/cache."""

    version: str
    toolchain: Toolchain
    environment: Environment
    target: Target
    cache: Path
    log: Log


@dataclass(frozen=True)
class Placed:
    """A tool in an image: its `layout`, directories for PATH, and variables."""

    layout: Layout
    path: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Release:
    """A tool as upstream has it. Pieces without a default must be there."""

    # Its files, of the kind "tool". Raises ResolveError.
    resolve: Callable[[Order], Sequence[ToolArchive]]
    # Where what was resolved goes.
    layout: Callable[[Sequence[ToolArchive]], Placed]
    # It runs with glibc alone; else it is static.
    is_of_glibc: bool
    # Debian packages that it needs.
    needs: tuple[str, ...] = ()


def _no_settings(_: Environment, __: Toolchain) -> Layout | None:
    return None


def _no_variables(_: Toolchain, __: str) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One tool. `release` and `distributed` say where it comes from; None where it does not.

    `installed` are variables in either case: where what the tool itself installs is found, below the
    directory that is given. `settings` are a layer of their own, so that changing them leaves the
    tool's as it is. `versioned` is the version that is to come from upstream, None for none: where
    that is more than the version of a call. `asker` names the call that asks for it, where that is
    another tool's.
    """

    name: str
    release: Release | None
    distributed: Distributed | None
    installed: Callable[[Toolchain, str], Mapping[str, str]] = _no_variables
    settings: Callable[[Environment, Toolchain], Layout | None] = _no_settings
    versioned: Callable[[Environment], str | None] | None = None
    asker: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]*", self.name):
            raise SectionError(f"'{self.name}' is not a valid name of a tool")
        if not self.asker:
            object.__setattr__(self, "asker", self.name)

    def asked(self, environment: Environment) -> Toolchain | None:
        """The call that asks for it."""
        return next((t for t in environment.toolchains if t.name == self.asker), None)

    def is_distributed(self, environment: Environment) -> bool:
        """Whether the distribution's own packages are what was asked for."""
        asked = self.asked(environment)
        if self.distributed is None or asked is None:
            return False
        # An image may be of any release: it gets upstream's where a version is asked for.
        release = "" if environment.base.image else environment.base.os
        carried = self.distributed.carried.get(release)
        return not asked.version or (carried is not None and begins(carried, asked.version))

    def wanted(self, environment: Environment) -> str | None:
        """The version that is to come from upstream, None when none is."""
        if self.release is None:
            return None
        if self.versioned is not None:
            return self.versioned(environment)
        asked = self.asked(environment)
        return None if asked is None or self.is_distributed(environment) else asked.version


def title(name: str, rows: Sequence[ToolArchive]) -> str:
    """The name of a tool's layer."""
    return f"{name}-{rows[0].version}"


def one_archive(name: str, place: str, strip: int = 1) -> Callable[[Sequence[ToolArchive]], Placed]:
    """The layout of a release that is one archive with a bin/ in it: all of it goes to `place`."""
    return lambda rows: Placed(
        Layout(title(name, rows), (Unpack(rows[0].file, place, strip),)), (f"{place}/bin",)
    )
