"""Verification: read everything again and compare it with its address."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from store import elsewhere, integrity, notices, stamps
from store.compression import decompressed
from store.database import NAME, Database
from store.difference import differences
from store.errors import DamagedError, StoreError
from store.hashing import object_hasher
from store.removal import remove_tree
from store.roots import RECOVERED, root_statements
from store.store import Store, is_there
from store.usage import alone

if TYPE_CHECKING:
    from store.model import Object

_SHOWN = 3  # files of a changed tree that are named


def verify_at(path: Path, *, repair: bool = False) -> list[str]:
    """`verify` for a store whose database may be too damaged to be opened. Raises StoreError."""
    if not is_there(path):
        return []
    try:
        store = Store.open(path, reading=not repair)
    except DamagedError:
        if not repair:
            return [
                f"{path / NAME}: the database is damaged; no command can read it",
                *(problem for _, problem in _bad_blobs(path)),
            ]
        with alone(path):
            lines = [f"{path / NAME}: the database is damaged", *integrity.rebuild(path)]
        return [*lines, *verify_at(path, repair=True)]
    with store:
        return verify(store, repair=repair)


def verify(store: Store, *, repair: bool = False) -> list[str]:
    """One line for each problem: a damaged database, damaged or missing blobs, objects that are not
    their address, trees that are not their object or without one. With `repair`, what is bad is
    dropped and will be built or unpacked again, and a damaged database is made anew.

    It waits for running builds when it is to repair. Raises StoreError.
    """
    with alone(store.path) if repair else store.in_use():
        return _verify(store, repair=repair)


def _verify(store: Store, *, repair: bool) -> list[str]:
    problems = integrity.problems(store.db)
    bad = dict(_bad_blobs(store.path))
    if problems and not repair:
        return [*problems, *bad.values()]
    for path in bad if repair else ():
        path.unlink()
    if problems:
        store.db.close()
        problems += integrity.rebuild(store.path)
        store.db = Database(store.path / NAME)
    elif repair and _is_lost(store):
        problems += integrity.find_layers(store)
    problems += bad.values()
    gone = _bad_objects(store)
    problems += gone.values()
    if repair and gone:
        store.db.write([("DELETE FROM object WHERE id=?", (i,)) for i in gone])
    problems += _loose_ends(store, gone, repair=repair)
    problems += _bad_trees(store, gone, repair=repair)
    if problems and repair:
        store.db.write([("DELETE FROM memo WHERE key NOT LIKE ?", (f"{elsewhere.MEMO}%",))])
    return problems


# -- blobs and objects ------------------------------------------------------------------------


def _bad_blobs(path: Path) -> Iterator[tuple[Path, str]]:
    for file in sorted((path / "blobs" / "sha256").iterdir()):
        if problem := _blob_problem(file):
            yield file, problem


def _blob_problem(path: Path) -> str | None:
    hasher = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                hasher.update(chunk)
    except OSError as error:
        return f"blob {path.name[:16]}: cannot be read: {error.strerror}"
    if hasher.hexdigest() != path.name:
        return f"blob {path.name[:16]}: its bytes hash to {hasher.hexdigest()[:16]}"
    return None


def _is_lost(store: Store) -> bool:
    """Whether the database was made for files that were there already, and no layer of theirs was
    looked for yet."""
    return any(r.name.startswith(RECOVERED) and not r.objects for r in store.roots())


def _bad_objects(store: Store) -> dict[str, str]:
    """Object id -> what is wrong with it."""
    return {item.id: problem for item in store.objects() if (problem := _object_problem(store, item))}


def _object_problem(store: Store, item: Object) -> str | None:
    path = store.blob(item.digest)
    if path is None:
        if elsewhere.is_elsewhere(store, item):
            return None
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
    if path.stat().st_size != item.size:
        return f"{item.name} ({item.id[:16]}): its blob is not as long as the database says"
    return None


def _loose_ends(store: Store, gone: Mapping[str, str], *, repair: bool) -> list[str]:
    """Roots and objects that name an object which is not there, nor was told to be bad."""
    known = {item.id for item in store.objects()}
    problems, statements = [], []
    for root in store.roots():
        lost = [i for i in root.objects if i not in known]
        problems += [
            f"root {root.name}: layer {i[:16]} is not in the store; build again"
            for i in lost
            if i not in gone
        ]
        if lost:
            statements += root_statements(root.name, [i for i in root.objects if i in known], root.blobs)
    for item in store.objects():
        for target in item.references:
            if target not in known:
                if target not in gone:
                    problems.append(
                        f"{item.name} ({item.id[:16]}): layer {target[:16]} below it is not in the store"
                    )
                statements.append(("DELETE FROM reference WHERE object=? AND target=?", (item.id, target)))
    if repair and statements:
        store.db.write(statements)
    return problems


# -- trees ------------------------------------------------------------------------------------


def _bad_trees(store: Store, gone: Mapping[str, str], *, repair: bool) -> list[str]:
    problems = []
    for tree in sorted((store.path / "trees").iterdir()):
        item = store.get(tree.name) if re.fullmatch("[0-9a-f]{64}", tree.name) else None
        if tree.name in gone:
            problem = None  # its object is the problem, which was told
        elif item is None:
            problem = f"tree {tree.name[:16]}: belongs to no layer"
        else:
            problem = _tree_problem(store, item, tree)
        if problem is not None:
            problems.append(problem)
        if repair and (problem is not None or tree.name in gone):
            remove_tree(tree)
            store.db.write([("DELETE FROM tree WHERE object=?", (tree.name,))])
    return problems


def _tree_problem(store: Store, item: Object, tree: Path) -> str | None:
    """What is wrong with an object's tree, by its content."""
    name = f"{item.name} ({item.id[:16]})"
    try:
        found = stamps.content(tree)
        if found == item.id:
            return None
        expected, lines = _compared(store, item, tree)
    except PermissionError:
        notices.say("store", f"{name}: its unpacked files are not yours to read: not checked")
        return None
    except OSError as error:
        return f"{name}: its unpacked files cannot be read: {error.strerror}: {error.filename}"
    except StoreError as error:
        return f"{name}: its files cannot be compared: {error}"
    if found == expected:  # a layer from elsewhere, whose tar is not as envd writes them
        return None
    more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return f"{name}: its unpacked files were changed: {', '.join(lines[:_SHOWN])}{more}"


def _compared(store: Store, item: Object, tree: Path) -> tuple[str, list[str]]:
    """The content that the tree should have, and how what it has differs from that."""
    # In a store that is only read, the system's own directory for such things has to do.
    place = None if store.db.reading else store.path / "tmp"
    with tempfile.TemporaryDirectory(prefix="verify-", dir=place) as directory:
        fresh = Path(directory) / "tree"
        store.unpack_into(item, fresh)
        tars = [Path(directory) / "should.tar", Path(directory) / "is.tar"]
        with tars[0].open("wb") as should, tars[1].open("wb") as actual:
            expected = stamps.content(fresh, should.write)
            stamps.content(tree, actual.write)
        found = differences(decompressed(tars[0]), decompressed(tars[1]))
        remove_tree(fresh)
        return expected, [str(line) for line in found]
