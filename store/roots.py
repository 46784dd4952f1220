"""What a GC root is in the database, and the root that keeps files whose own roots were lost."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from store import database, notices
from store.database import Statement

RECOVERED = "recovered:"  # roots of what was found when a database was lost: RECOVERED + the time


def root_statements(name: str, object_ids: Sequence[str], digests: Sequence[str]) -> list[Statement]:
    """What sets a root, in place of what it was."""
    targets = sorted({("object", target) for target in object_ids} | {("blob", target) for target in digests})
    return [
        ("DELETE FROM root WHERE name=?", (name,)),
        ("INSERT INTO root VALUES (?,?)", (name, database.seal(name, targets))),
        *(("INSERT INTO root_target VALUES (?,?,?)", (name, *target)) for target in targets),
    ]


def recovered_root(path: Path, object_ids: Sequence[str] = ()) -> list[Statement]:
    """A root that keeps every file of a store whose roots were lost; none for an empty store."""
    found = [f"sha256:{entry.name}" for entry in os.scandir(path / "blobs/sha256") if len(entry.name) == 64]
    name = f"{RECOVERED}{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return root_statements(name, object_ids, found) if found else []


def found_again(path: Path) -> list[Statement]:
    """What a new database begins with where files are there already: a root that keeps them, since
    nothing tells which of them are needed. It says so."""
    statements = recovered_root(path)
    if statements:
        notices.say(
            "store",
            f"{path}: the store's database is gone; its {len(statements) - 2} files are kept, and "
            "what was built is built again (`envd store verify --repair` looks for layers)",
        )
    return statements
