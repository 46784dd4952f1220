"""What is said while something waits or is tried again, from wherever that happens: one listener,
which is the progress that is being shown, else standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Listener = Callable[[str, str], None]  # (subject, text)

_listeners: list[Listener] = []
_told: set[tuple[str, str]] = set()


def say(subject: str, text: str) -> None:
    """Tell the user one line about `subject`, from any thread."""
    listeners = _listeners[-1:]
    if listeners:
        listeners[0](subject, text)
        return
    try:
        print(f"{subject}: {text}" if subject else text, file=sys.stderr, flush=True)
    except OSError:
        return  # nobody listens: no reason to stop


def once(subject: str, text: str) -> None:
    """`say`, unless this process has said the same before."""
    if (subject, text) not in _told:
        _told.add((subject, text))
        say(subject, text)


@contextmanager
def heard(listener: Listener) -> Iterator[None]:
    """`listener` gets what is said while the block lasts."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
