"""rattler's solver, in a process of its own.

What channels answer is read by rattler, which takes all that comes: a process can be held to an amount
of memory, and be killed, whatever it is doing.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

PLATFORMS: tuple[Literal["linux-64", "noarch"], ...] = ("linux-64", "noarch")


@dataclass(frozen=True)
class Question:
    """`specs` are MatchSpecs, each with whether it is in the strict form; `virtual` are the virtual
    packages: name, version, build."""

    specs: Sequence[tuple[str, bool]]
    channels: Sequence[str]
    virtual: Sequence[tuple[str, str, str]]
    cache: str


@dataclass(frozen=True)
class Record:
    """One package of a solution. `sha256` is "" when its channel gives none."""

    name: str
    version: str
    build: str
    subdir: str
    file_name: str
    url: str
    sha256: str
    size: int
    depends: Sequence[str]


@dataclass(frozen=True)
class Solution:
    """`records`, or why there are none: the solver's words, and the names that the channels have."""

    records: Sequence[Record] = ()
    reason: str = ""
    known: Sequence[str] = field(default=())


def solve(question: Question) -> Solution:
    """Answer a question, in this process."""
    from rattler import BuildString, Channel, Gateway, GenericVirtualPackage, MatchSpec, PackageName, Version
    from rattler import solve as rattler_solve
    from rattler.networking import Client, RetryMiddleware

    sources = [Channel(url) for url in question.channels]
    gateway = Gateway(cache_dir=Path(question.cache), client=Client([RetryMiddleware(3)]))
    try:
        records = asyncio.run(
            rattler_solve(
                sources=sources,
                specs=[MatchSpec(s, strict=True) if strict else MatchSpec(s) for s, strict in question.specs],
                platforms=PLATFORMS,
                virtual_packages=[
                    GenericVirtualPackage(PackageName(name), Version(version), BuildString(build))
                    for name, version, build in question.virtual
                ],
                gateway=gateway,
            )
        )
    except Exception as error:  # rattler's exceptions have no common base
        return Solution(reason=str(error) or type(error).__name__, known=_names(gateway, sources))
    return Solution(
        [
            Record(
                r.name.normalized,
                str(r.version),
                str(r.build),
                str(r.subdir),
                r.file_name,
                str(r.url),
                "" if r.sha256 is None else r.sha256.hex(),
                r.size or 0,
                [str(d) for d in r.depends],
            )
            for r in records
        ]
    )


def _names(gateway: Any, sources: Sequence[Any]) -> list[str]:
    try:
        found = asyncio.run(gateway.names(sources, PLATFORMS))
        return sorted(name.normalized for name in getattr(found, "names", found))
    except Exception:
        return []


def ask(question: Question) -> Solution:
    """Have a process of its own answer. Raises MemoryHeldError when it takes too much memory."""
    from engine.core import command, own
    from engine.net import held
    from engine.net.machine import reaching

    Path(question.cache).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="envd-solver-") as name:
        asked, answer = Path(name, "question"), Path(name, "answer")
        asked.write_text(json.dumps(asdict(question)), "utf-8")
        held.ask(
            own.command(__name__, str(asked), str(answer)),
            environment={**os.environ, **reaching(os.environ), "PATH": command.HOST_ENVIRONMENT["PATH"]},
        )
        if not answer.exists():
            return Solution(reason="the solver ended without an answer")
        found: dict[str, Any] = json.loads(answer.read_bytes())
    records = [Record(**row) for row in found["records"]]
    return Solution(records, found["reason"], found["known"])


def main() -> None:
    """Read the question from the file that is named first, write the answer into the second."""
    row = json.loads(Path(sys.argv[1]).read_bytes())
    Path(sys.argv[2]).write_text(json.dumps(asdict(solve(Question(**row)))), "utf-8")
    # rattler's threads run on: one that wakes while the interpreter is taken down crashes the process
    os._exit(0)
