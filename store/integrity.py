"""Whether the database can be trusted, and making it anew from what is content-addressed.

sqlite finds broken pages and rows that name nothing, but has no checksums: a root's seal tells that
a line of it was lost or changed. A rebuilt database has every object whose blob is a layer, and what
can still be read of realisations and roots; since roots may be missing, one more root keeps all
files until the user gives it up.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from store import database
from store.compression import decompressed
from store.database import Database, Statement
from store.errors import StoreError, explained
from store.hashing import object_hasher
from store.model import GZIP_LAYER, TAR_LAYER, ZSTD_LAYER
from store.roots import RECOVERED, recovered_root, root_statements
from store.store import Store

_ID = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LARGEST_MANIFEST = 4 << 20  # bytes: what registries take
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_SHOWN = 3  # of what sqlite finds
_USTAR = 257  # where a tar's header says that it is one
_TABLES = {
    "object": "id",
    "reference": "object, position",
    "realisation": "key",
    "root": "name",
    "root_target": "root, kind, target",
}


def problems(db: Database) -> list[str]:
    """One line for each thing that is wrong with the database itself; none when it can be trusted."""
    try:
        found = [
            line
            for (text,) in db.connection.execute(f"PRAGMA integrity_check({_SHOWN})")
            for line in str(text).splitlines()
            if not line.startswith("***")
        ]
        if found != ["ok"]:
            return [f"{db.path}: the database is damaged: {line}" for line in found[:_SHOWN]]
        strays = db.connection.execute("PRAGMA foreign_key_check").fetchall()
        lines = [
            f"{db.path}: the database is damaged: a row of {table} names nothing in {parent}"
            for table, parent in sorted({(row[0], row[2]) for row in strays})
        ]
        return lines + [
            f"{db.path}: the database is damaged: what root '{name}' keeps is not what it was"
            for name in _unsealed(db)
        ]
    except sqlite3.Error as error:
        text = str(error).partition(" with text ")[0]
        return [f"{db.path}: the database is damaged: {text}"]


def _unsealed(db: Database) -> list[str]:
    if db.version < 2:
        return []
    targets: dict[str, list[tuple[str, str]]] = {}
    for root, kind, target in db.connection.execute("SELECT root, kind, target FROM root_target"):
        targets.setdefault(root, []).append((kind, target))
    return [
        name
        for name, seal in db.connection.execute("SELECT name, seal FROM root ORDER BY name")
        if seal != database.seal(name, targets.get(name, ()))
    ]


# -- making it anew ---------------------------------------------------------------------------


@dataclass
class _Salvage:
    """What can be read of a damaged database, by table and key; `whole` when all could."""

    tables: dict[str, dict[tuple[Any, ...], tuple[Any, ...]]] = field(default_factory=dict)
    whole: bool = True

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        return list(self.tables.get(table, {}).values())


@dataclass(frozen=True)
class _Layer:
    id: str
    diff_id: str
    digest: str
    size: int
    tar_size: int
    media_type: str


def rebuild(path: Path) -> list[str]:
    """Make the database of the store at `path` anew, keeping the damaged one beside it; lines that
    say what was kept and what was lost. No other process may use the store. Raises StoreError."""
    old = path / database.NAME
    aside = path / f"{database.NAME}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    try:
        for ending in ("-shm", "-wal", ""):
            part = old.with_name(old.name + ending)
            if part.exists():
                part.rename(aside.with_name(aside.name + ending))
    except OSError as error:
        raise StoreError(explained(error, path) or f"{old}: {error.strerror}") from error
    salvage = _salvage(aside)
    layers = {layer.id: layer for layer in _layers(path, salvage)}
    names = _names(path, salvage)
    statements = _statements(path, salvage, layers, names)
    Database(old, made=lambda: statements).close()
    kept = {
        table: sum(f"INTO {table} " in sql for sql, _ in statements)
        for table in ("object", "realisation", "root")
    }
    lines = [
        f"the database was recreated, with {_count(kept['object'], 'layer')}, "
        f"{_count(kept['realisation'], 'realisation')} and {_count(kept['root'], 'root')}, of which "
        f"one keeps every file; the damaged one is {aside.name}"
    ]
    if not salvage.whole:
        lines.append(
            "some of the old one could not be read: what was built may be built again, and an image "
            "that `envd images` does not list any more has to be"
        )
    return lines


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def find_layers(store: Store) -> list[str]:
    """Record the layers among the blobs of a store whose database was lost; lines that say so.

    No other process may use the store. Raises StoreError.
    """
    known = {item.digest for item in store.objects()}
    names = _names(store.path, _Salvage())
    found = {x.id: x for x in _layers(store.path, _Salvage()) if x.digest not in known}
    if not found:
        return []
    statements = [_row(layer, names) for layer in found.values()]
    for root in store.roots():
        if root.name.startswith(RECOVERED):
            statements += root_statements(root.name, [*root.objects, *found], root.blobs)
    store.db.write(statements)
    return [f"{_count(len(found), 'layer')} found again among the files"]


def _row(layer: _Layer, names: Mapping[str, str]) -> Statement:
    return (
        "INSERT OR IGNORE INTO object VALUES (?,?,?,?,?,?,?)",
        (
            layer.id,
            names.get(layer.diff_id) or f"layer-{layer.id[:12]}",
            layer.diff_id,
            layer.digest,
            layer.size,
            layer.tar_size,
            layer.media_type,
        ),
    )


def _salvage(path: Path) -> _Salvage:
    found = _Salvage()
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)
    except sqlite3.Error:
        found.whole = False
        return found
    try:
        for table, key in _TABLES.items():
            width = len(key.split(","))
            rows = found.tables.setdefault(table, {})
            # From both ends: a broken page in the middle hides what lies behind it.
            for order in ("", " DESC"):
                ordered = ", ".join(f"{part}{order}" for part in key.split(","))
                try:
                    for row in connection.execute(f"SELECT * FROM {table} ORDER BY {ordered}"):
                        rows[row[:width]] = row
                except (sqlite3.Error, UnicodeDecodeError):
                    found.whole = False
    finally:
        connection.close()
    return found


def _files(path: Path) -> Iterator[Path]:
    for entry in sorted((path / "blobs" / "sha256").iterdir()):
        if _ID.fullmatch(entry.name) and entry.is_file():
            yield entry


def _layers(path: Path, salvage: _Salvage) -> Iterator[_Layer]:
    """Every blob that is a layer: its content says which."""
    known = {row[3]: row[6] for row in salvage.rows("object") if len(row) == 7}
    known |= {digest: kind for digest, kind in _named_layers(path) if digest not in known}
    for file in _files(path):
        digest = f"sha256:{file.name}"
        with file.open("rb") as opened:
            head = opened.read(4)
        own = GZIP_LAYER if head[:2] == _GZIP else ZSTD_LAYER if head == _ZSTD else TAR_LAYER
        if own == TAR_LAYER and digest not in known:
            continue  # a tar as it came from somewhere, or no tar at all
        layer = _layer(file, digest, str(known.get(digest) or own))
        if layer is not None:
            yield layer


def _layer(file: Path, digest: str, media_type: str) -> _Layer | None:
    """The layer that a blob is; None when it is damaged, or no tar."""
    whole, identity, diff = hashlib.sha256(), object_hasher(), hashlib.sha256()
    size = 0
    try:
        for chunk in decompressed(file):
            if size == 0 and chunk[_USTAR : _USTAR + 5] != b"ustar" and any(chunk[:512]):
                return None
            identity.update(chunk)
            diff.update(chunk)
            size += len(chunk)
        with file.open("rb") as opened:
            while chunk := opened.read(1 << 20):
                whole.update(chunk)
    except Exception:  # zlib.error, ZstdError: no layer
        return None
    if size == 0 or f"sha256:{whole.hexdigest()}" != digest:
        return None
    return _Layer(
        str(identity.hexdigest()), f"sha256:{diff.hexdigest()}", digest, file.stat().st_size, size, media_type
    )


def _documents(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The JSON files of the store: manifests and configurations of images among them."""
    for file in _files(path):
        if file.stat().st_size > _LARGEST_MANIFEST:
            continue
        with file.open("rb") as opened:
            if opened.read(1) != b"{":
                continue
        try:
            found = json.loads(file.read_bytes())
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            yield f"sha256:{file.name}", found


def _named_layers(path: Path) -> Iterator[tuple[str, str]]:
    """(digest, media type) of the layers that images in the store have."""
    for _, document in _documents(path):
        for entry in document.get("layers") or ():
            if isinstance(entry, dict) and {"digest", "mediaType"} <= entry.keys():
                yield str(entry["digest"]), str(entry["mediaType"])


def _names(path: Path, salvage: _Salvage) -> dict[str, str]:
    """diffID -> what the layer is called: by an image's history, better by the old database."""
    found: dict[str, str] = {}
    for _, document in _documents(path):
        diff_ids = (document.get("rootfs") or {}).get("diff_ids")
        history = [
            row
            for row in document.get("history") or ()
            if isinstance(row, dict) and not row.get("empty_layer")
        ]
        if isinstance(diff_ids, list) and len(diff_ids) == len(history):
            for diff_id, row in zip(diff_ids, history, strict=True):
                found[str(diff_id)] = str(row.get("created_by", "")).removeprefix("envd: ")[:60]
    found |= {str(row[2]): str(row[1]) for row in salvage.rows("object") if len(row) == 7}
    return found


def _statements(
    path: Path, salvage: _Salvage, layers: Mapping[str, _Layer], names: Mapping[str, str]
) -> list[Statement]:
    statements = [_row(layer, names) for layer in layers.values()]
    for row in salvage.rows("reference"):
        if row[0] in layers and row[2] in layers and isinstance(row[1], int):
            statements.append(("INSERT INTO reference VALUES (?,?,?)", tuple(row[:3])))
    for row in salvage.rows("realisation"):
        if _is_id(row[0]) and row[1] in layers and isinstance(row[2], str):
            statements.append(("INSERT INTO realisation VALUES (?,?,?)", tuple(row[:3])))
    targets: dict[str, list[tuple[str, str]]] = {}
    for root, kind, target in (row[:3] for row in salvage.rows("root_target")):
        targets.setdefault(str(root), []).append((str(kind), str(target)))
    for name in (row[0] for row in salvage.rows("root")):
        # What it names and is not there any more would only be in gc's way.
        own = [target for kind, target in targets.get(name, ()) if kind == "object"]
        files = [target for kind, target in targets.get(name, ()) if kind == "blob"]
        if isinstance(name, str) and name.isprintable():
            statements += root_statements(
                name, [i for i in own if i in layers], [d for d in files if _is_digest(d)]
            )[1:]
    for sql, values in recovered_root(path, list(layers)):
        if not sql.startswith("DELETE"):
            statements.append((sql, values))
    return statements


def _is_id(value: object) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None
