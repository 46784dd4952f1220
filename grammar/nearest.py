"""What was probably meant by a name that nobody knows."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

# What other languages call what this one has.
_FOREIGN = {"true": "True", "false": "False", "null": "None", "nil": "None", "none": "None"}


def suggest(name: str, known: Iterable[str]) -> str:
    """ "; did you mean 'x'?" when something known is close to `name`, else ""."""
    close = nearest(name, known)
    return f"; did you mean '{close}'?" if close else ""


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The one of `known` that was probably meant by `name`, "" when none is close. `cutoff`, from 0 to
    1, says how alike they have to be: more where there are many names."""
    choices = sorted(set(known)) if len(name) <= 100 else []
    folded = {choice.lower(): choice for choice in reversed(choices)}
    if name in _FOREIGN and _FOREIGN[name] in choices:
        return _FOREIGN[name]
    # A short word is close to many: its first letter, or all its letters, must be there.
    close = [
        c
        for c in get_close_matches(name, choices, n=3, cutoff=cutoff)
        if len(name) > 3 or c[0] == name[0] or sorted(c) == sorted(name)
    ]
    close = close or [folded[c] for c in get_close_matches(name.lower(), folded, 1, 0.8)]
    return close[0] if close else ""
