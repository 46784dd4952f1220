"""Verification: read everything again and compare it with its address."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from store.compression import decompressed
from store.hashing import object_hasher
from store.removal import remove_tree
from store.store import Store

if TYPE_CHECKING:
    from store.model import Object


def _blob_problem(path: Path) -> str | None:
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            hasher.update(chunk)
    if hasher.hexdigest() != path.name:
        return f"blob {path.name[:16]}: its bytes hash to {hasher.hexdigest()[:16]}"
    return None


def _object_problem(store: Store, item: Object) -> str | None:
    path = store.blob(item.digest)
    if path is None:
        return f"{item.name} ({item.id[:16]}): its blob {item.digest[7:23]} is missing"
    identity, diff = object_hasher(), hashlib.sha256()
    try:
        for chunk in decompressed(path):
            identity.update(chunk)
            diff.update(chunk)
    except Exception as error:  # zlib.error, ZstdError: all mean the same here
        return f"{item.name} ({item.id[:16]}): cannot be decompressed: {error}"
    if identity.hexdigest() != item.id or f"sha256:{diff.hexdigest()}" != item.diff_id:
        return f"{item.name} ({item.id[:16]}): its tar is not what its address says"
    return None


def verify(store: Store, *, repair: bool = False) -> list[str]:
    """One line for each problem: damaged or missing blobs, objects that are not their address,
    trees without an object. With `repair`, what is bad is dropped and will be built again."""
    problems: list[str] = []
    for path in sorted((store.path / "blobs" / "sha256").iterdir()):
        if problem := _blob_problem(path):
            problems.append(problem)
            if repair:
                path.unlink()
    for item in store.objects():
        if problem := _object_problem(store, item):
            problems.append(problem)
            if repair:
                store.db.write([("DELETE FROM object WHERE id=?", (item.id,))])
                remove_tree(store.path / "trees" / item.id)
    if problems and repair:
        store.db.write([("DELETE FROM memo", ())])
    return problems


