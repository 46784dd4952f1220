"""Layers of a registry image: fetched as they lie there, and kept so.

The compressed blob is the one that the registry has: pushing the result back skips it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.core.derivation import Derivation, Fetch, Input
from engine.core.events import Sink
from engine.errors import BuildError
from engine.lock.packages import Layer, LockedPackage
from engine.net.fetch import fetch
from engine.oci import blob_memory
from engine.realise.context import BuildContext, Imported
from store import Store
from store.model import Object

KIND = "image-layer"
VERSION = 1


def layers(packages: Sequence[LockedPackage]) -> list[Derivation]:
    """The derivations of an image's layers, bottom first."""
    return [_layer(p) for p in packages if isinstance(p, Layer)]


def _layer(package: Layer) -> Derivation:
    file = package.file
    return Derivation(
        KIND,
        package.name,
        VERSION,
        (Input("file", file.fetch()),),
        {"diff_id": package.diff_id, "media_type": package.media_type},
    )


def build(context: BuildContext) -> Imported:
    """Name the blob. The scheduler verifies what is in it."""
    ((_, path),) = context.files
    return Imported(
        f"sha256:{path.name}", str(context.parameters["media_type"]), str(context.parameters["diff_id"])
    )


def _remember(layer: Fetch, store: Store) -> None:
    """A push to another repository of the layer's registry mounts it from its own."""
    host, _, name = layer.url.removeprefix("oci://").partition("/")
    if blob_memory.known(store, host, layer.output) is None:
        blob_memory.remember(store, host, name, [layer.output])


def as_pinned(derivation: Derivation, made: Object, store: Store, emit: Sink) -> Object:
    """`made`, under the name that the plan gives it and with the blob that the lock pins.

    The store may have the same bytes from elsewhere, under another name or compressed in another
    way: what it happens to have must not decide the image.
    """
    made = replace(made, name=derivation.name)
    if derivation.kind != KIND:
        return made
    wanted = derivation.inputs[0].derivation
    if not isinstance(wanted, Fetch):
        raise BuildError("one of its layers is not a file", subject=derivation.name)
    _remember(wanted, store)
    if wanted.output == made.digest:
        return made
    path = fetch(wanted, store, emit)
    return replace(
        made,
        digest=wanted.output,
        size=path.stat().st_size,
        media_type=str(derivation.parameters["media_type"]),
    )
