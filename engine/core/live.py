"""The tree of what runs that a terminal shows, live, with what is done scrolling above it."""

from __future__ import annotations

import threading
import time
from typing import TextIO

import rich.tree
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from engine.core.amounts import human_bytes, human_seconds
from engine.core.events import Event
from engine.core.tally import Tally, line_of

_SHOWN = 3  # files of those that are under way


class Tree:
    """The live view. Rich asks it to draw itself a few times a second."""

    def __init__(self, out: TextIO) -> None:
        console = Console(file=out)
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
        style = {"finish": "green", "failed": "bold red"}.get(event.kind, "")
        self._live.console.print(Text(line, style=style))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        with self._lock:
            running = list(self._tally.running.values())
            lines = dict(self._tally.lines)
            fetches = list(self._tally.fetches.values())
            sends = list(self._tally.sends.values())
            counts = (
                f"{self._tally.built} built, {self._tally.cached} cached, "
                f"{self._tally.fetched} fetched ({human_bytes(self._tally.fetched_bytes)})"
            )
        if not (running or fetches or sends):
            return
        now = time.time()
        tree = rich.tree.Tree(Text(counts, style="bold"), guide_style="dim")
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
        _transfers(tree, "fetching", fetches)
        _transfers(tree, "sending", sends)
        yield tree

    def stop(self) -> None:
        self._live.stop()

    def close(self, seconds: float) -> None:
        if summary := self._tally.summary(seconds):
            self._live.console.print(summary, highlight=False)


def _transfers(tree: rich.tree.Tree, what: str, events: list[Event]) -> None:
    """Show how much of some files has come, or gone: of all, and of the largest."""
    if not events:
        return

    def amount(bytes_: int, total: int) -> str:
        return human_bytes(bytes_) + (f" of {human_bytes(total)}" if total else "")

    done = amount(sum(e.bytes for e in events), sum(e.total for e in events))
    node = tree.add(Text(f"{what} {len(events)} file{'s' * (len(events) != 1)}  {done}"))
    for item in sorted(events, key=lambda e: e.total, reverse=True)[:_SHOWN]:
        text = f"{item.name}  {amount(item.bytes, item.total)}"
        node.add(Text(text, style="dim", no_wrap=True, overflow="ellipsis"))
