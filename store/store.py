"""`Store`: the face of the content-addressed store. Each job lives in a module of its own.

On disk: `blobs/sha256/` (compressed layers and fetched files), `trees/` (unpacked layers, by
object id), `tmp/` (work in progress; each entry locked while its owner lives), `locks/`,
`db.sqlite`. Bytes are fsynced and renamed into place before the one transaction that names
them, so a crash leaves garbage for `gc`, never a lie.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from store import blobs, database, layers, locking
from store.compression import Compressor, chosen_media_type, decompressed
from store.database import Database
from store.errors import CorruptError, StoreError
from store.hashing import object_hasher
from store.model import SOURCE_DATE_EPOCH, Object, Realisation, Root
from store.removal import remove_tree


class Store:
    """A store at `path`. Safe to use from many threads and many processes at once.

    `db` is for the store's own modules; `store.gc` and `store.verify` work on a store from outside.
    """

    def __init__(self, path: Path, db: Database) -> None:
        self.path = path
        self.db = db

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open the store at `path`, making it when there is none. Raises StoreError."""
        try:
            if not (path / database.NAME).exists():
                path.mkdir(parents=True, exist_ok=True)
                # Layers are unpacked with their own owners, which others may have to traverse.
                path.chmod(0o755)
                for name in ("blobs/sha256", "trees", "tmp", "locks"):
                    (path / name).mkdir(parents=True, exist_ok=True)
            return cls(path, Database(path / database.NAME))
        except PermissionError as error:
            raise StoreError(
                f"{path}: cannot write the store; choose another with ENVD_STORE"
            ) from error

    def close(self) -> None:
        """Close the database."""
        self.db.close()

    # Blobs

    def blob(self, digest: str) -> Path | None:
        """The file of a blob ("sha256:<hex>"), or None."""
        path = blobs.blob_path(self.path, digest)
        return path if path.exists() else None

    def blob_writer(self) -> AbstractContextManager[blobs.BlobWriter]:
        """A writer for a new blob; see `BlobWriter.commit`."""
        return blobs.blob_writer(self.path, self.path / "tmp")

    def adopt_blob(self, path: Path, digest: str) -> Path:
        """Move a file of this file system, already verified to be `digest`, into place."""
        target = blobs.blob_path(self.path, digest)
        path.chmod(0o644)
        path.replace(target)
        blobs.sync_directory(target.parent)
        return target

    # Objects

    def get(self, object_id: str) -> Object | None:
        """The object of that id, or None."""
        row = self.db.connection.execute(
            "SELECT id, name, diff_id, digest, size, tar_size, media_type FROM object WHERE id=?",
            (object_id,),
        ).fetchone()
        if row is None:
            return None
        identity, name, diff_id, digest, size, tar_size, media_type = row
        return Object(
            identity, name, diff_id, digest, size, tar_size, media_type, self._references(object_id)
        )

    def _references(self, object_id: str) -> tuple[str, ...]:
        rows = self.db.connection.execute(
            "SELECT target FROM reference WHERE object=? ORDER BY position", (object_id,)
        )
        return tuple(target for (target,) in rows)

    def objects(self) -> list[Object]:
        """Every object."""
        ids = self.db.connection.execute("SELECT id FROM object ORDER BY id").fetchall()
        return [found for (i,) in ids if (found := self.get(i)) is not None]

    def capture(
        self, tree: Path, name: str, references: Sequence[str] = (), epoch: int = SOURCE_DATE_EPOCH
    ) -> Object:
        """Make an object of a directory in overlayfs upper form on the store's file system.

        Hashes and compresses in one pass, records, then moves the directory to `trees/` (or
        drops it when the object was there already).
        """
        media_type = chosen_media_type()
        identity, diff = object_hasher(), hashlib.sha256()
        with self.blob_writer() as blob:
            compressor = Compressor(blob.write, media_type)
            batch = bytearray()

            def flush() -> None:
                data = bytes(batch)
                batch.clear()
                identity.update(data)
                diff.update(data)
                compressor.write(data)

            def write(data: bytes) -> None:
                batch.extend(data)
                if len(batch) >= 1 << 20:
                    flush()

            tar_size = layers.write_tar(tree, write, epoch)
            flush()
            compressor.close()
            object_id = identity.hexdigest()
            if (existing := self.get(object_id)) is not None and self.blob(existing.digest):
                self._keep_tree(tree, object_id, epoch)
                return existing
            blob.commit()
            made = Object(
                id=object_id, name=name, diff_id=f"sha256:{diff.hexdigest()}", digest=blob.digest,
                size=blob.size, tar_size=tar_size, media_type=media_type,
                references=tuple(references),
            )
        self._keep_tree(tree, object_id, epoch)
        self._record(made)
        return made

    def _keep_tree(self, tree: Path, object_id: str, epoch: int) -> None:
        target = self._tree_path(object_id)
        if target.exists():
            remove_tree(tree)
            return
        layers.clamp_times(tree, epoch)
        # A crash may tear a tree after its rename: its contents were never synced one by one.
        # One sync of the file system is cheaper than one for each of ten thousand files.
        _sync_filesystem(tree)
        try:
            tree.rename(target)
        except OSError:
            if not target.exists():  # else another process was quicker
                raise
            remove_tree(tree)

    def _record(self, made: Object) -> None:
        self.db.write(
            [
                (
                    "INSERT OR REPLACE INTO object VALUES (?,?,?,?,?,?,?)",
                    (made.id, made.name, made.diff_id, made.digest, made.size, made.tar_size,
                     made.media_type),
                ),
                ("DELETE FROM reference WHERE object=?", (made.id,)),
                *(
                    ("INSERT INTO reference VALUES (?,?,?)", (made.id, n, target))
                    for n, target in enumerate(made.references)
                ),
            ]
        )

    def import_layer(
        self, digest: str, media_type: str, name: str, references: Sequence[str] = ()
    ) -> Object:
        """Make an object of a compressed layer blob that is in the store already.

        Raises StoreError when it is not there, CorruptError when it is no tar.
        """
        path = self.blob(digest)
        if path is None:
            raise StoreError(f"{name}: blob {digest} is not in the store")
        identity, diff, tar_size = object_hasher(), hashlib.sha256(), 0
        for chunk in decompressed(path):
            identity.update(chunk)
            diff.update(chunk)
            tar_size += len(chunk)
        made = Object(
            id=identity.hexdigest(), name=name, diff_id=f"sha256:{diff.hexdigest()}",
            digest=digest, size=path.stat().st_size, tar_size=tar_size, media_type=media_type,
            references=tuple(references),
        )
        existing = self.get(made.id)
        if existing is not None and self.blob(existing.digest) is not None:
            return existing
        self._record(made)
        return made

    # Trees

    def _tree_path(self, object_id: str) -> Path:
        return self.path / "trees" / object_id

    def tree(self, object_id: str) -> Path:
        """The unpacked tree of an object, in overlayfs upper form; unpacked when missing.

        Raises StoreError for an unknown object, CorruptError for a damaged one.
        """
        from store.trees import unpack

        target = self._tree_path(object_id)
        if target.exists():
            return target
        found = self.get(object_id)
        blob = None if found is None else self.blob(found.digest)
        if found is None or blob is None:
            raise StoreError(f"object {object_id[:16]} is not in the store")
        with self.lock(f"tree-{object_id}"), self.scratch("tree") as scratch:
            if target.exists():
                return target
            fresh = scratch / "tree"
            fresh.mkdir(mode=0o755)
            fresh.chmod(0o755)
            identity = object_hasher()

            def checked() -> Iterator[bytes]:
                for chunk in decompressed(blob):
                    identity.update(chunk)
                    yield chunk

            stream = checked()
            unpack(stream, fresh)
            for _ in stream:  # what lies behind the end-of-archive marker is hashed too
                pass
            if identity.hexdigest() != object_id:
                raise CorruptError(
                    f"{found.name}: stored layer is damaged; run `envd store verify --repair`"
                )
            _sync_filesystem(fresh)
            fresh.rename(target)
        return target

    # Realisations

    def realisation(self, key: str) -> Realisation | None:
        """What a build key gave, when its object is still here."""
        row = self.db.connection.execute(
            "SELECT key, output, name FROM realisation WHERE key=?", (key,)
        ).fetchone()
        return None if row is None else Realisation(*row)

    def realise(self, key: str, object_id: str, name: str = "") -> None:
        """Record that a build key gave an object."""
        self.db.write(
            [("INSERT OR REPLACE INTO realisation VALUES (?,?,?)", (key, object_id, name))]
        )

    def realisations(self) -> list[Realisation]:
        """Every realisation."""
        rows = self.db.connection.execute("SELECT key, output, name FROM realisation ORDER BY key")
        return [Realisation(*row) for row in rows]

    # Roots

    def add_root(self, name: str, object_ids: Sequence[str], blobs: Sequence[str] = ()) -> None:
        """Set the root `name`: what `gc` must keep. Replaces what it named before."""
        self.db.write(
            [
                ("DELETE FROM root WHERE name=?", (name,)),
                ("INSERT INTO root VALUES (?)", (name,)),
                *(
                    ("INSERT OR IGNORE INTO root_target VALUES (?,?,?)", (name, kind, target))
                    for kind, targets in (("object", object_ids), ("blob", blobs))
                    for target in targets
                ),
            ]
        )

    def remove_root(self, name: str) -> None:
        """Forget a root."""
        self.db.write([("DELETE FROM root WHERE name=?", (name,))])

    def roots(self) -> list[Root]:
        """Every root, by name."""
        found: dict[str, tuple[list[str], list[str]]] = {
            name: ([], [])
            for (name,) in self.db.connection.execute("SELECT name FROM root ORDER BY name")
        }
        for root, kind, target in self.db.connection.execute(
            "SELECT root, kind, target FROM root_target ORDER BY target"
        ):
            if root in found:
                found[root][kind == "blob"].append(target)
        return [Root(name, tuple(o), tuple(b)) for name, (o, b) in found.items()]

    # Work in progress

    def lock(self, key: str) -> AbstractContextManager[None]:
        """Hold the lock of a name, against other threads and processes."""
        return locking.locked(self.path / "locks" / key)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep `gc` away while this lasts (a shared lock)."""
        with locking.locked(self.path / "locks" / "gc", shared=True):
            yield

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A fresh directory on the store's file system, gone afterwards."""
        directory = self.path / "tmp" / f"{name[:40]}-{os.getpid()}-{os.urandom(4).hex()}"
        with locking.locked(directory.with_name(directory.name + ".lock")):
            directory.mkdir()
            try:
                yield directory
            finally:
                remove_tree(directory)
                directory.with_name(directory.name + ".lock").unlink(missing_ok=True)

    def memo(self, key: str) -> str | None:
        """A remembered text, or None."""
        row = self.db.connection.execute("SELECT value FROM memo WHERE key=?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_memo(self, key: str, value: str) -> None:
        """Remember a text."""
        self.set_memos({key: value})

    def set_memos(self, memos: Mapping[str, str]) -> None:
        """Remember texts by their keys, in one transaction."""
        self.db.write(
            [("INSERT OR REPLACE INTO memo VALUES (?,?)", item) for item in memos.items()]
        )


def _sync_filesystem(path: Path) -> None:
    """syncfs(2) of the file system that holds `path`."""
    import ctypes

    descriptor = os.open(path, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            os.sync()
    finally:
        os.close(descriptor)


__all__ = ["Store"]
