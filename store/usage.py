"""Who uses a store: commands share it, and whoever removes something waits until it is alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from store import locking, private
from store.errors import ReadOnlyError, StoreError, explained


@contextmanager
def in_use(path: Path) -> Iterator[None]:
    """Keep `gc` away from the store at `path` while this lasts, be it there already or not.

    Raises StoreError when it cannot be written.
    """
    with _held(
        path, locking.locked(path / "locks" / "gc", shared=True, doing="removes what nothing needs any more")
    ):
        yield


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no command uses the store at `path`, and let none begin while this lasts.

    Raises StoreError when it cannot be written.
    """
    with _held(path, locking.locked(path / "locks" / "gc", lasting=True, doing="uses the store")):
        yield


@contextmanager
def _held(path: Path, lock: AbstractContextManager[None]) -> Iterator[None]:
    try:
        try:
            private.prepare(path)
        except ReadOnlyError:  # whoever reads it keeps others from collecting garbage all the same
            if not (path / "locks" / "gc").exists():
                raise
        lock.__enter__()
    except (FileExistsError, NotADirectoryError) as error:
        raise StoreError(
            f"{error.filename}: is not a directory; choose another store with ENVD_STORE"
        ) from error
    except OSError as error:
        raise StoreError(
            explained(error, path)
            or f"{error.filename or path}: {error.strerror}; choose another store with ENVD_STORE"
        ) from error
    try:
        yield
    finally:
        lock.__exit__(None, None, None)
