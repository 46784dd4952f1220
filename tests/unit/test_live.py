"""The live view: what is under way, and how far it is."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from engine.core.events import Event
from engine.core.live import Tree


def shown(tree: Tree) -> list[str]:
    out = StringIO()
    Console(file=out, width=80).print(tree)
    return [line.strip(" │├└─") for line in out.getvalue().splitlines() if line.strip()]


def test_what_is_fetched_and_sent() -> None:
    tree = Tree(StringIO())
    try:
        assert shown(tree) == []
        tree(Event("fetch-progress", "numpy", id="a", bytes=5_000_000, total=20_000_000))
        for number in range(4):
            tree(Event("push-progress", f"blob-{number}", bytes=1_000_000, total=(number + 1) * 10_000_000))
        assert shown(tree)[1:] == [
            "fetching 1 file  5.0 MB of 20.0 MB",
            "numpy  5.0 MB of 20.0 MB",
            "sending 4 files  4.0 MB of 100 MB",
            "blob-3  1.0 MB of 40.0 MB",
            "blob-2  1.0 MB of 30.0 MB",
            "blob-1  1.0 MB of 20.0 MB",
        ]
        tree(Event("fetch-finish", "numpy", id="a", bytes=20_000_000))
        for number in range(4):
            tree(Event("push", f"blob-{number}", bytes=(number + 1) * 10_000_000))
        assert shown(tree) == []
    finally:
        tree.stop()
