"""Which registries have which blobs: a push to another repository of one mounts them from there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from store import Store
from store.errors import ReadOnlyError


def remember(store: Store, host: str, repository: str, digests: Sequence[str]) -> None:
    """Remember that a registry has blobs in a repository: a push to another mounts them."""
    with suppress(ReadOnlyError):  # in a store that is only read, nothing is
        for digest in digests:
            store.set_memo(_where(host, digest), repository)


def known(store: Store, host: str, digest: str) -> str | None:
    """The repository of a registry that is remembered to have a blob, or None."""
    return store.memo(_where(host, digest))


def _where(host: str, digest: str) -> str:
    return f"blob:{host}:{digest}"
