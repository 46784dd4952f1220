"""Where an image goes when it is made: files, the Docker engine, registries."""

from __future__ import annotations

from collections.abc import Sequence

from engine.app import push as publish
from engine.core.events import Event, Sink
from engine.core.oci_model import Image
from engine.docker import probe
from engine.oci import layout
from engine.oci.outputs import Output
from store import Store


def deliver(
    image: Image, store: Store, outputs: Sequence[Output], tags: Sequence[str], load: bool, emit: Sink
) -> None:
    """Bring `image` to each of `outputs`, and with `load` into Docker under `tags`.

    An engine that does not answer is said, not raised: the image is there. Raises BuildError,
    DockerError, RegistryError, UsageError, OSError.
    """
    writers = {
        "oci": layout.write_archive,
        "oci-dir": layout.write_directory,
        "docker": layout.write_docker_file,
    }
    wanted = list(tags) if load else []
    for output in outputs:
        tag = output.name or tags[0]
        if output.kind == "load":
            wanted += [output.name] if output.name else tags
        elif output.kind == "push":
            publish.push(image, store, publish.reference(output.name), emit)
        elif output.path is not None:
            name = tag if output.kind == "docker" else tag.rpartition(":")[2]
            writers[output.kind](image, store, output.path, name)
            emit(Event("image", str(output.path), text="written"))
    if not wanted:
        return
    if not probe.engine_available():
        emit(
            Event(
                "message",
                f"no Docker engine answers at {probe.host()}: the image is built "
                "but not loaded; start one, or write a file with -o oci:FILE",
            )
        )
        return
    from engine.docker.load import load as load_into_docker  # noqa: PLC0415 (docker-py, to load alone)

    for tag in wanted:
        load_into_docker(image, store, tag, emit)
