"""Images in the store: config and manifest kept as blobs, under a root with the image's name.

So an image can be listed, described, loaded and pushed again without its spec. A root
"image:NAME:TAG" names the layers' objects, and the two blobs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from engine.core.oci_model import LAYER_TYPES, Image
from store import Store
from store.errors import CorruptError
from store.model import Object, Root

PREFIX = "image:"
_LARGEST_MANIFEST = 4 << 20  # what registries take


@dataclass(frozen=True)
class Kept:
    """An image under a name."""

    name: str
    image: Image


def keep(store: Store, name: str, image: Image) -> None:
    """Keep `image` under `name`, in place of what was there."""
    for body, digest in ((image.config, image.config_digest), (image.manifest, image.manifest_digest)):
        there = store.blob(digest)
        if there is None or there.read_bytes() != body:
            with store.blob_writer() as writer:
                writer.write(body)
                writer.commit(digest)
    # A pulled layer may be compressed otherwise than the object that is its content.
    own = {found.digest for x in image.layers if (found := store.get(x.id)) is not None}
    others = [layer.digest for layer in image.layers if layer.digest not in own]
    store.add_root(
        PREFIX + name,
        [layer.id for layer in image.layers],
        [image.config_digest, image.manifest_digest, *others],
    )


def listed(store: Store) -> Iterator[Kept]:
    """Every kept image, by name."""
    for root in store.roots():
        if root.name.startswith(PREFIX) and (image := _image(store, root)) is not None:
            yield Kept(root.name.removeprefix(PREFIX), image)


def find(store: Store, name: str) -> Image | None:
    """The image kept under `name`. Raises CorruptError when it is damaged."""
    root = next((root for root in store.roots() if root.name == PREFIX + name), None)
    if root is None:
        return None
    image = _image(store, root)
    if image is None and any(store.blob(d) and not _intact(store, d) for d in root.blobs):
        raise CorruptError(
            f"{name}: its configuration in the store is damaged; run `envd store verify --repair` "
            "and build again"
        )
    return image


def _intact(store: Store, digest: str) -> bytes | None:
    """A small blob, compared with its digest; None when it is not there, damaged, or not small."""
    path = store.blob(digest)
    if path is None or path.stat().st_size > _LARGEST_MANIFEST:
        return None
    body = path.read_bytes()
    return body if f"sha256:{hashlib.sha256(body).hexdigest()}" == digest else None


def _image(store: Store, root: Root) -> Image | None:
    """The image that a root names, None when something of it is gone."""
    bodies = {}
    for digest in root.blobs:
        if (body := _intact(store, digest)) is not None:
            bodies[digest] = body
    objects = [found for i in root.objects if (found := store.get(i)) is not None]
    by_diff_id = {item.diff_id: item for item in objects}
    for digest, body in bodies.items():
        try:
            document = json.loads(body)
            config_digest = str(document["config"]["digest"])
            config = bodies[config_digest]
            diff_ids = json.loads(config)["rootfs"]["diff_ids"]
            layers = tuple(
                as_it_lies(by_diff_id[diff_id], entry)
                for diff_id, entry in zip(diff_ids, document["layers"], strict=True)
            )
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
            continue  # the config, or one whose layers were collected
        return Image(config, body, config_digest, digest, layers)
    return None


def as_it_lies(item: Object, entry: Mapping[str, Any]) -> Object:
    """An object with the blob that a manifest's entry names."""
    media_type = LAYER_TYPES.get(str(entry["mediaType"]), item.media_type)
    return replace(item, digest=str(entry["digest"]), size=int(entry["size"]), media_type=media_type)
