"""Node.js and npm."""

from __future__ import annotations

from engine.ecosystems.tools import nodejs
from engine.sections.tool import Distributed, Release, Tool, one_archive

NODEJS = Tool(
    name="nodejs",
    release=Release(
        resolve=lambda order: nodejs.resolve(order.toolchain),
        layout=one_archive("nodejs", "/opt/nodejs"),
        is_of_glibc=True,
        needs=("libstdc++6",),
    ),
    distributed=Distributed(
        ("nodejs", "npm"),
        "nodejs",
        {
            "debian11": "12.22.12",
            "debian12": "18.20.4",
            "debian13": "20.19.2",
            "ubuntu20.04": "10.19.0",
            "ubuntu22.04": "12.22.9",
            "ubuntu24.04": "18.19.1",
        },
    ),
    installed=lambda _, local: {"NPM_CONFIG_PREFIX": local},
)
