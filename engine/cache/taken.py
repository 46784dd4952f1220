"""What was taken from other machines so far, by place: a memo in the store, which is added up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from store import Store

_MEMO = "taken from places"


@dataclass(frozen=True)
class Taken:
    """`builds` that took something from a place, `layers` that these did not build, the `bytes` that were
    fetched for it, and the `seconds` that building them took elsewhere."""

    place: str
    builds: int = 0
    layers: int = 0
    bytes: int = 0
    seconds: float = 0.0

    def plus(self, other: Taken) -> Taken:
        """Both together, at this place."""
        return Taken(
            self.place,
            self.builds + other.builds,
            self.layers + other.layers,
            self.bytes + other.bytes,
            round(self.seconds + other.seconds, 3),
        )


def remember(store: Store, rows: Sequence[Taken]) -> None:
    """Add what one build took."""
    if not rows:
        return
    with store.lock("taken", "counts what was taken from other machines"):
        known = {row.place: row for row in read(store)}
        for row in rows:
            known[row.place] = known.get(row.place, Taken(row.place)).plus(row)
        store.set_memo(_MEMO, json.dumps([asdict(row) for row in known.values()]))


def read(store: Store) -> list[Taken]:
    """What was taken so far, by place."""
    try:
        rows = [Taken(**row) for row in json.loads(store.memo(_MEMO) or "[]")]
    except (ValueError, TypeError):  # of another version
        return []
    return sorted(rows, key=lambda row: row.place)
