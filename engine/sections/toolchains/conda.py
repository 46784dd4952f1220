"""conda, or micromamba: their packages join the section "conda", their settings are here."""

from __future__ import annotations

import json
from collections.abc import Mapping

from engine.ecosystems.conda import builder as conda
from engine.ecosystems.conda.resolver import DEFAULT_CHANNEL
from engine.ecosystems.tools.builder import Layout
from engine.sections.tool import Tool
from grammar.environment import Environment, Toolchain


def _settings(environment: Environment, toolchain: Toolchain) -> Layout | None:
    channels = environment.conda_channels or (DEFAULT_CHANNEL,)
    rows = "".join(f"  - {json.dumps(c)}\n" for c in channels)
    # read by conda and by mamba alike
    files = {f"{conda.PREFIX}/.condarc": f"channels:\n{rows}"}
    mamba = "use_mamba" in dict(toolchain.options)
    links = {"/usr/local/bin/conda": f"{conda.PREFIX}/bin/micromamba"} if mamba else {}
    return Layout("conda-settings", links=links, files=files)


def _installed(toolchain: Toolchain, _: str) -> Mapping[str, str]:
    mamba = ("use_mamba", "true") in toolchain.options
    return {"MAMBA_ROOT_PREFIX": conda.PREFIX} if mamba else {}


CONDA = Tool(name="conda", release=None, distributed=None, settings=_settings, installed=_installed)
