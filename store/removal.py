"""Removing trees that builders made, whatever modes they left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _make_writable(remove: Callable[..., Any], path: str, _: object) -> None:
    parent = os.path.dirname(path)  # noqa: PTH120
    os.chmod(parent, 0o700)  # noqa: PTH101
    if not os.path.islink(path) and os.path.isdir(path):  # noqa: PTH112, PTH114
        os.chmod(path, 0o700)  # noqa: PTH101
    remove(path)


def remove_tree(path: Path) -> None:
    """Remove a directory and all below it; missing is fine. Raises OSError."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    elif path.exists():
        shutil.rmtree(path, onerror=_make_writable)
