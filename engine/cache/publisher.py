"""Sharing what was built: records of a finished plan, signed, and the layers of its image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from engine.cache import pack
from engine.cache.keys import SigningKey
from engine.cache.place import Blob, Place, Sent
from engine.cache.record import Record
from engine.core.closure import in_order
from engine.core.derivation import Derivation
from engine.oci.assemble import digest_of
from engine.realise import placed, warnings_kept
from engine.realise.placing import Placing
from engine.realise.substitution import milliseconds_of
from store import Store
from store.elsewhere import layer_file
from store.model import Object


def records(targets: Sequence[Derivation], outputs: Mapping[str, str], store: Store) -> list[Record]:
    """What is known of a finished plan: `outputs` maps drv_ids to object ids. Unsigned."""
    placing = Placing(store)
    found: dict[str, Record] = {}
    for derivation in in_order(targets):
        made = store.get(outputs[derivation.drv_id])
        if made is None:
            continue
        is_placed = derivation.kind == placed.KIND
        key = placing.memo(derivation, outputs) if is_placed else derivation.build_key(outputs)
        found[key] = Record(
            key,
            derivation.kind,
            _of_plan(made, derivation, outputs),
            0 if is_placed else milliseconds_of(store, made.id),
            tuple(warnings_kept.known(store, made.id)),
        )
    return list(found.values())


def _of_plan(made: Object, derivation: Derivation, outputs: Mapping[str, str]) -> Object:
    """A layer as this plan has it: the store may know it as built upon other layers, which nobody who takes
    this one has, when these gave the same bytes."""
    known = set(outputs.values())
    if known.issuperset(made.references):
        return made
    below = (outputs[i.derivation.drv_id] for i in derivation.inputs if i.role == "layer")
    return replace(made, references=tuple(below))


def publish(
    place: Place,
    targets: Sequence[Derivation],
    outputs: Mapping[str, str],
    store: Store,
    key: SigningKey | None,
    *,
    salt: str = "",
    head: str = "",
) -> Sent:
    """Sign what a finished plan gave (unless there is no key), and keep it at `place`, under the plan's tag
    and the moving tag `head`. Raises RegistryError, LostError, OSError."""
    signed = [
        r if key is None else r.signed(key.sign(r.message(salt))) for r in records(targets, outputs, store)
    ]
    layers = [x for t in targets if (x := store.get(outputs[t.drv_id])) is not None]
    tag = pack.plan_tag([t.drv_id for t in targets], salt)
    config, manifests = pack.write(signed, layers, tag)
    named = list(zip(pack.tags(tag, len(manifests)), manifests, strict=True))
    if head:
        named.insert(0, (head, manifests[0]))
    blobs = [_blob(x, store) for x in {x.digest: x for x in layers}.values()]
    return place.publish([*blobs, Blob(digest_of(config), len(config), config)], named)


def _blob(item: Object, store: Store) -> Blob:
    def file() -> Path:
        return layer_file(store, item)

    return Blob(item.digest, item.size, file)
