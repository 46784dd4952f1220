"""Small files of the user's that decide who is trusted: read whole, with who may change or read them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from engine.errors import UsageError


def read(path: Path, limit: int, what: str) -> tuple[os.stat_result, bytes]:
    """The status and the content of a regular file of at most `limit` bytes, which `what` names in an
    error. Raises OSError when there is none that can be opened, UsageError for another file."""
    if "\0" in str(path):
        raise UsageError(f"{what} has a name with a NUL in it")
    # not waiting for the other end of a pipe
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{what} is not a regular file", subject=str(path))
        data = file.read(limit + 1)
    if len(data) > limit:
        raise UsageError(f"{what} is larger than {limit // 1024} KiB", subject=str(path))
    return status, data
