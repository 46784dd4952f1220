"""Images that the store keeps, without their specs: pushed as they are."""

from __future__ import annotations

from collections.abc import Sequence

from engine.app import push as publish
from engine.app.caches import supply
from engine.core.oci_model import Image
from engine.core.progress import open_sink
from engine.core.project import store_path
from engine.errors import UsageError
from engine.oci import kept
from grammar.nearest import suggest
from store import Store
from store.errors import ReadOnlyError


def push(name: str, reference: str, *, also: Sequence[str] = (), progress: str = "auto") -> str:
    """Push the image that the store keeps under `name`, as it is; returns its manifest's digest.

    Raises UsageError when there is none, RegistryError.
    """
    target, tags = publish.reference(reference), publish.tags(also)
    with opened(reading=True) as store, open_sink(progress) as emit, store.in_use():
        image = named(store, name)
        supply(store, emit)
        publish.push(image, store, target, emit, tags)
    return image.manifest_digest


def opened(*, reading: bool) -> Store:
    """The store, to be written where it can be: layers may come to it. With `reading`, one that can only
    be read will do."""
    try:
        return Store.open(store_path())
    except ReadOnlyError:
        if not reading:
            raise
        return Store.open(store_path(), reading=True)


def named(store: Store, name: str) -> Image:
    """The image that the store keeps under `name`. Raises UsageError when there is none, CorruptError."""
    image = kept.find(store, name)
    if image is None:
        hint = suggest(name, [item.name for item in kept.listed(store)])
        raise UsageError(f"the store has no image '{name}'{hint or '; `envd images` lists them'}")
    return image
