"""Keeping what was fetched: a lock stays buildable when a mirror deletes a file that it pins.

A file is a blob under its own SHA-256, so it needs no look-up and no signature: whoever asks knows what
it has to be. Manifests under the tags "sources-…" keep a registry from collecting it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from engine.cache import pack
from engine.cache.place import Blob, Place, Sent
from engine.core.closure import in_order
from engine.core.derivation import Derivation, Fetch
from engine.oci.assemble import MANIFEST_TYPE, digest_of
from store import Store

ARTIFACT_TYPE = "application/vnd.envd.sources.v1"
_FILE_TYPE = "application/octet-stream"
# OCI image specification, manifest.md: what a manifest without a configuration has
_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"


def files(targets: Sequence[Derivation]) -> list[Fetch]:
    """Every file that building these needs, each once."""
    found = {
        item.derivation.output: item.derivation
        for derivation in in_order(targets)
        for item in derivation.inputs
        if isinstance(item.derivation, Fetch)
    }
    return list(found.values())


def publish(place: Place, targets: Sequence[Derivation], store: Store, salt: str) -> tuple[Sent, int]:
    """Keep the files of a plan at `place`: what was done, and how many files are not here to be kept.
    Raises RegistryError, OSError."""
    wanted = files(targets)
    there = [(f, path) for f in wanted if (path := store.checked_blob(f.output)) is not None]
    blobs = [Blob(f.output, path.stat().st_size, path) for f, path in there]
    rows = [
        {
            "mediaType": _FILE_TYPE,
            "digest": blob.digest,
            "size": blob.size,
            "annotations": {"org.opencontainers.image.title": wanted.name},
        }
        for blob, (wanted, _) in zip(blobs, there, strict=True)
    ]
    manifests = [_manifest(rows[n : n + pack.MOST_LAYERS]) for n in range(0, len(rows), pack.MOST_LAYERS)]
    tag = pack.plan_tag([t.drv_id for t in targets], salt).replace("plan-", "sources-")
    named = list(zip(pack.tags(tag, len(manifests)), manifests, strict=True))
    sent = place.publish([*blobs, Blob(digest_of(_EMPTY), len(_EMPTY), _EMPTY)], named) if named else Sent()
    return sent, len(wanted) - len(there)


def _manifest(rows: Sequence[dict[str, object]]) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": {"mediaType": _EMPTY_TYPE, "digest": digest_of(_EMPTY), "size": len(_EMPTY)},
        "layers": rows,
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
