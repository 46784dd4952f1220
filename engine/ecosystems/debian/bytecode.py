"""Python's compiled files, made so that they are the same each time.

Maintainer scripts of Debian's Python compile its library with `-E`, which sets PYTHONHASHSEED
aside. Before Python 3.11 two things of a .pyc depend on that: the order of a frozenset's members
(bpo-37596) and which objects are marked for references (bpo-34093).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.realise import confined, sandbox
from engine.realise.context import BuildContext

_COMPILED = re.compile(r"(.+/)?__pycache__/([^/]+)\.cpython-3(\d|10)\.pyc")
_LIST = "/run/envd-compiled"  # where the sandbox sees the names of the sources
# -S as the maintainer scripts have it; without site, nothing else is imported first.
_COMPILE = """
for list in "$@"; do
    python=$(command -v "python${list##*/}") || continue
    "$python" -S -B -c '
import os, py_compile, sys
with open(sys.argv[1], encoding="utf-8", errors="surrogateescape") as names:
    for name in names.read().split("\\0"):
        if os.path.isfile(name):
            py_compile.compile(name)
' "$list" || exit
done
"""


def compile_again(context: BuildContext, upper: Path, layers: Sequence[Path]) -> None:
    """Compile again what `upper` holds of Pythons before 3.11, where these are in `layers` or in
    `upper` itself. Raises BuildError with Python's words."""
    found = _sources(upper)
    if not found:
        return
    lists = context.scratch / "compiled"
    lists.mkdir()
    for version, names in found.items():
        (lists / version).write_bytes(b"\0".join(sorted(names)))
    sandbox.run(
        ["sh", "-c", _COMPILE, "sh", *(f"{_LIST}/{version}" for version in sorted(found))],
        layers=layers,
        scratch=context.scratch,
        binds=(sandbox.Bind(lists, _LIST),),
        log=context.log,
        name=context.name,
    )


def _sources(upper: Path) -> Mapping[str, list[bytes]]:
    """By version of Python ("3.9"): the sources of the compiled files, as seen in the image."""
    found = defaultdict(list)
    for path in confined.files(upper):
        if match := _COMPILED.fullmatch(path):
            directory, name, minor = match.groups()
            found[f"3.{minor}"].append(f"/{directory or ''}{name}.py".encode(errors="surrogateescape"))
    return found
