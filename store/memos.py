"""Memos: small texts by key, an evaluation cache. Losing one costs time, never truth."""

from __future__ import annotations

import sqlite3

TYPE_CHECKING = False  # typing costs an idle build's start-up
if TYPE_CHECKING:
    import os

_NAME = "db.sqlite"  # store.database.NAME, whose module costs start-up


def read_memo(root: str | os.PathLike[str], key: str) -> str | None:
    """The memo of `key` in the store at `root`, read without opening the whole store."""
    path = str(root)
    for special, code in (("%", "%25"), ("?", "%3f"), ("#", "%23")):
        path = path.replace(special, code)
    connection = sqlite3.connect(f"file:{path}/{_NAME}?mode=ro", uri=True, timeout=5)
    try:
        row = connection.execute("SELECT value FROM memo WHERE key=?", (key,)).fetchone()
    except sqlite3.Error:
        return None
    finally:
        connection.close()
    return None if row is None else str(row[0])
