"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a text as UTF-8 to `path`, all of it or nothing: see `write`. Raises OSError."""
    write(path, text.encode("utf-8"), mode)


def write(path: Path, data: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Write a file beside `path`, sync it, and move it into place, so that whoever reads `path` sees the
    old content or the new one. Raises OSError.

    `mode` holds permission bits; `owner` is a uid and a gid [the process's].
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        if owner is not None:
            os.chown(temporary, *owner)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
