"""Layers whose bytes are elsewhere: the store knows what they are, and somebody brings them when they
are needed.

Which place has a blob is a memo; it may be wrong by now. What a `Supplier` brings is held to digest
and size, so the worst that a place can do is to have nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from store.errors import LostError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from store.model import Object
    from store.store import Store

MEMO = "elsewhere:"  # and a digest -> the name of a place
NOWHERE = "-"  # of what is only known: what was built upon it is somewhere


class Supplier(Protocol):
    """Who brings layers. Used from many threads."""

    def has(self, item: Object) -> bool:
        """Whether it is thought that the layer's bytes can be brought."""

    def bring(self, items: Sequence[Object]) -> None:
        """Bring the bytes of layers into the store, side by side. Raises LostError for those that
        cannot be had any more."""

    def bring_file(self, digest: str, size: int, name: str) -> str | None:
        """Bring a file that its own source does not give into the store; the place that had it. `size`
        is in bytes."""


def place_of(store: Store, digest: str) -> str | None:
    """The name of the place that was said to have a blob, or None."""
    return store.memo(MEMO + digest)


def is_elsewhere(store: Store, item: Object) -> bool:
    """Whether a layer's bytes are not here, which is as it should be."""
    return store.blob(item.digest) is None and place_of(store, item.digest) is not None


def gather(store: Store, items: Sequence[Object]) -> None:
    """Have the bytes of all these layers here, as far as somebody can bring what lacks. Raises LostError."""
    lacking = list({x.digest: x for x in items if not store.has_blob(x)}.values())
    if lacking and store.supplier is not None:
        wanted = [x for x in lacking if store.supplier.has(x)]
        if wanted:
            store.supplier.bring(wanted)


def layer_file(store: Store, item: Object) -> Path:
    """The file of a layer's blob, which is brought when it is not here. Raises StoreError: LostError when
    it was said to be elsewhere, and is not."""
    gather(store, [item])
    path = store.blob(item.digest)
    if path is not None:
        return path
    place = place_of(store, item.digest)
    if place is not None:
        where = "nobody is known to have it" if place == NOWHERE else f"{place} is not asked for it"
        raise LostError([item], f"its layer is not in the store, and {where}; build again")
    raise StoreError(f"{item.name}: its layer is not in the store; build (or pull) again")
