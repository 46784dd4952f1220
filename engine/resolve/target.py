"""What Python packages are for: the target's Python and libc, never this machine's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.tags import Tag


_NEWEST = 40  # `uv pip compile --python-platform` ends with manylinux_2_40


@dataclass(frozen=True)
class Target:
    """What wheels are for: `python` "3.11", `glibc` "2.36", on x86_64 Linux.

    `full` is the interpreter's whole version ("3.11.2"), which some markers compare; "" when only
    `python` is known.
    """

    python: str
    glibc: str
    full: str = ""

    def __str__(self) -> str:
        return f"Python {self.full or self.python} on x86_64 Linux with glibc {self.glibc}"

    @property
    def platform(self) -> str:
        """uv's name of the platform: of the newest glibc that it knows and the target has."""
        major, minor = (int(part) for part in self.glibc.split("."))
        return f"x86_64-manylinux_{major}_{min(minor, _NEWEST)}"

    @property
    def markers(self) -> dict[str, str]:
        """The variables of environment markers (PEP 508)."""
        full = self.full or f"{self.python}.0"
        return {
            "implementation_name": "cpython", "implementation_version": full, "os_name": "posix",
            "platform_machine": "x86_64", "platform_python_implementation": "CPython",
            "platform_release": "", "platform_system": "Linux", "platform_version": "",
            "python_full_version": full, "python_version": self.python, "sys_platform": "linux",
        }


@cache
def tags(target: Target) -> Sequence[Tag]:
    """Every tag that the target takes, the best first (PEP 425, PEP 600)."""
    from packaging import tags as of

    major, minor = (int(part) for part in target.python.split("."))
    _, glibc = (int(part) for part in target.glibc.split("."))
    legacy = {17: "manylinux2014_x86_64", 12: "manylinux2010_x86_64", 5: "manylinux1_x86_64"}
    platforms = []
    for level in range(glibc, 4, -1):
        platforms.append(f"manylinux_2_{level}_x86_64")
        if level in legacy:
            platforms.append(legacy[level])
    platforms.append("linux_x86_64")
    return (
        *of.cpython_tags((major, minor), abis=[f"cp{major}{minor}"], platforms=platforms),
        *of.compatible_tags((major, minor), f"cp{major}{minor}", platforms),
    )
