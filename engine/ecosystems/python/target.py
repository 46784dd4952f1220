"""What Python packages are for: the target's Python and libc, never this machine's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from packaging import tags as of

if TYPE_CHECKING:
    from packaging.tags import Tag


_NEWEST = 40  # `uv pip compile --python-platform` ends with manylinux_2_40


@dataclass(frozen=True)
class Target:
    """What wheels are for: `python` "3.11", `glibc` "2.36", on x86_64 Linux.

    `full` is the interpreter's whole version ("3.11.2"), which some markers compare; "" when only
    `python` is known. With `musl` ("1.2") in place of `glibc` it is a system such as Alpine.
    """

    python: str
    glibc: str
    full: str = ""
    musl: str = ""

    def __str__(self) -> str:
        library = f"musl {self.musl}" if self.musl else f"glibc {self.glibc}"
        return f"Python {self.full or self.python} on x86_64 Linux with {library}"

    @property
    def platform(self) -> str:
        """uv's name of the platform: of the newest glibc that it knows and the target has."""
        if self.musl:
            return "x86_64-unknown-linux-musl"
        major, minor = (int(part) for part in self.glibc.split("."))
        return f"x86_64-manylinux_{major}_{min(minor, _NEWEST)}"

    @property
    def markers(self) -> dict[str, str]:
        """The variables of environment markers (PEP 508)."""
        full = self.full or f"{self.python}.0"
        return {
            "implementation_name": "cpython",
            "implementation_version": full,
            "os_name": "posix",
            "platform_machine": "x86_64",
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": full,
            "python_version": self.python,
            "sys_platform": "linux",
        }


@cache
def tags(target: Target) -> Sequence[Tag]:
    """Every tag that the target takes, the best first (PEP 425, PEP 600, PEP 656)."""
    major, minor = (int(part) for part in target.python.split("."))
    if target.musl:
        newest = int(target.musl.split(".")[1])
        platforms = [f"musllinux_1_{level}_x86_64" for level in range(newest, 0, -1)]
    else:
        platforms = _manylinux(int(target.glibc.split(".")[1]))
    platforms.append("linux_x86_64")
    return (
        *of.cpython_tags((major, minor), abis=[f"cp{major}{minor}"], platforms=platforms),
        *of.compatible_tags((major, minor), f"cp{major}{minor}", platforms),
    )


def _manylinux(glibc: int) -> list[str]:
    """The platforms of glibc 2.N and older ones, newest first."""
    legacy = {17: "manylinux2014_x86_64", 12: "manylinux2010_x86_64", 5: "manylinux1_x86_64"}
    platforms = []
    for level in range(glibc, 4, -1):
        platforms.append(f"manylinux_2_{level}_x86_64")
        if level in legacy:
            platforms.append(legacy[level])
    return platforms
