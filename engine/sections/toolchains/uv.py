"""uv, and a Python that it manages."""

from __future__ import annotations

from collections.abc import Sequence

from engine.ecosystems.python import chosen as chosen_python
from engine.ecosystems.python import pythons
from engine.ecosystems.tools import uv as uv_release
from engine.ecosystems.tools.builder import Layout, Unpack
from engine.lock.packages import ToolArchive
from engine.sections.tool import Order, Placed, Release, Tool, title
from grammar.environment import Environment

_PYTHONS = "/opt/uv/python"


def _resolve(order: Order) -> Sequence[ToolArchive]:
    return uv_release.resolve(
        order.toolchain, order.target, order.environment.pip_index, order.cache, order.log
    )


def _layout(rows: Sequence[ToolArchive]) -> Placed:
    archive = Unpack(rows[0].file, "/usr/local/bin", 2, only="*.data/scripts/*", executable=True)
    # Wheels' files are hard links in uv's cache, which is on another file system in a container.
    return Placed(Layout(title("uv", rows), (archive,)), variables={"UV_LINK_MODE": "copy"})


UV = Tool(name="uv", release=Release(resolve=_resolve, layout=_layout, is_of_glibc=True), distributed=None)


def _managed(environment: Environment) -> str | None:
    version = chosen_python.of_uv(environment)
    return version if version and version != chosen_python.of_release(environment) else None


def _resolve_python(order: Order) -> Sequence[ToolArchive]:
    return pythons.resolve("uv-python", order.version, order.toolchain.position)


def _python_layout(rows: Sequence[ToolArchive]) -> Placed:
    place = f"{_PYTHONS}/{rows[0].key}"
    layout = Layout(title("uv-python", rows), (Unpack(rows[0].file, place, 1),), moved=place)
    return Placed(layout, variables={"UV_PYTHON_INSTALL_DIR": _PYTHONS})


UV_PYTHON = Tool(
    name="uv-python",
    release=Release(resolve=_resolve_python, layout=_python_layout, is_of_glibc=True),
    distributed=None,
    versioned=_managed,
    asker="uv",
)
