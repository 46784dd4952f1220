"""Where each toolchain lies in an image, and what PATH and variables it wants.

Each is a layer of its own that needs nothing below it; settings that the spec gives are one more,
so that changing them leaves the tool's layer as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from engine.build import conda, dev, tool
from engine.build.interpreter import Interpreter
from engine.build.tool import Layout, Unpack
from engine.derivation import Derivation
from engine.lock import Lock, LockedPackage
from engine.resolve import tools
from engine.resolve.conda import DEFAULT_CHANNEL
from grammar.environment import Environment

_PYTHONS = "/opt/uv/python"  # the Pythons that uv manages


@dataclass(frozen=True)
class Placed:
    """A tool in an image: its `layout`, directories for PATH, and variables."""

    layout: Layout
    path: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)


def _go(rows: Sequence[LockedPackage]) -> Placed:
    place = "/usr/local/go"
    return Placed(Layout(_name("go", rows), (Unpack(rows[0].file, place, 1),)), (f"{place}/bin",))


def _nodejs(rows: Sequence[LockedPackage]) -> Placed:
    place = "/opt/nodejs"
    layout = Layout(_name("nodejs", rows), (Unpack(rows[0].file, place, 1),))
    return Placed(layout, (f"{place}/bin",))


def _rust(rows: Sequence[LockedPackage]) -> Placed:
    # NAME-VERSION-TARGET/COMPONENT/… (rust-installer): the components make one prefix together
    place = "/opt/rust"
    archives = tuple(
        Unpack(r.file, place, 2, only="*/*/*", without=("*/*/manifest.in",)) for r in rows
    )
    return Placed(Layout(_name("rust", rows), archives), (f"{place}/bin",))


def _pixi(rows: Sequence[LockedPackage]) -> Placed:
    archive = Unpack(rows[0].file, "/usr/local/bin", only="*pixi", executable=True)
    return Placed(Layout(_name("pixi", rows), (archive,)))


def _uv(rows: Sequence[LockedPackage]) -> Placed:
    archive = Unpack(
        rows[0].file, "/usr/local/bin", 2, only="*.data/scripts/*", executable=True
    )
    # Wheels' files are hard links in uv's cache, which is on another file system in a container.
    return Placed(Layout(_name("uv", rows), (archive,)), variables={"UV_LINK_MODE": "copy"})


def _uv_python(rows: Sequence[LockedPackage]) -> Placed:
    place = f"{_PYTHONS}/{rows[0].extra['key']}"
    layout = Layout(_name("uv-python", rows), (Unpack(rows[0].file, place, 1),), moved=place)
    return Placed(layout, variables={"UV_PYTHON_INSTALL_DIR": _PYTHONS})


def _python(rows: Sequence[LockedPackage]) -> Placed:
    place = standalone(rows[0].version).prefix
    # pip is a wheel like others here: what the archive brings would lie mixed with it
    archive = Unpack(
        rows[0].file, place, 1,
        without=("*/lib/python3*/site-packages/*", "*/bin/pip", "*/bin/pip3", "*/bin/pip3.*"),
    )
    layout = Layout(_name("python", rows), (archive,), moved=place)
    return Placed(layout, (f"{place}/bin",))


def _codex(rows: Sequence[LockedPackage]) -> Placed:
    place = "/opt/codex"
    program = rows[0].extra["program"]
    strip = 3 if program.startswith("vendor/") else 1
    top = "/".join(["package", *program.split("/")[: strip - 1]])
    archive = Unpack(rows[0].file, place, strip, only=f"{top}/*" if strip == 3 else f"package/{program}")
    run = f"{place}/{'/'.join(program.split('/')[strip - 1:])}"
    # As its npm launcher does: the tools that come with it are found.
    launcher = (
        f'#!/bin/sh\nPATH="{place}/path:{place}/codex-path:$PATH" exec {run} "$@"\n'
    )
    return Placed(Layout(_name("codex", rows), (archive,), files={"/usr/local/bin/codex": launcher}))


_PLACES: dict[str, Callable[[Sequence[LockedPackage]], Placed]] = {
    "codex": _codex, "go": _go, "nodejs": _nodejs, "pixi": _pixi, "python": _python, "rust": _rust,
    "uv": _uv, "uv-python": _uv_python,
}


def _name(name: str, rows: Sequence[LockedPackage]) -> str:
    return f"{name}-{rows[0].version}"


def _toolchain(package: LockedPackage) -> str:
    return package.extra.get("toolchain", package.name)


def placed(lock: Lock) -> list[Placed]:
    """Every toolchain of a lock, sorted by name."""
    rows = sorted(lock["tools"], key=lambda p: (_toolchain(p), p.name))
    return [_PLACES[name](list(group)) for name, group in groupby(rows, _toolchain)]


# -- Python -----------------------------------------------------------------------------------


def standalone(version: str) -> Interpreter:
    """A Python of its own, below /opt/python. `version` may be longer than "X.Y"."""
    series = ".".join(version.split(".")[:2])
    return Interpreter(series, f"/opt/python/{series}")


def interpreter(environment: Environment, lock: Lock) -> Interpreter:
    """The Python that a lock's wheels are for."""
    python = tools.python_of(environment)
    if python is None or python.source == "distribution":
        return Interpreter(lock.python, lock.base.facts.get("prefix", ""))
    if python.source == "conda":
        return Interpreter(python.series, conda.PREFIX)
    return standalone(python.version)


# -- settings ---------------------------------------------------------------------------------

_MIRROR = """\
[mirrors]
"https://conda.anaconda.org" = ["https://prefix.dev"]
# Labels of channels are not mirrored; the longest prefix that fits is what counts.
"https://conda.anaconda.org/conda-forge/label" = ["https://conda.anaconda.org/conda-forge/label"]
"""


def _settings(environment: Environment) -> list[Layout]:
    """Settings that the spec gives to tools."""
    found = []
    for toolchain in environment.toolchains:
        options = dict(toolchain.options)
        if toolchain.name == "pixi" and options:
            text = _MIRROR if "use_pixi_mirror" in options else ""
            if index := options.get("pypi_index"):
                # A TOML basic string is a JSON one (both escape alike what an URL may hold).
                text += f"[pypi-config]\nindex-url = {json.dumps(index)}\n"
            found.append(Layout("pixi-settings", files={"/etc/pixi/config.toml": text}))
        if toolchain.name == "conda":
            found.append(_conda_settings(environment, mamba="use_mamba" in options))
    return found


def _conda_settings(environment: Environment, *, mamba: bool) -> Layout:
    channels = environment.conda_channels or (DEFAULT_CHANNEL,)
    rows = "".join(f"  - {json.dumps(c)}\n" for c in channels)
    # read by conda and by mamba alike
    files = {f"{conda.PREFIX}/.condarc": f"channels:\n{rows}"}
    links = {"/usr/local/bin/conda": f"{conda.PREFIX}/bin/micromamba"} if mamba else {}
    return Layout("conda-settings", links=links, files=files)


# -- what a plan takes ------------------------------------------------------------------------


def derivations(environment: Environment, lock: Lock) -> list[Derivation]:
    """The layers of all toolchains."""
    layouts = [p.layout for p in placed(lock)] + _settings(environment)
    return [tool.derivation(layout) for layout in layouts]


def holding(python: Interpreter, layers: Sequence[Derivation]) -> list[Derivation]:
    """Those of `layers` that hold a Python which is not the base's: sdists are built with it."""
    if python.prefix == conda.PREFIX:
        return [layer for layer in layers if layer.kind == conda.KIND]
    name = f"python-{python.python}."
    return [x for x in layers if python.prefix and x.kind == tool.KIND and x.name.startswith(name)]


# Where `cargo install`, `go install` and `npm install -g` put programs.
_INSTALLED = {
    "rust": (("CARGO_INSTALL_ROOT", "{local}"),),
    "go": (("GOBIN", "{local}/bin"),),
    "nodejs": (("NPM_CONFIG_PREFIX", "{local}"),),
}


def variables(environment: Environment, lock: Lock) -> tuple[dict[str, str], list[str]]:
    """What toolchains add to the image's variables, and to its PATH."""
    found: dict[str, str] = {}
    path: list[str] = []
    for one in placed(lock):
        found.update(one.variables)
        path += one.path
    # What a tool itself installs is found: below what is on PATH, and the user's own.
    local = f"{dev.HOME}/.local" if dev.wanted(environment) else "/usr/local"
    for name in sorted(t.name for t in environment.toolchains):
        found.update((k, v.format(local=local)) for k, v in _INSTALLED.get(name, ()))
    if any(t.name == "conda" and ("use_mamba", "true") in t.options for t in environment.toolchains):
        found["MAMBA_ROOT_PREFIX"] = conda.PREFIX
    return found, path
