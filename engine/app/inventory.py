"""What is in the store and why: every object with its kind and the roots that reach it."""

from __future__ import annotations

from dataclasses import dataclass

from store import Store
from store.model import Object
from store.objects import closure


@dataclass(frozen=True)
class Entry:
    """One object. `kind` is its builder's ("" when that was forgotten), `roots` names the roots
    that reach it: with none it goes with the next `gc`."""

    object: Object
    kind: str
    roots: tuple[str, ...]


def inventory(store: Store) -> list[Entry]:
    """Every object of the store, by name."""
    kinds = {r.output: r.name for r in store.realisations()}
    objects = {item.id: item for item in store.objects()}
    reached: dict[str, list[str]] = {}
    for root in store.roots():
        for identity in closure(root.objects, objects.get):
            reached.setdefault(identity, []).append(root.name)
    return [
        # The first stores kept the object's own name there.
        Entry(
            item,
            kind if (kind := kinds.get(item.id, "")) != item.name else "",
            tuple(sorted(reached.get(item.id, ()))),
        )
        for item in sorted(objects.values(), key=lambda o: (o.name, o.id))
    ]
