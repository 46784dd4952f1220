"""What a build has done and is doing, counted from its events."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.core.amounts import human_bytes, human_seconds
from engine.core.events import Event

_LARGE = 32 << 20  # a fetch of this many bytes gets a line of its own


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
    sends: dict[str, Event] = field(default_factory=dict)  # what is pushed -> its last event

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
        elif event.kind == "push-progress":
            self.sends[event.name] = event
        elif event.kind == "push":
            self.sends.pop(event.name, None)

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
