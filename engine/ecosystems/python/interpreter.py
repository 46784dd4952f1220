"""The target's Python: the distribution's own, or one below a prefix, and where its packages go.

Layout of the distribution's: Debian's for what is not Debian's own (/usr/local/lib/pythonX.Y/
dist-packages). Of the others: sysconfig's "posix_prefix" scheme.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Interpreter:
    """A Python "X.Y". `prefix` is where it lies ("/opt/python/3.12"), "" for the distribution's."""

    python: str
    prefix: str = ""

    @property
    def executable(self) -> str:
        """What runs it."""
        return f"{self.prefix}/bin/python{self.python}" if self.prefix else "/usr/bin/python3"

    @property
    def site(self) -> str:
        """Where packages go."""
        if self.prefix:
            return f"{self.prefix}/lib/python{self.python}/site-packages"
        return f"/usr/local/lib/python{self.python}/dist-packages"

    @property
    def scripts(self) -> str:
        """Where the commands of packages go."""
        return f"{self._local}/bin"

    def scheme(self, distribution: str) -> dict[str, str]:
        """Where each kind of a wheel's files goes (the keys of PEP 427's .data directory)."""
        return {
            "purelib": self.site,
            "platlib": self.site,
            "headers": f"{self._local}/include/python{self.python}/{distribution}",
            "scripts": self.scripts,
            "data": self._local,
        }

    @property
    def _local(self) -> str:
        return self.prefix or "/usr/local"

    @property
    def parameters(self) -> dict[str, str]:
        """What a derivation records of this Python: `of` reads it back."""
        return {"python": self.python} | ({"prefix": self.prefix} if self.prefix else {})


def of(parameters: Mapping[str, Any]) -> Interpreter:
    """The interpreter that a derivation's parameters name."""
    return Interpreter(str(parameters["python"]), str(parameters.get("prefix", "")))
