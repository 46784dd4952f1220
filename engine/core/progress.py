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
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TextIO

from engine.core import terminal
from engine.core.events import Event, Sink, tell
from engine.core.redaction import know_settings, visible_event
from store.notices import Listener, heard

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

MODES = ("auto", "tree", "plain", "json")
_LARGE = 32 << 20  # a fetch of this many bytes gets a line of its own
_SHOWN_FETCHES = 3


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


@dataclass
class Tally:
    """Counts of what happened, and what is happening now."""

    built: int = 0
    cached: int = 0
    substituted: int = 0
    fetched: int = 0
    fetched_bytes: int = 0
    failed: int = 0
    running: dict[str, Event] = field(default_factory=dict)  # drv_id -> its start
    lines: dict[str, str] = field(default_factory=dict)  # drv_id -> its last log line
    fetches: dict[str, Event] = field(default_factory=dict)  # drv_id -> its last event

    def add(self, event: Event) -> None:
        """Count one event."""
        if event.kind == "start":
            self.running[event.id] = event
        elif event.kind == "log" and event.text:
            self.lines[event.id] = event.text
        elif event.kind in ("finish", "failed"):
            self.running.pop(event.id, None)
            self.fetches.pop(event.id, None)
            self.lines.pop(event.id, None)
            self.built += event.kind == "finish"
            self.failed += event.kind == "failed"
        elif event.kind == "cached":
            self.cached += 1
        elif event.kind == "substituted":
            self.substituted += 1
        elif event.kind in ("fetch-start", "fetch-progress"):
            self.fetches[event.id] = event
        elif event.kind == "fetch-finish":
            self.fetches.pop(event.id, None)
            self.fetched += 1
            self.fetched_bytes += event.bytes

    def summary(self, seconds: float) -> str:
        """ "12 built, 30 cached, 151 fetched (210 MB) in 34 s"; "" when nothing was done."""
        parts = []
        if self.built:
            parts.append(f"{self.built} built")
        if self.cached:
            parts.append(f"{self.cached} cached")
        if self.substituted:
            parts.append(f"{self.substituted} built elsewhere")
        if self.fetched:
            parts.append(f"{self.fetched} fetched ({human_bytes(self.fetched_bytes)})")
        return f"{', '.join(parts)} in {human_seconds(seconds)}" if parts else ""


def line_of(event: Event) -> str | None:
    """The line that says one event, or None for one that is only counted."""
    took = f" in {human_seconds(event.seconds)}" if event.seconds else ""
    size = human_bytes(event.bytes)
    if event.kind == "finish":
        return f"built {event.name} ({size}){took}"
    if event.kind == "failed":
        return f"failed {event.name}"
    if event.kind == "fetch-finish" and event.bytes >= _LARGE:
        return f"fetched {event.name} ({size}){took}"
    if event.kind in ("message", "resolve", "image", "load", "push", "publish"):
        label = event.name if event.kind == "message" else f"{event.kind} {event.name}".rstrip()
        about = f" ({size})" if event.bytes else ""
        return ": ".join(p for p in (label, event.text) if p) + about + took
    return None


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


# -- tree -------------------------------------------------------------------------------------


class _Tree:
    """The live view. Rich asks it to draw itself a few times a second."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._tally = Tally()
        self._lock = threading.Lock()
        self._live = Live(self, console=console, transient=True, refresh_per_second=8)
        self._live.start()

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._tally.add(event)
        line = line_of(event)
        if line is None:
            return
        from rich.text import Text

        style = {"finish": "green", "failed": "bold red"}.get(event.kind, "")
        self._live.console.print(Text(line, style=style))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text
        from rich.tree import Tree

        with self._lock:
            running = list(self._tally.running.values())
            lines = dict(self._tally.lines)
            fetches = list(self._tally.fetches.values())
            counts = (
                f"{self._tally.built} built, {self._tally.cached} cached, "
                f"{self._tally.fetched} fetched ({human_bytes(self._tally.fetched_bytes)})"
            )
        if not running and not fetches:
            return
        now = time.time()
        tree = Tree(Text(counts, style="bold"), guide_style="dim")
        for start in running:
            label = Text.assemble(
                (start.name, "cyan"),
                f"  {human_seconds(max(0.0, now - start.time))}",
                no_wrap=True,
                overflow="ellipsis",
            )
            node = tree.add(label)
            if last := lines.get(start.id):
                node.add(Text(last, style="dim", no_wrap=True, overflow="ellipsis"))
        if fetches:
            got = sum(f.bytes for f in fetches)
            total = sum(f.total for f in fetches)
            of = f" of {human_bytes(total)}" if total else ""
            node = tree.add(Text(f"fetching {len(fetches)} files  {human_bytes(got)}{of}"))
            fetches.sort(key=lambda f: f.total, reverse=True)
            for item in fetches[:_SHOWN_FETCHES]:
                of = f" of {human_bytes(item.total)}" if item.total else ""
                node.add(
                    Text(
                        f"{item.name}  {human_bytes(item.bytes)}{of}",
                        style="dim",
                        no_wrap=True,
                        overflow="ellipsis",
                    )
                )
        yield tree

    def stop(self) -> None:
        self._live.stop()

    def close(self, seconds: float) -> None:
        if summary := self._tally.summary(seconds):
            self._live.console.print(summary, highlight=False)


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
        from rich.console import Console

        tree = _Tree(Console(file=terminal.bare(out)))
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
