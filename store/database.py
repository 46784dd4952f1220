"""The store's sqlite database: one file, WAL, one connection a thread.

`synchronous=FULL` because a row promises that bytes are on disk: losing the row is harmless, a
row without its bytes would be a lie, and the bytes are fsynced before. What sqlite raises becomes
a StoreError: one sentence with the path and what to do.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from store import notices
from store.errors import (
    DamagedError,
    ReadOnlyError,
    StoreError,
    UnmadeError,
    disk_full,
    full,
    not_readable,
    not_writable,
)

SCHEMA_VERSION = 2
NAME = "db.sqlite"
Statement = tuple[str, tuple[object, ...]]

_BUSY_AFTER = 60.0  # seconds that one waits for other processes' writes
_PATIENCE = 1.0  # seconds after which that is said
_SLACK = 64  # unused pages (of 4 KiB) that are no reason to write the file anew

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
CREATE TABLE root (name TEXT PRIMARY KEY, seal TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE TABLE root_target (
    root TEXT NOT NULL REFERENCES root(name) ON DELETE CASCADE,
    kind TEXT NOT NULL, target TEXT NOT NULL, PRIMARY KEY (root, kind, target)
) WITHOUT ROWID;
CREATE TABLE memo (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
# What version 2 added: without the index a collection looked at every realisation for each object.
_SINCE_2 = """
CREATE INDEX realisation_output ON realisation(output);
CREATE TABLE tree (
    object TEXT PRIMARY KEY REFERENCES object(id) ON DELETE CASCADE,
    stamp TEXT NOT NULL, content TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
"""


def seal(root: str, targets: Sequence[tuple[str, str]]) -> str:
    """A hash over a root and all its (kind, target): sqlite has no checksums, and a root that lost
    a line would let `gc` remove what it kept."""
    lines = [root, *(f"{kind} {target}" for kind, target in sorted(targets))]
    return hashlib.blake2b("\n".join(lines).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


class Database:
    """Opens connections to one database file, one a thread, and closes them all.

    With `reading` nothing can be written, nor has the file or its directory to be writable.
    Raises StoreError: DamagedError for a file that is no such database, ReadOnlyError for one that
    cannot be written. `made` is called when there was none (or an empty one), before anybody else
    sees it: its statements belong to the database's first transaction.
    """

    def __init__(
        self, path: Path, *, reading: bool = False, made: Callable[[], Sequence[Statement]] = lambda: ()
    ) -> None:
        self.path = path
        self.reading = reading
        self.version = SCHEMA_VERSION  # of the file that is there: reading does not change it
        self._file = path
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._options = "?mode=ro" if reading else ""
        self._made = made
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        try:
            if self.reading:
                self._look()
            self._migrate()
        except sqlite3.Error as error:
            raise self.told(error) from error

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection, in autocommit mode. What it raises is sqlite's own."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = sqlite3.connect(
                f"{self._file.absolute().as_uri()}{self._options}",
                uri=True,
                timeout=_BUSY_AFTER,
                isolation_level=None,
                check_same_thread=False,
            )
            with self._guard:
                self._all.append(found)
            found.execute("PRAGMA foreign_keys=ON")
            if not self.reading:
                found.execute("PRAGMA synchronous=FULL")
            self._local.connection = found
        return found

    def _look(self) -> None:
        """Find a way to read: as it is; where sqlite cannot make its index of the log beside it, a
        copy of both."""
        try:
            self.connection.execute("PRAGMA schema_version").fetchone()
            self.connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return
        except sqlite3.OperationalError as error:
            if not self._lacks_index(error):
                raise
        self.close()
        log = self.path.with_name(f"{NAME}-wal")
        try:
            if not log.exists() or not log.stat().st_size:
                self.path.open("rb").close()
                self._options = "?mode=ro&immutable=1"
                return
            self._copy = tempfile.TemporaryDirectory(prefix="envd-store-")
            shutil.copyfile(self.path, Path(self._copy.name) / NAME)
            shutil.copyfile(log, Path(self._copy.name) / log.name)
            self._file, self._options = Path(self._copy.name) / NAME, ""
        except OSError as error:
            if isinstance(error, PermissionError):
                raise ReadOnlyError(not_readable(self.path.parent)) from error
            raise ReadOnlyError(f"{self.path}: cannot read the store: {error.strerror}") from error

    def _lacks_index(self, error: sqlite3.Error) -> bool:
        code = _code(error)
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            return disk_full(self.path.parent)
        return code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)

    def _migrate(self) -> None:
        connection = self.connection
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == SCHEMA_VERSION:
            return
        if not 0 <= version <= SCHEMA_VERSION:
            raise StoreError(
                f"{self.path}: a newer envd made this store (its format is {version}, this envd "
                f"knows {SCHEMA_VERSION}); update envd, or choose another store with ENVD_STORE"
            )
        if self.reading:
            if version == 0:
                (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
                kind = DamagedError if tables else UnmadeError
                raise kind(self._damaged("it is empty"))
            self.version = version
            return
        if version == 0:
            connection.execute("PRAGMA journal_mode=WAL")
        self.transaction(lambda: self._upgrade(connection))

    def _upgrade(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == SCHEMA_VERSION:  # another process did it while this one waited
            return
        if version == 0:
            _execute(connection, _SCHEMA)
        else:
            connection.execute("ALTER TABLE root ADD COLUMN seal TEXT NOT NULL DEFAULT ''")
        _execute(connection, _SINCE_2)
        if version == 0:
            for sql, values in self._made():
                connection.execute(sql, values)
        for (name,) in connection.execute("SELECT name FROM root").fetchall():
            targets = connection.execute(
                "SELECT kind, target FROM root_target WHERE root=?", (name,)
            ).fetchall()
            connection.execute("UPDATE root SET seal=? WHERE name=?", (seal(name, targets), name))
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def read(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        """All rows of a query. Raises StoreError."""
        try:
            return self.connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self.told(error) from error

    def write(self, statements: Sequence[Statement]) -> None:
        """Run statements in one transaction. Raises StoreError."""

        def run() -> None:
            for sql, values in statements:
                self.connection.execute(sql, values)

        try:
            self.transaction(run)
        except sqlite3.Error as error:
            raise self.told(error) from error

    def transaction(self, run: Callable[[], None]) -> None:
        """Call `run` inside a transaction, which ends with it. Raises sqlite's errors."""
        connection = self.connection
        self._begin(connection)
        try:
            run()
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # a full disk has ended it already
                connection.execute("ROLLBACK")
            raise

    def _begin(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA busy_timeout={_PATIENCE * 1000:.0f}")
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY:
                raise
            notices.say("store", f"waiting for another process, which writes to {self.path}")
            connection.execute(f"PRAGMA busy_timeout={_BUSY_AFTER * 1000:.0f}")
            connection.execute("BEGIN IMMEDIATE")
        finally:
            connection.execute(f"PRAGMA busy_timeout={_BUSY_AFTER * 1000:.0f}")

    def shrink(self) -> None:
        """Give the disk what deleted rows took, when that is worth writing the file anew. Best
        effort: where there is no room for that, the file stays as it is."""
        try:
            connection = self.connection
            (unused,) = connection.execute("PRAGMA freelist_count").fetchone()
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            if unused > max(_SLACK, pages // 4):
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError as error:
            if _code(error) not in (
                sqlite3.SQLITE_BUSY,
                sqlite3.SQLITE_LOCKED,
                sqlite3.SQLITE_FULL,
                sqlite3.SQLITE_IOERR,
            ):
                raise self.told(error) from error

    def told(self, error: sqlite3.Error) -> StoreError:
        """What sqlite says, as a sentence for the user."""
        store, code = self.path.parent, _code(error)
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return DamagedError(self._damaged(str(error)))
        if code == sqlite3.SQLITE_FULL or (
            code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and disk_full(store)
        ):
            return StoreError(full(store))
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            return ReadOnlyError(not_writable(store))
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StoreError(
                f"{self.path}: another process has been writing to the store's database for "
                f"{_BUSY_AFTER:.0f} s; try again when it is done"
            )
        if "no such" in str(error) or "Could not decode" in str(error):
            return DamagedError(self._damaged(str(error).partition(" with text ")[0]))
        return StoreError(f"{self.path}: the store's database fails: {error}; is its disk in order?")

    def _damaged(self, reason: str) -> str:
        return damaged(self.path, reason)

    def close(self) -> None:
        """Close every connection."""
        with self._guard:
            for connection in self._all:
                connection.close()
            self._all.clear()
        self._local = threading.local()
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None


def damaged(path: Path, reason: str) -> str:
    """What is said of a database at `path` that cannot be trusted."""
    return (
        f"{path}: the store's database is damaged ({reason}); run `envd store verify --repair`: it "
        "keeps every file, and says what was lost"
    )


def _execute(connection: sqlite3.Connection, script: str) -> None:
    for statement in script.split(";"):
        if statement.strip():
            connection.execute(statement)


def _code(error: sqlite3.Error) -> int:
    """The primary result code: the extended ones hold it in their lowest byte."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
