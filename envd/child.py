"""One command in a process of its own, and its answer: a JSON object through a pipe.

The process runs `envd.worker`. It ends, and cleans up, when this one ends: its standard input is a
pipe that nobody writes to.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from envd.errors import KINDS, Error, Problem


def answer(question: Mapping[str, Any]) -> dict[str, Any]:
    """What `envd.worker` says to a question. Raises Error, or one of its kinds."""
    reader, writer = os.pipe()
    try:
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                str(Path(__file__).with_name("paths.py")),
                "envd.worker",
                str(writer),
                json.dumps(question),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=None if _is_our_own(sys.stderr) else subprocess.PIPE,
            pass_fds=[writer],
            start_new_session=True,  # else it would get the terminal's Ctrl-C as well as ours
        )
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    with process, os.fdopen(reader, "rb") as pipe:
        try:
            copier = _copied(process.stderr) if process.stderr else None
            text = pipe.read()
            status = process.wait()
            if copier is not None:
                copier.join()
        except BaseException:  # KeyboardInterrupt, above all
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
    if not text:
        raise Error(f"envd ended with status {status}, without an answer")
    found: dict[str, Any] = json.loads(text)
    if (error := found.get("error")) is not None:
        raise KINDS[error["kind"]](
            error["text"],
            exit_code=error["exit_code"],
            log=error["log"],
            problems=[Problem(*row) for row in error["problems"]],
        )
    return found


def _is_our_own(stream: Any) -> bool:
    """Whether what is written to file descriptor 2 comes out where `stream` does: not in a notebook."""
    try:
        return bool(stream.fileno() == 2)
    except (AttributeError, OSError, ValueError):
        return False


def _copied(source: IO[bytes]) -> threading.Thread:
    def copy() -> None:
        for line in source:
            print(line.decode("utf-8", "replace"), end="", file=sys.stderr)

    thread = threading.Thread(target=copy, name="envd's progress")
    thread.start()
    return thread
