"""Memos: small texts by key, an evaluation cache. Losing one costs time, never truth."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from store.database import NAME


def read_memo(root: Path, key: str) -> str | None:
    """The memo of `key` in the store at `root`, read without opening the whole store."""
    connection = sqlite3.connect(f"file:{root / NAME}?mode=ro", uri=True, timeout=5)
    try:
        row = connection.execute("SELECT value FROM memo WHERE key=?", (key,)).fetchone()
    except sqlite3.Error:
        return None
    finally:
        connection.close()
    return None if row is None else str(row[0])
