"""What the scheduler knows of layers that other machines have built, and what it tells them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from engine.core.derivation import Derivation, Fetch
from engine.core.events import Event, Sink
from engine.errors import FetchError
from store import Store

_TOOK = "took "  # and an object's id -> milliseconds


class Substituter(Protocol):
    """Who knows what other machines have built. It tells the store: which build key gave which object,
    what came of placing a layer, and where the bytes are. So the scheduler finds it as it finds its own."""

    @property
    def took(self) -> Mapping[str, float]:
        """The ids of objects that others have built -> the seconds that building them took."""

    def look_up(self, targets: Sequence[Derivation]) -> bool:
        """Tell the store what is known of these derivations and of what they are made of; whether
        anything is new. What does not answer is said, not raised."""


def took_memo(object_id: str, seconds: float) -> dict[str, str]:
    """The memo that says how long building an object took."""
    return {_TOOK + object_id: str(round(seconds * 1000))}


def milliseconds_of(store: Store, object_id: str) -> int:
    """How long building an object took, 0 where that is not known."""
    text = store.memo(_TOOK + object_id) or "0"
    return int(text) if text.isdecimal() else 0


def kept_file(wanted: Fetch, error: FetchError, store: Store, emit: Sink) -> Path:
    """A file that its source does not give, from where somebody keeps it. Raises `error` when nobody does."""
    place = None
    if store.supplier is not None and wanted.size:
        place = store.supplier.bring_file(wanted.output, wanted.size, wanted.name)
    path = store.checked_blob(wanted.output)
    if place is None or path is None:
        raise error
    emit(Event("message", wanted.name, id=wanted.drv_id, text=f"taken from {place}, since: {error}"))
    return path
