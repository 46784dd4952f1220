"""Which registries have which blobs: a push asks for none that is there, and mounts those of another
repository from there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from store import Store, elsewhere
from store.errors import ReadOnlyError

_MOST = 4  # repositories that are remembered of one blob


def remember(store: Store, host: str, repository: str, digests: Sequence[str]) -> None:
    """Remember that a registry has blobs in a repository."""
    memos = {}
    for digest in digests:
        there = places(store, host, digest)
        if there[:1] != [repository]:
            others = [place for place in there if place != repository]
            memos[_where(host, digest)] = "\n".join([repository, *others][:_MOST])
    if memos:
        with suppress(ReadOnlyError):  # in a store that is only read, nothing is
            store.set_memos(memos)


def forget(store: Store, host: str, repository: str, digest: str) -> None:
    """Forget that a repository has a blob: it has not."""
    there = [place for place in places(store, host, digest) if place != repository]
    with suppress(ReadOnlyError):
        store.set_memo(_where(host, digest), "\n".join(there))


def places(store: Store, host: str, digest: str) -> list[str]:
    """The repositories of a registry that are remembered to have a blob, the last one first, and that of
    a cache that has it."""
    found = (store.memo(_where(host, digest)) or "").split()
    place = elsewhere.place_of(store, digest) or ""
    cache = place.removeprefix(f"{host}/")
    return [*found, cache] if cache != place and cache not in found else found


def known(store: Store, host: str, digest: str) -> str | None:
    """The repository of a registry that was last remembered to have a blob, or None."""
    return next(iter(places(store, host, digest)), None)


def _where(host: str, digest: str) -> str:
    return f"blob:{host}:{digest}"
