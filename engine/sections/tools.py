"""The section "tools": releases of toolchains as upstream builds them. The one list of tools.

A tool is added by one line here, or by `register`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from engine.core.derivation import Derivation
from engine.ecosystems.python import chosen as chosen_python
from engine.ecosystems.python.target import Target
from engine.ecosystems.steps import dev
from engine.ecosystems.tools import builder as layers
from engine.errors import ResolveError, UsageError
from engine.lock.model import Lock
from engine.lock.packages import LockedPackage, ToolArchive
from engine.net.upstream import begins
from engine.sections import python
from engine.sections.section import Debs, Draft, Section, SectionError, Variables, by_fact
from engine.sections.session import Session
from engine.sections.tool import Log, Order, Placed, Tool
from engine.sections.toolchains import codex, conda, golang, nodejs, pixi, rust, uv
from engine.sections.toolchains import python as standalone
from grammar.environment import Environment, Request, Toolchain


def _checked(tools: Iterable[Tool]) -> dict[str, Tool]:
    found: dict[str, Tool] = {}
    for tool in tools:
        if tool.name in found:
            raise SectionError(f"two tools called '{tool.name}'")
        found[tool.name] = tool
    for tool in found.values():
        if tool.asker not in found:
            raise SectionError(f"tool '{tool.name}' is asked for by '{tool.asker}', which is none")
    return found


_tools = _checked(
    (
        golang.GO,
        nodejs.NODEJS,
        rust.RUST,
        pixi.PIXI,
        uv.UV,
        uv.UV_PYTHON,
        standalone.PYTHON,
        codex.CODEX,
        conda.CONDA,
    )
)


def register(tool: Tool) -> None:
    """Add a tool. Raises SectionError when there is one of that name."""
    global _tools
    _tools = _checked((*_tools.values(), tool))


def names() -> frozenset[str]:
    """What `install.NAME` may ask of this section."""
    return frozenset(tool.asker for tool in _tools.values())


# -- what joins the section "apt" -------------------------------------------------------------


def apt_packages(environment: Environment) -> list[str]:
    """The distribution's packages that the toolchains are, or need."""
    found: list[str] = []
    for _, tool in sorted(_tools.items()):
        if tool.is_distributed(environment) and tool.distributed is not None:
            found += tool.distributed.packages
        elif tool.wanted(environment) is not None and tool.release is not None:
            found += tool.release.needs
    return found + chosen_python.apt_packages(environment)


def check_distributed(environment: Environment, packages: Sequence[LockedPackage]) -> None:
    """Raise ResolveError when the archive carries another version of a tool than was asked for."""
    for tool in _tools.values():
        asked = tool.asked(environment)
        if (
            asked is None
            or not asked.version
            or tool.distributed is None
            or not tool.is_distributed(environment)
        ):
            continue
        series = ".".join(asked.version.split(".")[:2])
        package = tool.distributed.versioned.format(series=series)
        for found in packages:
            version = found.version.rpartition(":")[2]
            upstream = version.rpartition("-")[0].partition("+")[0].partition("~")[0] or version
            if found.name == package and not begins(upstream, asked.version):
                raise ResolveError(
                    f"{environment.base.os} now carries {tool.name} {upstream}, not {asked.version}",
                    position=asked.position,
                    advice=f'write "{series}" for what it carries',
                )


# -- what comes from upstream -----------------------------------------------------------------


def _wanted(environment: Environment) -> dict[str, tuple[Tool, str]]:
    """The tools that come from upstream, with their versions, by the request string."""
    found = {}
    for tool in _tools.values():
        version = tool.wanted(environment)
        if version is not None:
            found[f"{tool.name}={version}"] = tool, version
    return dict(sorted(found.items()))


def requests(environment: Environment) -> tuple[str, ...]:
    """The request strings of the section: what comes from upstream."""
    return tuple(_wanted(environment))


def resolve(
    environment: Environment, kept: Sequence[ToolArchive], target: Target, cache: Path, log: Log
) -> list[ToolArchive]:
    """Every tool of the section, pinned; `kept` is what an earlier lock has: what was asked for in
    the same words stays. `cache` lies in the store. Raises ResolveError."""
    found: list[ToolArchive] = []
    for request, (tool, version) in _wanted(environment).items():
        rows = [p for p in kept if p.request == request]
        if not rows and tool.release is not None:
            asked = tool.asked(environment) or Toolchain(
                tool.name, version, position=environment.base.position
            )
            if tool.release.is_of_glibc and not target.glibc:
                raise ResolveError(
                    f"{tool.name} is built for glibc, and the base has another C library",
                    position=asked.position,
                    advice="use an image of Debian or Ubuntu",
                )
            log(f"looking up {tool.name} {version}".rstrip())
            order = Order(version, asked, environment, target, cache, log)
            rows = [replace(p, request=request) for p in tool.release.resolve(order)]
        found += rows
    return found


def _resolve(session: Session, lock: Lock) -> Sequence[LockedPackage]:
    return resolve(
        session.environment, lock.rows("tools", ToolArchive), session.target(lock), session.cache, session.log
    )


# -- in an image ------------------------------------------------------------------------------


def _name(package: ToolArchive) -> str:
    return package.toolchain or package.name


def _placed(lock: Lock) -> list[Placed]:
    """Every tool of a lock, sorted by name. Raises UsageError for one that there is not."""
    rows = sorted(lock.rows("tools", ToolArchive), key=lambda p: (_name(p), p.name))
    found = []
    for name, group in groupby(rows, _name):
        tool = _tools.get(name)
        if tool is None or tool.release is None:
            raise UsageError(
                f"envd.lock: [[tools]] {name}: this envd has no such tool: the lock may be of a newer envd",
                advice="update envd, or run `envd lock`",
            )
        found.append(tool.release.layout(list(group)))
    return found


def derivations(environment: Environment, lock: Lock) -> list[Derivation]:
    """The layers of all tools, then of the settings that the spec gives them.

    Each is a layer of its own that needs nothing below it.
    """
    layouts = [placed.layout for placed in _placed(lock)]
    for toolchain in environment.toolchains:
        tool = _tools.get(toolchain.name)
        settings = tool.settings(environment, toolchain) if tool is not None else None
        if settings is not None:
            layouts.append(settings)
    return [layers.derivation(layout) for layout in layouts]


def variables(environment: Environment, lock: Lock) -> Variables:
    """What the tools add to the image's variables, and to its PATH."""
    found: dict[str, str] = {}
    path: list[str] = []
    for placed in _placed(lock):
        found.update(placed.variables)
        path += placed.path
    # What a tool itself installs is found: below what is on PATH, and the user's own.
    local = f"{dev.HOME}/.local" if dev.wanted(environment) else "/usr/local"
    for toolchain in sorted(environment.toolchains, key=lambda t: t.name):
        if (tool := _tools.get(toolchain.name)) is not None:
            found.update(tool.installed(toolchain, local))
    return Variables(found, tuple(path))


def _layers(draft: Draft) -> Sequence[Derivation]:
    return derivations(draft.environment, draft.lock)


TOOLS = Section(
    name="tools",
    holds=(ToolArchive,),
    requests=requests,
    places=lambda environment: tuple(t.position for t in environment.toolchains),
    resolve=_resolve,
    unpinned=by_fact("tools", "request"),
    derivations=_layers,
    variables=variables,
    builders={layers.KIND: layers.build},
    after=("apt",),  # which Python there is
    debs=Debs(lambda environment: tuple(map(Request, apt_packages(environment)))),
    located=python.located,
)
