"""Searching from the right in a time that is linear.

Python's own rfind, rsplit and rpartition compare at every place anew, so a long string that nearly
occurs everywhere takes len(text) * len(sought) steps; its searches from the left do not (the two-way
algorithm, Crochemore and Perrin 1991). So the reverse of a text is searched for the reverse.
"""

from __future__ import annotations

from typing import TypeVar

Text = TypeVar("Text", str, bytes)

_SMALL = 1 << 20  # comparisons that Python's own way may take


def _is_small(text: Text, sought: Text) -> bool:
    return len(text) * len(sought) <= _SMALL


def find(
    text: Text, sought: Text, start: int | None = None, end: int | None = None, *, must: bool = False
) -> int:
    """As rfind; with `must` as rindex, which raises ValueError when there is none."""
    if _is_small(text, sought):
        return text.rindex(sought, start, end) if must else text.rfind(sought, start, end)
    begin, stop, _ = slice(start, end).indices(len(text))
    inside = begin <= stop and (start is None or start <= len(text))  # "".rfind("", 1) is -1
    place = text[begin:stop][::-1].find(sought[::-1]) if inside else -1
    if place < 0:
        if must:
            raise ValueError("not found")
        return -1
    return stop - place - len(sought)


def split(text: Text, separator: Text, limit: int) -> list[Text]:
    """As rsplit with a separator."""
    if _is_small(text, separator):
        return text.rsplit(separator, limit)
    parts = text[::-1].split(separator[::-1], limit)
    return [part[::-1] for part in reversed(parts)]


def partition(text: Text, separator: Text) -> tuple[Text, Text, Text]:
    """As rpartition."""
    if _is_small(text, separator):
        return text.rpartition(separator)
    after, found, before = text[::-1].partition(separator[::-1])
    return before[::-1], found[::-1], after[::-1]
