"""rattler's solver, run in a process of its own by `engine.ecosystems.conda.asking`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from rattler import BuildString, Channel, Gateway, GenericVirtualPackage, MatchSpec, PackageName, Version
from rattler import solve as rattler_solve
from rattler.networking import Client, RetryMiddleware

from engine.ecosystems.conda.question import Question, Record, Solution

PLATFORMS: tuple[Literal["linux-64", "noarch"], ...] = ("linux-64", "noarch")


def solve(question: Question) -> Solution:
    """Answer a question, in this process."""

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


def main() -> None:
    """Read the question from the file that is named first, write the answer into the second."""
    row = json.loads(Path(sys.argv[1]).read_bytes())
    Path(sys.argv[2]).write_text(json.dumps(asdict(solve(Question(**row)))), "utf-8")
    # rattler's threads run on: one that wakes while the interpreter is taken down crashes the process
    os._exit(0)
