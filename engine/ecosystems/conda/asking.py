"""Asking rattler's solver, `engine.ecosystems.conda.solver`, in a process of its own.

What channels answer is read by rattler, which takes all that comes: a process can be held to an amount
of memory, and be killed, whatever it is doing.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.core import command, own
from engine.ecosystems.conda.question import Question, Record, Solution
from engine.net import held
from engine.net.machine import reaching

_SOLVER = "engine.ecosystems.conda.solver"


def ask(question: Question) -> Solution:
    """Have a process of its own answer. Raises MemoryHeldError when it takes too much memory."""
    Path(question.cache).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="envd-solver-") as name:
        asked, answer = Path(name, "question"), Path(name, "answer")
        asked.write_text(json.dumps(asdict(question)), "utf-8")
        held.ask(
            own.command(_SOLVER, str(asked), str(answer)),
            environment={**os.environ, **reaching(os.environ), "PATH": command.HOST_ENVIRONMENT["PATH"]},
        )
        if not answer.exists():
            return Solution(reason="the solver ended without an answer")
        found: dict[str, Any] = json.loads(answer.read_bytes())
    records = [Record(**row) for row in found["records"]]
    return Solution(records, found["reason"], found["known"])
