"""`Store`: the face of the content-addressed store. Each job lives in a module of its own.

On disk: `blobs/sha256/` (compressed layers and fetched files), `trees/` (unpacked layers, by
object id), `tmp/` (work in progress; each entry locked while its owner lives), `locks/` (of what
is being done now), `db.sqlite`. Bytes are fsynced and renamed into place before the one transaction
that names them, so a crash leaves garbage for `gc`, never a lie. A tree or file is checked before a
command uses it for the first time.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Self

from store import blobs, database, elsewhere, layers, locking, notices, objects, private, stamps, usage
from store.compression import Compressor, chosen_media_type
from store.database import Database
from store.errors import (
    CorruptError,
    ReadOnlyError,
    StoreError,
    UnmadeError,
    UnstorableError,
    explained,
    not_readable,
    not_writable,
)
from store.hashing import object_hasher
from store.model import SOURCE_DATE_EPOCH, Object, Realisation, Root
from store.removal import remove_tree
from store.roots import found_again, root_statements
from store.unpacking import decompressed_layer, sync_filesystem, unpack_into


class Store:
    """A store at `path`. Safe to use from many threads and many processes at once.

    `db` is for the store's own modules; `store.gc` and `store.verify` work on a store from outside.
    """

    def __init__(self, path: Path, db: Database) -> None:
        self.path = path
        self.db = db
        self.supplier: elsewhere.Supplier | None = None  # who brings layers that are elsewhere
        self._sound: set[str] = set()  # trees and blobs that this process has checked

    @classmethod
    def open(cls, path: Path, *, reading: bool = False) -> Store:
        """Open the store at `path`, making it when there is none.

        With `reading`, one that is there need not be writable, and is not written. A store whose
        database was lost keeps its files, under a root that says so. Raises StoreError.
        """
        file = path / database.NAME
        if reading and is_store(path) and (file.stat().st_size or not os.access(file, os.W_OK)):
            try:
                return cls(path, Database(file, reading=True))
            except UnmadeError:  # the disk was full then, say: it is as if there were none
                if not os.access(file, os.W_OK):
                    raise
        try:
            private.prepare(path)
        except (FileExistsError, NotADirectoryError) as error:
            raise StoreError(
                f"{error.filename}: is not a directory; choose another store with ENVD_STORE"
            ) from error
        except OSError as error:
            if isinstance(error, PermissionError) or error.errno == errno.EROFS:
                raise ReadOnlyError(not_writable(path)) from error
            raise StoreError(
                explained(error, path)
                or f"{error.filename or path}: {error.strerror}; choose another store with ENVD_STORE"
            ) from error
        if not all(os.access(p, os.W_OK) for p in (path, path / "tmp", file) if p.exists()):
            raise ReadOnlyError(not_writable(path))
        return cls(path, Database(file, made=lambda: found_again(path)))

    def close(self) -> None:
        """Close the database."""
        self.db.close()

    def __enter__(self) -> Self:
        """`with Store.open(path) as store`: closed at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Blobs

    def blob(self, digest: str) -> Path | None:
        """The file of a blob ("sha256:<hex>"), or None."""
        path = blobs.blob_path(self.path, digest)
        return path if path.exists() else None

    def checked_blob(self, digest: str) -> Path | None:
        """The file of a blob whose bytes were compared with `digest` by this process; None when it
        is not there, or was damaged: then it was removed, which is said."""
        path = self.blob(digest)
        if path is None or digest in self._sound:
            return path
        try:
            blobs.check(path, digest, digest)
        except CorruptError:
            notices.say("store", f"{path}: the stored file is damaged; it is removed and fetched again")
            path.unlink(missing_ok=True)
            return None
        self._sound.add(digest)
        return path

    def blob_writer(self) -> AbstractContextManager[blobs.BlobWriter]:
        """A writer for a new blob; see `BlobWriter.commit`."""
        return blobs.blob_writer(self.path, self.path / "tmp")

    def adopt_blob(self, path: Path, digest: str) -> Path:
        """Move a file of this file system, already verified to be `digest`, into place."""
        target = blobs.blob_path(self.path, digest)
        path.chmod(0o600)
        path.replace(target)
        blobs.sync_directory(target.parent)
        self._sound.add(digest)
        return target

    # Objects

    def get(self, object_id: str) -> Object | None:
        """The object of that id, or None."""
        return objects.get(self.db, object_id)

    def whole(self, object_id: str) -> Object | None:
        """The object of that id when its blob is there and as long as it should be, or can be brought:
        an object without its bytes has to be made again."""
        found = self.get(object_id)
        return found if found is not None and self.can_have(found) else None

    def can_have(self, item: Object) -> bool:
        """Whether the bytes of an object are here, or thought to be where somebody can bring them from."""
        return self.has_blob(item) or (self.supplier is not None and self.supplier.has(item))

    def has_blob(self, item: Object) -> bool:
        """Whether an object's blob is here, and as long as it should be."""
        try:
            return blobs.blob_path(self.path, item.digest).stat().st_size == item.size
        except FileNotFoundError:
            return False

    def objects(self) -> list[Object]:
        """Every object."""
        return objects.every(self.db)

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
            existing = self.whole(object_id)
            if existing is not None and existing.digest != blob.digest:
                self._keep_tree(tree, object_id, epoch)  # compressed in another way
                return existing
            blob.commit()  # over what may be damaged, also when it was there
            if existing is not None:
                self._keep_tree(tree, object_id, epoch)
                return existing
            made = Object(
                id=object_id,
                name=name,
                diff_id=f"sha256:{diff.hexdigest()}",
                digest=blob.digest,
                size=blob.size,
                tar_size=tar_size,
                media_type=media_type,
                references=tuple(references),
            )
        self.db.write(objects.statements(made))
        self._keep_tree(tree, object_id, epoch)
        return made

    def _keep_tree(self, tree: Path, object_id: str, epoch: int) -> None:
        target = self._tree_path(object_id)
        if target.exists():
            remove_tree(tree)
            return
        layers.clamp_times(tree, epoch)
        # A crash may tear a tree after its rename: its contents were never synced one by one.
        # One sync of the file system is cheaper than one for each of ten thousand files.
        sync_filesystem(tree)
        stamp = stamps.stamp(tree)
        try:
            tree.rename(target)
        except OSError:
            if not target.exists():  # else another process was quicker
                raise
            remove_tree(tree)
            return
        self._stamped(object_id, stamp)
        self._sound.add(object_id)

    def _stamped(self, object_id: str, stamp: str, content: str = "") -> None:
        self.db.write([("INSERT OR REPLACE INTO tree VALUES (?,?,?)", (object_id, stamp, content))])

    def import_layer(self, digest: str, media_type: str, name: str) -> Object:
        """Make an object of a compressed layer blob that is in the store already.

        Raises StoreError when it is not there, CorruptError when it is no tar.
        """
        path = self.blob(digest)
        if path is None:
            raise StoreError(f"{name}: blob {digest} is not in the store")
        identity, diff, tar_size = object_hasher(), hashlib.sha256(), 0
        for chunk in decompressed_layer(path, name, foreign=True):
            identity.update(chunk)
            diff.update(chunk)
            tar_size += len(chunk)
        made = Object(
            id=identity.hexdigest(),
            name=name,
            diff_id=f"sha256:{diff.hexdigest()}",
            digest=digest,
            size=path.stat().st_size,
            tar_size=tar_size,
            media_type=media_type,
        )
        if (existing := self.whole(made.id)) is not None:
            return existing
        self.db.write(objects.statements(made))
        return made

    # Trees

    def _tree_path(self, object_id: str) -> Path:
        return self.path / "trees" / object_id

    def tree(self, object_id: str) -> Path:
        """The unpacked tree of an object, in overlayfs upper form; unpacked when it is missing, or
        is not what it was any more, which is said.

        Raises StoreError for an unknown object, CorruptError for a damaged one.
        """
        target = self._tree_path(object_id)
        if object_id in self._sound and target.exists():
            return target
        found = self.get(object_id)
        if found is None:
            raise StoreError(f"object {object_id[:16]} is not in the store")
        with self.lock(f"tree-{object_id}", f"unpacks {found.name}"):
            if target.exists() and not self.is_unchanged(found):
                # Not removed: another build may have it as a lower directory just now.
                target.rename(self.path / "tmp" / f"changed-{object_id[:16]}-{os.urandom(4).hex()}")
            if not target.exists():
                self._unpack(found, target)
        self._sound.add(object_id)
        return target

    def is_unchanged(self, item: Object) -> bool:
        """Whether the tree of an object is as it was unpacked or captured."""
        target = self._tree_path(item.id)
        rows = self.db.read("SELECT stamp, content FROM tree WHERE object=?", (item.id,))
        stamp, content = rows[0] if rows else ("", "")
        now = stamps.stamp(target)
        if now == stamp:
            return True
        # A hard link, or a copy of the store, has moved what the stamp is made of. Or it was
        # changed: the content tells.
        try:
            if stamps.content(target) in (item.id, content):
                self._stamped(item.id, now, content)
                return True
        except UnstorableError:
            pass  # such a name was in no layer
        if rows:
            notices.say(
                "store", f"{item.name}: somebody has changed its files in {target}; they are unpacked again"
            )
        return False

    def _unpack(self, item: Object, target: Path) -> None:
        with self.scratch("tree") as scratch:
            fresh = scratch / "tree"
            self.unpack_into(item, fresh)
            sync_filesystem(fresh)
            stamp = stamps.stamp(fresh)
            fresh.rename(target)
            self._stamped(item.id, stamp)

    def unpack_into(self, item: Object, fresh: Path) -> None:
        """Unpack an object's blob as the new directory `fresh`, and compare it with its id.

        Raises StoreError when it is not there, CorruptError when it is damaged.
        """
        unpack_into(elsewhere.layer_file(self, item), item, fresh)

    # Realisations

    def realisation(self, key: str) -> Realisation | None:
        """What a build key gave, when its object is still here."""
        rows = self.db.read("SELECT key, output, name FROM realisation WHERE key=?", (key,))
        return Realisation(*rows[0]) if rows else None

    def realise(
        self, key: str, object_id: str, name: str = "", memos: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Record that a build key gave an object, with `memos` in the same transaction."""
        self.db.write(
            [
                ("INSERT OR REPLACE INTO realisation VALUES (?,?,?)", (key, object_id, name)),
                *_memo_statements(memos),
            ]
        )

    def realisations(self) -> list[Realisation]:
        """Every realisation."""
        rows = self.db.read("SELECT key, output, name FROM realisation ORDER BY key")
        return [Realisation(*row) for row in rows]

    # Roots

    def add_root(self, name: str, object_ids: Sequence[str], blobs: Sequence[str] = ()) -> None:
        """Set the root `name`: what `gc` must keep. Replaces what it named before."""
        self.db.write(root_statements(name, object_ids, blobs))

    def remove_root(self, name: str) -> None:
        """Forget a root."""
        self.db.write([("DELETE FROM root WHERE name=?", (name,))])

    def roots(self) -> list[Root]:
        """Every root, by name."""
        found: dict[str, tuple[list[str], list[str]]] = {
            name: ([], []) for (name,) in self.db.read("SELECT name FROM root ORDER BY name")
        }
        for root, kind, target in self.db.read("SELECT root, kind, target FROM root_target ORDER BY target"):
            if root in found:
                found[root][kind == "blob"].append(target)
        return [Root(name, tuple(o), tuple(b)) for name, (o, b) in found.items()]

    # Work in progress

    def lock(
        self, key: str, doing: str = "", check: Callable[[], None] | None = None
    ) -> AbstractContextManager[None]:
        """Hold the lock of a name, against other threads and processes; see `locking.locked`."""
        return locking.locked(self.path / "locks" / key, doing=doing, check=check)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep `gc` away while this lasts (a shared lock)."""
        if self.db.reading and not (self.path / "locks" / "gc").exists():
            yield  # nobody has ever collected here, and nothing can be written
            return
        with usage.in_use(self.path):
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

    def sweep(self) -> None:
        """Remove the work of processes that were killed, as far as that goes at once."""
        for entry in (self.path / "tmp").glob("*.lock"):
            with suppress(OSError), locking.attempt(entry) as abandoned:
                if abandoned:
                    remove_tree(entry.with_suffix(""))
        for entry in (self.path / "locks").iterdir():
            if entry.name != "gc":
                with suppress(OSError), locking.attempt(entry):
                    pass  # gone with it, unless somebody holds it

    def memo(self, key: str) -> str | None:
        """A remembered text, or None."""
        rows = self.db.read("SELECT value FROM memo WHERE key=?", (key,))
        return str(rows[0][0]) if rows else None

    def set_memo(self, key: str, value: str) -> None:
        """Remember a text."""
        self.set_memos({key: value})

    def set_memos(self, memos: Mapping[str, str]) -> None:
        """Remember texts by their keys, in one transaction."""
        self.db.write(_memo_statements(memos))


def _memo_statements(memos: Mapping[str, str]) -> list[database.Statement]:
    return [("INSERT OR REPLACE INTO memo VALUES (?,?)", item) for item in memos.items()]


@contextmanager
def existing(path: Path, *, reading: bool = True) -> Iterator[Store | None]:
    """The store at `path` while this lasts, or None where there is none: looking at one does not
    make it. Raises StoreError."""
    if not is_there(path):
        yield None
        return
    with Store.open(path, reading=reading) as store:
        yield store


def is_there(path: Path) -> bool:
    """Whether there is a store at `path`, or the files of one that lost its database. Raises
    ReadOnlyError when it is another user's."""
    return is_store(path) or (path / "blobs").exists()


def is_store(path: Path) -> bool:
    """Whether there is a store at `path`. Raises ReadOnlyError when it is another user's."""
    try:
        return (path / database.NAME).exists()
    except PermissionError as error:
        raise ReadOnlyError(not_readable(path)) from error


__all__ = ["Store"]
