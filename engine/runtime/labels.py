"""What an image's label says of its environment, checked: anybody can make an image.

The label is written by `engine.ecosystems.steps.dev.label`. Its facts become mounts, ports and limits of a
container, so each has one form here, and what has another is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # Docker's own rule for a volume's name
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _whole(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _text(value: Any) -> bool:
    return isinstance(value, str) and not _CONTROL.search(value)


def _list(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(check(item) for item in value)


def _mount(row: Any) -> bool:
    if not (isinstance(row, list) and len(row) == 3 and isinstance(row[2], bool)):
        return False
    source, target, managed = row
    return bool(
        _text(source) and _text(target) and source and target and (not managed or _VOLUME.fullmatch(source))
    )


def _port(row: Any) -> bool:
    if not (isinstance(row, list) and len(row) == 4):
        return False
    inside, outside, service, listen = row
    return (
        _whole(inside, 65535)
        and (outside is None or _whole(outside, 65535))
        and (service is None or _text(service))
        and (listen is None or _text(listen))
    )


def _pair(value: Any, first: Callable[[Any], bool], second: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and len(value) == 2 and first(value[0]) and second(value[1])


_FACTS: Mapping[str, Callable[[Any], bool]] = {
    "shell": _text,
    "jupyter": lambda v: _pair(v, lambda n: _whole(n, 65535), lambda t: t is None or _text(t)),
    "owner": lambda v: _pair(v, lambda n: _whole(n, 65535), lambda n: _whole(n, 65535)),
    "cuda": _text,
    "cudnn": _text,
    "gpu": lambda v: _whole(v, 1024),
    "shm_size": lambda v: _whole(v, 1 << 24),
    "mounts": _list(_mount),
    "expose": _list(_port),
    "init": lambda v: _whole(v, 1 << 20),
    "commands": lambda v: isinstance(v, dict) and all(isinstance(t, str) for t in v.values()),
    "apt": _list(_text),
    "python": _list(_text),
    "conda": _list(_text),
}


def checked(facts: Any) -> dict[str, Any]:
    """`facts` as they are, when each has the form that envd gives it; facts that this envd does not
    know are left out. Raises ValueError, which names the first that has not."""
    if not isinstance(facts, dict):
        raise ValueError("not a table")
    for name, check in _FACTS.items():
        if name in facts and not check(facts[name]):
            raise ValueError(f"{name} is malformed")
    return {name: value for name, value in facts.items() if name in _FACTS}
