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

_SHOWN_FETCHES = 3


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
            counts = (
                f"{self._tally.built} built, {self._tally.cached} cached, "
                f"{self._tally.fetched} fetched ({human_bytes(self._tally.fetched_bytes)})"
            )
        if not running and not fetches:
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
