"""Images from registries into the store and into Docker: the counterpart of a push.

Blobs come side by side, go on where an earlier attempt stopped, and are verified by their digests;
what the store has is not fetched. The image keeps its manifest and configuration as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from engine.app.deliver import deliver
from engine.core.events import Event, Sink
from engine.core.oci_model import Image
from engine.core.progress import open_sink
from engine.core.project import store_path
from engine.ecosystems.images.resolver import Pinned, look_up
from engine.errors import BuildError, UsageError
from engine.lock.packages import Config, Layer
from engine.net.fetch import fetch
from engine.oci import blob_memory, kept, outputs
from store import Store
from store import pull as registries
from store.errors import TooLargeError
from store.model import Object
from store.threads import workers

_PARALLEL = 6


def pull(
    text: str,
    *,
    tags: Sequence[str] = (),
    targets: Sequence[str] = (),
    load: bool = True,
    progress: str = "auto",
) -> Image:
    """Fetch the image that `text` names, keep it under `tags` [its own name] and deliver it.

    `targets` are as in `engine.oci.outputs`. Raises UsageError, RegistryError, ResolveError,
    FetchError, BuildError, DockerError.
    """
    places = outputs.parse(targets)
    try:
        name = registries.parse_image(text)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if name.digest and not tags:
        raise UsageError(
            "a digest reference has no tag", subject=text, advice="name the image with -t NAME:TAG"
        )
    shown = f"{text.partition('@')[0]}" if ":" in text.rpartition("/")[2] else f"{text}:{name.tag}"
    with open_sink(progress) as emit:
        pinned = look_up(name, lambda line: emit(Event("log", "pull", text=line)))
        with Store.open(store_path()) as store, store.in_use():
            image = _fetched(pinned, store, emit)
            digests = [image.config_digest, *(layer.digest for layer in image.layers)]
            blob_memory.remember(store, name.host, name.name, digests)
            for tag in tags or [shown]:
                kept.keep(store, tag, image)
            size = sum(layer.size for layer in image.layers)
            emit(Event("image", text, text=image.config_digest, bytes=size))
            deliver(image, store, places, tags or [shown], load, emit)
    return image


def _fetched(pinned: Pinned, store: Store, emit: Sink) -> Image:
    config_package = next(p for p in pinned.packages if isinstance(p, Config))
    config = fetch(config_package.file.fetch(), store, emit).read_bytes()
    entries = json.loads(pinned.manifest)["layers"]
    layers = [p for p in pinned.packages if isinstance(p, Layer)]

    def made(layer: Layer, name: str) -> Object:
        """One layer: others come while it is unpacked and hashed."""
        fetch(layer.file.fetch(), store, emit)
        return _layer(store, layer, name)

    with workers(_PARALLEL) as pool:
        objects = list(pool.map(made, layers, _names(config, len(layers))))
    return Image(
        config,
        pinned.manifest,
        f"sha256:{hashlib.sha256(config).hexdigest()}",
        pinned.digest,
        tuple(kept.as_it_lies(o, entry) for o, entry in zip(objects, entries, strict=True)),
    )


def _layer(store: Store, package: Layer, name: str) -> Object:
    try:
        made = store.import_layer(f"sha256:{package.file.sha256}", package.media_type, name)
    except TooLargeError as error:
        raise BuildError(str(error), subject=package.file.url.removeprefix("oci://")) from error
    if made.diff_id != package.diff_id:
        raise BuildError(
            f"the layer is {made.diff_id}, but the image's configuration names "
            f"{package.diff_id}: the image is damaged, or not what it says",
            subject=package.file.name,
        )
    return made


def _names(config: bytes, count: int) -> list[str]:
    """What each layer is called, from the history."""
    history = json.loads(config).get("history") or []
    said = [
        " ".join(str(row.get("created_by", "")).split())[:60].removeprefix("envd: ")
        for row in history
        if not row.get("empty_layer")
    ]
    if len(said) != count:
        said = [""] * count
    return [name or f"layer-{number}" for number, name in enumerate(said, start=1)]
