"""Tools of the host (tar, Python) at work on foreign files: in the sandbox, where they see nothing else.

What runs there is the machine's own program, for the layers of an environment may not have it yet. Its
root directory holds the machine's /usr, read-only, and what the caller binds: no /etc, no home, no
network. A link in foreign files that leads out of them leads to nothing that can be written.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from engine import sandbox
from engine.sandbox import Bind

__all__ = ["Bind", "python", "run"]

_PROGRAMS = Path("/usr")
_BESIDE = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")  # links into /usr, or directories


def run(
    argv: Sequence[str], *, binds: Sequence[Bind], scratch: Path, log: Callable[[str], None], name: str,
    environment: Mapping[str, str] = {}, cwd: str = "/",
) -> None:
    """Run `argv`, a program of the host's /usr or of `binds`. Its root is made in `scratch`, which is
    ours and goes away afterwards. Raises BuildError with the log's end."""
    root = scratch / "upper"
    root.mkdir(parents=True)
    shown = [*_programs(root), *binds]
    try:
        sandbox.run(
            argv, layers=(), scratch=scratch, binds=shown, environment=environment, cwd=cwd, log=log,
            name=name,
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def python() -> tuple[str, list[Bind]]:
    """The Python that runs us, without its packages: its path, and what it needs beside /usr."""
    prefix = Path(sys.base_prefix).resolve()
    beside = [] if prefix.is_relative_to(_PROGRAMS) else [Bind(prefix, str(prefix))]
    return str(Path(sys.executable).resolve()), beside


def _programs(root: Path) -> list[Bind]:
    """The host's programs and their libraries, laid out below `root` as they are on the host."""
    found = [Bind(_PROGRAMS, str(_PROGRAMS))]
    for name in _BESIDE:
        path = Path("/") / name
        if path.is_symlink():
            (root / name).symlink_to(path.readlink())
        elif path.is_dir():
            found.append(Bind(path, str(path)))
    return found
