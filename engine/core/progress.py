"""Progress: sinks that show events to people and machines.

All of them write to standard error, JSON lines too: standard output carries a command's
result alone, so `envd build --progress json 2>events` and `$(envd build)` both work.

- tree: what runs, live, with what is done scrolling above it (terminals);
- plain: a line per thing that happened, fetches summed up;
- json: every event as one JSON object per line, see `engine.core.events.Event`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TextIO

from engine.core import terminal
from engine.core.amounts import human_bytes
from engine.core.events import Event, Sink, tell
from engine.core.redaction import know_settings, visible_event
from engine.core.tally import Tally, line_of
from store.notices import Listener, heard

MODES = ("auto", "tree", "plain", "json")


# -- plain ------------------------------------------------------------------------------------


class _Plain:
    """Lines as things happen. Small fetches are summed up whenever none is under way."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._tally = Tally()
        self._told = (0, 0)

    def __call__(self, event: Event) -> None:
        self._tally.add(event)
        if event.kind == "start":
            self._write(f"building {event.name}")
        elif event.kind == "cached":
            self._write(f"cached {event.name}")
        elif event.kind == "substituted":
            self._write(f"built elsewhere: {event.name}")
        elif event.kind == "log":
            self._write(f"{event.name}> {event.text}")
        elif (line := line_of(event)) is not None:
            self._write(line)
        if event.kind == "fetch-finish" and not self._tally.fetches:
            self._sum_up()

    def _sum_up(self) -> None:
        files = self._tally.fetched - self._told[0]
        size = self._tally.fetched_bytes - self._told[1]
        self._told = (self._tally.fetched, self._tally.fetched_bytes)
        self._write(f"fetched {files} file{'s' * (files != 1)} ({human_bytes(size)})")

    def close(self, seconds: float) -> None:
        if summary := self._tally.summary(seconds):
            self._write(summary)


# -- choosing ---------------------------------------------------------------------------------


def choose(mode: str, stream: TextIO) -> str:
    """What "auto" means for `stream`: "tree" on a terminal that can move its cursor."""
    if mode != "auto":
        return mode
    able = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return "tree" if able else "plain"


def _cleaned(show: Sink) -> Sink:
    """`show`, to whom the names and texts of events come without control characters."""

    def cleaned(event: Event) -> None:
        name, text = terminal.one_line(event.name), terminal.clean(event.text)
        if (name, text) != (event.name, event.text) or event.kind == "failed":
            event = replace(
                event,
                name=name,
                text=text,
                file=terminal.one_line(event.file),
                subject=terminal.one_line(event.subject),
                advice=terminal.clean(event.advice),
            )
        show(event)

    return cleaned


def _messages(sink: Sink) -> Listener:
    """What is said while something waits or is tried again, as events."""
    return lambda subject, text: sink(Event("message", subject, text=text))


@contextmanager
def open_sink(mode: str = "auto", stream: TextIO | None = None) -> Iterator[Sink]:
    """A sink that any thread may call, for the time of the block; ends with a summary line.

    `mode` is one of MODES; `stream` defaults to standard error.
    """
    if mode not in MODES:
        raise ValueError(f"no progress mode '{mode}'")
    out = stream or sys.stderr
    know_settings()
    begin = time.monotonic()
    lock = threading.Lock()

    def write(line: str) -> None:
        try:
            print(terminal.escape(line), file=out, flush=True)
        except BrokenPipeError:
            return  # nobody watches: no reason to stop a build

    chosen = choose(mode, out)
    if chosen == "tree":
        from engine.core.live import Tree  # noqa: PLC0415 (rich, for a terminal alone)

        tree = Tree(terminal.bare(out))
        cleaned = _cleaned(tree)

        def drawn(event: Event) -> None:
            shown = visible_event(event)
            tell(shown)
            cleaned(shown)

        try:
            with heard(_messages(drawn)):
                yield drawn
        finally:
            tree.stop()
        tree.close(time.monotonic() - begin)
        return
    plain = _Plain(write)
    show = _cleaned(plain)
    if chosen == "json":

        def show(event: Event) -> None:
            write(json.dumps(event.as_dict(), ensure_ascii=False))

    def sink(event: Event) -> None:
        shown = visible_event(event)
        tell(shown)
        with lock:
            show(shown)

    with heard(_messages(sink)):
        yield sink
    if chosen == "plain":
        plain.close(time.monotonic() - begin)
