"""Codex, OpenAI's command line."""

from __future__ import annotations

from collections.abc import Sequence

from engine.ecosystems.tools import codex
from engine.ecosystems.tools.builder import Layout, Unpack
from engine.lock.packages import ToolArchive
from engine.sections.tool import Placed, Release, Tool, title


def _layout(rows: Sequence[ToolArchive]) -> Placed:
    place = "/opt/codex"
    program = rows[0].program or ""
    strip = 3 if program.startswith("vendor/") else 1
    top = "/".join(["package", *program.split("/")[: strip - 1]])
    archive = Unpack(rows[0].file, place, strip, only=f"{top}/*" if strip == 3 else f"package/{program}")
    run = f"{place}/{'/'.join(program.split('/')[strip - 1 :])}"
    # As its npm launcher does: the tools that come with it are found.
    launcher = f'#!/bin/sh\nPATH="{place}/path:{place}/codex-path:$PATH" exec {run} "$@"\n'
    return Placed(Layout(title("codex", rows), (archive,), files={"/usr/local/bin/codex": launcher}))


CODEX = Tool(
    name="codex",
    release=Release(
        resolve=lambda order: codex.resolve(order.toolchain, order.cache), layout=_layout, is_of_glibc=False
    ),
    distributed=None,
)
