"""Programs that read what servers answer by themselves (uv, rattler), held to an amount of memory."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.core import command
from engine.errors import ResolveError
from store import limits

TIMES = 16  # of the limit of one answer: what they make of it takes more room than the answer
# What their allocators, and Python's, say.
_WORDS = re.compile(r"memory allocation of \d+ bytes failed|^MemoryError|out of memory", re.MULTILINE)


class MemoryHeldError(ResolveError):
    """What servers answer takes more memory than such a program may have. Says how to raise it."""


def ask(
    argv: Sequence[str], *, environment: Mapping[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """`command.ask_text` of a program that may have TIMES the limit of one answer in memory.

    Raises MemoryHeldError when that was too little, and what `command.ask` raises.
    """
    limit = limits.current().answer
    held = command.with_rlimits({"data": TIMES * limit})  # what is private and can be written
    done = command.ask_text([*held, *argv], environment=environment, cwd=cwd)
    if done.returncode != 0 and _WORDS.search(done.stderr):
        raise MemoryHeldError(
            f"what servers answer takes more than {limits.shown_size(TIMES * limit)} of memory to read",
            advice=limits.advice("answer", limit),
        )
    return done
