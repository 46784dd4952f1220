"""A store with an image of one file, for tests that are not about building."""

from __future__ import annotations

import json
import os

from engine.core.events import silent
from engine.core.oci_model import Image, ImageConfig
from engine.docker.load import load as load_into_docker
from engine.oci import kept
from engine.oci.assemble import assemble
from store import Store

PACKAGES = ("numpy", "six>=1.16")


def tiny_image(store: Store, name: str) -> Image:
    """An image of one layer with one file (which says `name`), kept in the store under `name`."""
    with store.scratch("tiny") as scratch:
        tree = scratch / "tree"
        (tree / "etc").mkdir(parents=True)
        (tree / "etc" / "greeting").write_text(name)
        layer = store.capture(tree, "files-greeting")
    labels = (("io.envd.packages", json.dumps(PACKAGES)), ("io.envd.python", "3.11"))
    config = ImageConfig(
        env=(("PATH", "/bin"),),
        entrypoint=("/bin/sh",),
        cmd=("-c", "exit 3"),
        workdir="/root",
        labels=labels,
        exposed_ports=("8888/tcp",),
    )
    image = assemble([layer], config)
    with store.in_use():
        kept.keep(store, name, image)
    return image


def load(store: Store, image: Image, name: str, host: str) -> None:
    """Load it into the Docker engine at `host`."""
    before = os.environ.get("DOCKER_HOST")
    os.environ["DOCKER_HOST"] = host
    try:
        load_into_docker(image, store, name, silent)
    finally:
        if before is None:
            del os.environ["DOCKER_HOST"]
        else:
            os.environ["DOCKER_HOST"] = before
