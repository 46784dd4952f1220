"""Loading an image that the store keeps into Docker. Apart from a push, which needs no Docker client."""

from __future__ import annotations

from collections.abc import Sequence

from engine.app.caches import supply
from engine.app.kept_images import named, opened
from engine.core.oci_model import Image
from engine.core.progress import open_sink
from engine.docker import load as into_docker
from engine.oci import kept


def load(name: str, tags: Sequence[str] = (), *, progress: str = "auto") -> Image:
    """Load the image that the store keeps under `name` into Docker, under `tags` [`name`].

    Raises UsageError when there is none, DockerError.
    """
    further = [tag for tag in tags if tag != name]
    with opened(reading=not further) as store, open_sink(progress) as emit, store.in_use():
        image = named(store, name)
        supply(store, emit)
        for tag in further:
            kept.keep(store, tag, image)
        for tag in tags or [name]:
            into_docker.load(image, store, tag, emit)
    return image
