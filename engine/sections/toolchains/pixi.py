"""pixi."""

from __future__ import annotations

import json
from collections.abc import Sequence

from engine.ecosystems.tools import pixi
from engine.ecosystems.tools.builder import Layout, Unpack
from engine.lock.packages import ToolArchive
from engine.sections.tool import Placed, Release, Tool, title
from grammar.environment import Environment, Toolchain

_MIRROR = """\
[mirrors]
"https://conda.anaconda.org" = ["https://prefix.dev"]
# Labels of channels are not mirrored; the longest prefix that fits is what counts.
"https://conda.anaconda.org/conda-forge/label" = ["https://conda.anaconda.org/conda-forge/label"]
"""


def _layout(rows: Sequence[ToolArchive]) -> Placed:
    archive = Unpack(rows[0].file, "/usr/local/bin", only="*pixi", executable=True)
    return Placed(Layout(title("pixi", rows), (archive,)))


def _settings(_: Environment, toolchain: Toolchain) -> Layout | None:
    options = dict(toolchain.options)
    if not options:
        return None
    text = _MIRROR if "use_pixi_mirror" in options else ""
    if index := options.get("pypi_index"):
        # A TOML basic string is a JSON one (both escape alike what an URL may hold).
        text += f"[pypi-config]\nindex-url = {json.dumps(index)}\n"
    return Layout("pixi-settings", files={"/etc/pixi/config.toml": text})


PIXI = Tool(
    name="pixi",
    release=Release(resolve=lambda order: pixi.resolve(order.toolchain), layout=_layout, is_of_glibc=False),
    distributed=None,
    settings=_settings,
)
