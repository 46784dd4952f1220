"""Pushing an image to a registry, and saying what was done."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from engine.core.amounts import human_bytes
from engine.core.events import Event, Sink
from engine.core.oci_model import Image
from engine.errors import UsageError
from engine.oci import blob_memory, layout
from store import Store, references
from store.model import Object
from store.references import Count, PushReport, Reference
from store.registry import Known, Part, Registry, Watch


def reference(text: str) -> Reference:
    """HOST/NAME[:TAG]. Raises UsageError."""
    try:
        return references.parse_reference(text)
    except ValueError as error:
        raise UsageError(str(error)) from error


def tags(texts: Sequence[str]) -> list[str]:
    """Bare tags, checked. Raises UsageError."""
    for text in texts:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", text):
            raise UsageError(
                f"'{text}' is not a valid tag", advice="write the tag alone, such as v1.2 or latest"
            )
    return list(texts)


def push(
    image: Image,
    store: Store,
    target: Reference,
    emit: Sink,
    also: Sequence[str] = (),
    supply: Callable[[Store, Object], Path] = layout.blob,
) -> PushReport:
    """Push `image` to `target` and under the tags `also` of the same repository.

    Blobs that were pushed to another repository of that registry before are mounted from there;
    `supply` gives the file of a layer that is nowhere in the registry.
    Raises RegistryError, BuildError, CorruptError.
    """
    parts = [Part(image.config_digest, len(image.config), image.config)]
    parts += [Part(x.digest, x.size, partial(supply, store, x)) for x in image.layers]
    report = Registry(target).push_image(
        parts,
        image.manifest,
        also,
        Known(
            lambda digest: blob_memory.places(store, target.host, digest),
            lambda digest: blob_memory.forget(store, target.host, target.name, digest),
        ),
        Watch(
            lambda digest, size: emit(Event("push", digest[:19], bytes=size)),
            lambda digest, sent, size: emit(Event("push-progress", digest[:19], bytes=sent, total=size)),
        ),
    )
    blob_memory.remember(store, target.host, target.name, [part.digest for part in parts])
    for tag in dict.fromkeys((target.tag, *also)):
        emit(Event("push", f"{target.host}/{target.name}:{tag}", text=said(report)))
    return report


def said(report: PushReport) -> str:
    """A report in words: "3 blobs sent (12 MB), 2 there already (30 MB)"."""

    def part(count: Count, what: str) -> str:
        return f"{count.blobs} {what} ({human_bytes(count.bytes)})" if count.blobs else ""

    parts = [
        part(report.sent, f"blob{'s' * (report.sent.blobs != 1)} sent") or "nothing to send",
        part(report.mounted, "mounted"),
        part(report.skipped, "there already"),
    ]
    return ", ".join(p for p in parts if p)
