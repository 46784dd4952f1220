"""The store's sqlite database: one file, WAL, one connection a thread.

`synchronous=FULL` because a row promises that bytes are on disk: losing the row is harmless, a
row without its bytes would be a lie, and the bytes are fsynced before.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

SCHEMA_VERSION = 1
NAME = "db.sqlite"

_SCHEMA = """
CREATE TABLE object (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, diff_id TEXT NOT NULL, digest TEXT NOT NULL,
    size INTEGER NOT NULL, tar_size INTEGER NOT NULL, media_type TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE reference (
    object TEXT NOT NULL REFERENCES object(id) ON DELETE CASCADE,
    position INTEGER NOT NULL, target TEXT NOT NULL, PRIMARY KEY (object, position)
) WITHOUT ROWID;
CREATE TABLE realisation (
    key TEXT PRIMARY KEY, output TEXT NOT NULL REFERENCES object(id) ON DELETE CASCADE,
    name TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE root (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE root_target (
    root TEXT NOT NULL REFERENCES root(name) ON DELETE CASCADE,
    kind TEXT NOT NULL, target TEXT NOT NULL, PRIMARY KEY (root, kind, target)
) WITHOUT ROWID;
CREATE TABLE memo (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class Database:
    """Opens connections to one database file, one a thread, and closes them all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        self._migrate()

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection, in autocommit mode; use `with transaction(...)` to write."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = sqlite3.connect(
                self._path, timeout=60, isolation_level=None, check_same_thread=False
            )
            found.execute("PRAGMA foreign_keys=ON")
            found.execute("PRAGMA synchronous=FULL")
            self._local.connection = found
            with self._guard:
                self._all.append(found)
        return found

    def _migrate(self) -> None:
        from store.errors import StoreError

        connection = self.connection
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == SCHEMA_VERSION:
            return
        if version != 0:
            raise StoreError(
                f"{self._path}: store schema {version} is not {SCHEMA_VERSION}; "
                "use the envd that made it, or another ENVD_STORE"
            )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:  # nobody made it while we waited
                for statement in _SCHEMA.split(";"):
                    if statement.strip():
                        connection.execute(statement)
                connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def write(self, statements: list[tuple[str, tuple[object, ...]]]) -> None:
        """Run statements in one transaction."""
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            for sql, values in statements:
                connection.execute(sql, values)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close every connection."""
        with self._guard:
            for connection in self._all:
                connection.close()
            self._all.clear()
