"""What is remembered of placed layers: where each was placed, upon which others, and what came of it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from engine.core.derivation import Derivation, Fetch
from engine.realise import group, placed
from store import Store, skeleton
from store.hashing import hash_value
from store.model import Object
from store.skeleton import Node, View


class Placing:
    """What placing layers needs to know, and what came of it before. Used from many threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._guard = threading.Lock()
        self._skeletons: dict[str, Node] = {}
        self._fresh: dict[str, str] = {}  # memos to be written
        self._added: list[str] = []  # ids of the layers in `_view`
        self._view = View()

    def before(self, derivation: Derivation, outputs: Mapping[str, str]) -> Object | None:
        """What came of this very placing before, though its bytes may be gone."""
        key = self.memo(derivation, outputs)
        found = self._fresh.get(key) or self._store.memo(key)
        return None if found is None else self._store.get(found)

    def done(self, derivation: Derivation, outputs: Mapping[str, str], made: Object) -> None:
        """Remember what came of a placing; written by `remember`."""
        with self._guard:
            self._fresh[self.memo(derivation, outputs)] = made.id

    def remember(self) -> None:
        """Write down what was found out: in one transaction, since there is much of it."""
        with self._guard:
            if self._fresh:
                self._store.set_memos(self._fresh)

    def memo(self, derivation: Derivation, outputs: Mapping[str, str]) -> str:
        """The key under which is remembered what came of a placing."""
        raw = placed.raw_of(derivation)
        own = [outputs[i.derivation.drv_id] for i in raw.inputs if i.role == "layer"]
        return "placed " + hash_value(
            "envd placing v1",
            {
                "version": derivation.version,
                "parameters": dict(derivation.parameters),
                "own": own if derivation.parameters.get("overlay") else [],
                "layers": [outputs[i.derivation.drv_id] for i in derivation.inputs],
            },
        )

    def fit(self, derivation: Derivation, outputs: Mapping[str, str]) -> placed.Placement:
        """What has to change of the raw layer. Raises BuildError when it does not fit."""
        raw, *below = (i.derivation for i in derivation.inputs)
        ids = [outputs[d.drv_id] for d in below]
        with self._guard:
            over = None
            if derivation.parameters.get("overlay"):
                over = View()
                for item in placed.raw_of(derivation).inputs:
                    if item.role == "layer":
                        over.add(self._skeleton(outputs[item.derivation.drv_id]))
            around = placed.Surroundings(
                self._view_of(ids), lambda path: self._owner(path, below, outputs), over
            )
            return placed.fit(derivation, self._skeleton(outputs[raw.drv_id]), around)

    def _skeleton(self, object_id: str) -> Node:
        found = self._skeletons.get(object_id)
        if found is None:
            found = skeleton.of_object(self._store, object_id, self._fresh)
            self._skeletons[object_id] = found
        return found

    def _view_of(self, ids: Sequence[str]) -> View:
        """The merged view of layers. They are asked for from the bottom up: each time a few more."""
        if self._added != ids[: len(self._added)]:
            self._added, self._view = [], View()
        for object_id in ids[len(self._added) :]:
            self._view.add(self._skeleton(object_id))
            self._added.append(object_id)
        return self._view

    def _owner(self, path: bytes, layers: Sequence[Derivation | Fetch], outputs: Mapping[str, str]) -> str:
        """The name of the uppermost of `layers` that has `path`: the package's, in a group."""
        for layer in reversed(layers):
            if (
                not isinstance(layer, Derivation)
                or skeleton.node_at(self._skeleton(outputs[layer.drv_id]), path) is None
            ):
                continue
            raw = placed.raw_of(layer)
            members = [i.derivation for i in raw.inputs if raw.kind == group.KIND]
            return self._owner(path, members, outputs) if members else layer.name
        return "a layer below"
