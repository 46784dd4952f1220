"""What a record that counts tells a store: what its key gave, and what is to be known of that."""

from __future__ import annotations

from collections.abc import Sequence

from engine.cache.record import Record
from engine.realise import warnings_kept
from store import Store
from store.database import Statement


def statements(records: Sequence[Record], store: Store, memos: dict[str, str]) -> list[Statement]:
    """What writes down the outcomes of records, and `memos` with them. A build key whose own outcome the
    store has whole keeps that."""
    found: list[Statement] = []
    told = dict(memos)
    for record in records:
        made = record.object
        if record.is_placing:
            told[record.key] = made.id
        elif (before := store.realisation(record.key)) is None or store.whole(before.output) is None:
            row = (record.key, made.id, record.kind)
            found.append(("INSERT OR REPLACE INTO realisation VALUES (?,?,?)", row))
        told |= warnings_kept.memo(made.id, record.warnings)
    return found + [("INSERT OR REPLACE INTO memo VALUES (?,?)", item) for item in told.items()]
