"""A Python of its own, beside the distribution's: a build of python-build-standalone."""

from __future__ import annotations

from collections.abc import Sequence

from engine.ecosystems.python import chosen as chosen_python
from engine.ecosystems.python import pythons
from engine.ecosystems.tools.builder import Layout, Unpack
from engine.lock.packages import ToolArchive
from engine.sections.pythons import standalone
from engine.sections.tool import Order, Placed, Release, Tool, title
from grammar.environment import Environment


def _version(environment: Environment) -> str | None:
    python = chosen_python.python_of(environment)
    return python.version if python is not None and python.source == "standalone" else None


def _resolve(order: Order) -> Sequence[ToolArchive]:
    return pythons.resolve("python", order.version, order.toolchain.position)


def _layout(rows: Sequence[ToolArchive]) -> Placed:
    place = standalone(rows[0].version).prefix
    # pip is a wheel like others here: what the archive brings would lie mixed with it
    archive = Unpack(
        rows[0].file,
        place,
        1,
        without=("*/lib/python3*/site-packages/*", "*/bin/pip", "*/bin/pip3", "*/bin/pip3.*"),
    )
    layout = Layout(title("python", rows), (archive,), moved=place)
    return Placed(layout, (f"{place}/bin",))


PYTHON = Tool(
    name="python",
    release=Release(resolve=_resolve, layout=_layout, is_of_glibc=True),
    distributed=None,  # the distribution's is the section "apt"'s: see engine.ecosystems.python.chosen
    versioned=_version,
)
