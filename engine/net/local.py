"""Places that are on this machine alone."""

from __future__ import annotations


def is_local(place: str) -> bool:
    """Whether an index or a page of links is a directory or a file: of use here alone."""
    return bool(place) and not place.startswith(("http://", "https://"))
