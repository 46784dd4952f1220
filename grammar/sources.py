"""The texts of evaluated files that no path leads to (those of other repositories), by the name that
positions have for them: errors that come later, of resolving or building, show the line, too.

The standard library's `linecache` keeps sources for tracebacks in the same way.
"""

from __future__ import annotations

from pathlib import Path

_kept: dict[str, str] = {}


def keep(file: str, text: str) -> None:
    """Remember the text of a file, instead of an earlier one of that name."""
    _kept[file] = text


def text_of(file: str) -> str:
    """The text of a file: kept, or read from where it lies; "" where it cannot be had."""
    if file in _kept:
        return _kept[file]
    try:
        return Path(file).read_text("utf-8-sig")
    except (OSError, ValueError):
        return ""
