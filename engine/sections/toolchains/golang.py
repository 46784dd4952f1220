"""Go."""

from __future__ import annotations

from engine.ecosystems.tools import golang
from engine.sections.tool import Distributed, Release, Tool, one_archive

GO = Tool(
    name="go",
    release=Release(
        resolve=lambda order: golang.resolve(order.toolchain),
        layout=one_archive("go", "/usr/local/go"),
        is_of_glibc=False,
    ),
    distributed=Distributed(
        ("golang-go",),
        "golang-{series}-go",
        {
            "debian11": "1.15.15",
            "debian12": "1.19.8",
            "debian13": "1.24.4",
            "ubuntu20.04": "1.13.8",
            "ubuntu22.04": "1.18.1",
            "ubuntu24.04": "1.22.2",
        },
    ),
    installed=lambda _, local: {"GOBIN": f"{local}/bin"},
)
