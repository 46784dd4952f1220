"""Rust and cargo."""

from __future__ import annotations

from collections.abc import Sequence

from engine.ecosystems.tools import rust
from engine.ecosystems.tools.builder import Layout, Unpack
from engine.lock.packages import ToolArchive
from engine.sections.tool import Distributed, Placed, Release, Tool, title


def _layout(rows: Sequence[ToolArchive]) -> Placed:
    # NAME-VERSION-TARGET/COMPONENT/… (rust-installer): the components make one prefix together
    place = "/opt/rust"
    archives = tuple(Unpack(r.file, place, 2, only="*/*/*", without=("*/*/manifest.in",)) for r in rows)
    return Placed(Layout(title("rust", rows), archives), (f"{place}/bin",))


RUST = Tool(
    name="rust",
    release=Release(
        resolve=lambda order: rust.resolve(order.toolchain),
        layout=_layout,
        is_of_glibc=True,
        needs=("gcc", "libc6-dev"),
    ),
    distributed=Distributed(
        ("rustc", "cargo"),
        "rustc",
        {
            "debian11": "1.48.0",
            "debian12": "1.63.0",
            "debian13": "1.85.1",
            "ubuntu20.04": "1.75.0",
            "ubuntu22.04": "1.75.0",
            "ubuntu24.04": "1.75.0",
        },
    ),
    installed=lambda _, local: {"CARGO_INSTALL_ROOT": local},
)
