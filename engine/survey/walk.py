"""The files of a project that were written by people."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Directories of dependencies, of products, of what tools write.
SKIPPED = frozenset(
    {
        "__pycache__",
        "build",
        "dist",
        "env",
        "node_modules",
        "renv",
        "site-packages",
        "target",
        "vendor",
        "venv",
        "wandb",
        "mlruns",
    }
)
_MOST = 5000  # files; more tell nothing new
_LARGEST = 4 << 20  # bytes


def files(root: Path) -> list[Path]:
    """Regular files below `root`, sorted, without hidden directories, dependencies and products."""
    found: list[Path] = []
    for path in _walk(root):
        found.append(path)
        if len(found) >= _MOST:
            break
    return sorted(found)


def _walk(root: Path) -> Iterator[Path]:
    for top, directories, names in os.walk(root):
        directories[:] = sorted(
            name
            for name in directories
            if not name.startswith(".")
            and name not in SKIPPED
            and not name.endswith(".egg-info")
            and not (Path(top) / name / "pyvenv.cfg").exists()
        )
        for name in sorted(names):
            path = Path(top) / name
            if not path.is_symlink() and path.is_file():
                yield path


def read(path: Path) -> str:
    """The text of a file; "" for one that is too large, unreadable or no text."""
    try:
        if path.stat().st_size > _LARGEST:
            return ""
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return ""
