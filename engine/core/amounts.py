"""Sizes and times as people read them."""

from __future__ import annotations


def human_bytes(count: int) -> str:
    """A size for people, in decimal units: "999 B", "1.5 kB", "210 MB"."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    for unit in units:
        if value < 999.5 or unit == units[-1]:
            digits = 1 if unit != "B" and value < 99.95 else 0
            return f"{value:.{digits}f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def human_seconds(seconds: float) -> str:
    """A duration for people: "0.3 s", "34 s", "2 min 5 s"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"
