"""Memos: small texts by key, an evaluation cache. Losing one costs time, never truth."""

from __future__ import annotations

import os
import sqlite3

_NAME = "db.sqlite"  # store.database.NAME, whose module costs start-up


def read_memo(root: str | os.PathLike[str], key: str) -> str | None:
    """The memo of `key` in the store at `root`, read without opening the whole store."""
    path = str(root)
    for special, code in (("%", "%25"), ("?", "%3f"), ("#", "%23")):
        path = path.replace(special, code)
    name = f"file:{path}/{_NAME}?mode=ro"
    try:
        return _value(name, key)
    except sqlite3.Error:
        pass
    try:
        # On a read-only file system sqlite cannot make its index of the log; without a log it needs
        # none.
        if os.stat(f"{root}/{_NAME}-wal").st_size:  # noqa: PTH116
            return None
    except OSError:
        pass
    try:
        return _value(f"{name}&immutable=1", key)
    except sqlite3.Error:
        return None


def _value(name: str, key: str) -> str | None:
    connection = sqlite3.connect(name, uri=True, timeout=5)
    try:
        row = connection.execute("SELECT value FROM memo WHERE key=?", (key,)).fetchone()
    finally:
        connection.close()
    return None if row is None else str(row[0])
