"""Events: what a build tells the world. Sinks (tree, plain, JSON lines, memory) subscribe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.errors import EnvdError

# kinds: start, finish, cached, substituted (built by another machine, in so many seconds), failed (of a
# derivation); fetch-start, fetch-progress,
# fetch-finish; log (a builder's line); message; resolve; image; load; push; push-progress;
# publish
# Builders and downloads run in threads: a sink is called from any of them, also from several at once.
Sink = Callable[["Event"], None]


@dataclass(frozen=True)
class Event:
    """One thing that happened. `id` is a derivation's drv_id (or ""), `bytes` a size where one
    is meant (of a fetch: what has come so far, of `total` bytes, 0 if unknown), `seconds` a duration
    where one is meant, `time` seconds since the epoch. What failed has the fields of its error:
    `file`, `line` and `column` (from 1) say where, `subject` and `advice` are those of
    `engine.errors`."""

    kind: str
    name: str
    id: str = ""
    text: str = ""
    bytes: int = 0
    total: int = 0
    seconds: float = 0.0
    time: float = field(default_factory=time.time)
    file: str = ""
    line: int = 0
    column: int = 0
    subject: str = ""
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The event as JSON-ready data, without its empty fields."""
        return {k: v for k, v in asdict(self).items() if v not in ("", 0, 0.0) or k == "kind"}


def failed(name: str, id: str, error: EnvdError) -> Event:
    """The event of a derivation or fetch that failed."""
    event = Event("failed", name, id=id, text=str(error), subject=error.subject, advice=error.advice)
    at = error.position
    return event if at is None else replace(event, file=at.file, line=at.line, column=at.column)


def silent(_: Event) -> None:
    """A sink that drops everything."""


_listeners: list[Sink] = []


@contextmanager
def told(sink: Sink) -> Iterator[None]:
    """`sink` gets every event that this process shows, too, while the block lasts; from any thread."""
    _listeners.append(sink)
    try:
        yield
    finally:
        _listeners.remove(sink)


def tell(event: Event) -> None:
    """Tell those who asked by `told`."""
    for sink in _listeners:
        sink(event)
