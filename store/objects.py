"""Objects as rows of the database."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from store.database import Database, Statement
from store.model import Object

_COLUMNS = "id, name, diff_id, digest, size, tar_size, media_type"


def get(db: Database, object_id: str) -> Object | None:
    """The object of that id, or None."""
    rows = db.read(f"SELECT {_COLUMNS} FROM object WHERE id=?", (object_id,))
    if not rows:
        return None
    references = db.read("SELECT target FROM reference WHERE object=? ORDER BY position", (object_id,))
    return _object(rows[0], (target for (target,) in references))


def every(db: Database) -> list[Object]:
    """Every object, by id."""
    references: dict[str, list[str]] = {}
    for owner, target in db.read("SELECT object, target FROM reference ORDER BY object, position"):
        references.setdefault(owner, []).append(target)
    rows = db.read(f"SELECT {_COLUMNS} FROM object ORDER BY id")
    return [_object(row, references.get(row[0], ())) for row in rows]


def statements(made: Object) -> list[Statement]:
    """What records an object, over what was known of it."""
    return [
        (
            # Not OR REPLACE: that removes the row first, and with it who refers to it.
            f"INSERT INTO object ({_COLUMNS}) VALUES (?,?,?,?,?,?,?) ON CONFLICT(id) DO "
            "UPDATE SET name=excluded.name, digest=excluded.digest, size=excluded.size, "
            "diff_id=excluded.diff_id, tar_size=excluded.tar_size, "
            "media_type=excluded.media_type",
            (made.id, made.name, made.diff_id, made.digest, made.size, made.tar_size, made.media_type),
        ),
        ("DELETE FROM reference WHERE object=?", (made.id,)),
        *(
            ("INSERT INTO reference VALUES (?,?,?)", (made.id, n, target))
            for n, target in enumerate(made.references)
        ),
    ]


def closure(
    start: Iterable[str], look_up: Callable[[str], Object | None], found: dict[str, Object] | None = None
) -> dict[str, Object]:
    """The objects that `start` reaches, by id, added to `found`. An id that `look_up` does not know
    (None) is left out; whoever must not miss one lets `look_up` raise."""
    found = {} if found is None else found
    todo = list(start)
    while todo:
        current = todo.pop()
        if current not in found and (item := look_up(current)) is not None:
            found[current] = item
            todo += item.references
    return found


def _object(row: tuple[Any, ...], references: Iterable[str]) -> Object:
    identity, name, diff_id, digest, size, tar_size, media_type = row
    return Object(identity, name, diff_id, digest, size, tar_size, media_type, tuple(references))
