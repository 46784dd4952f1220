"""The store's records, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass

SOURCE_DATE_EPOCH = 1704067200  # 2024-01-01T00:00:00Z: later mtimes are clamped to it

GZIP_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
ZSTD_LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"
TAR_LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Object:
    """One layer in the store.

    `id` is the BLAKE3 (64 hex digits) of the uncompressed canonical tar. `diff_id` is the OCI
    diffID ("sha256:…" of that same tar); `digest` and `size` (bytes) are those of the one
    compressed blob, `media_type` its OCI type; `tar_size` is the uncompressed size in bytes;
    `references` are the ids of objects that this one was built upon.
    """

    id: str
    name: str
    diff_id: str
    digest: str
    size: int
    tar_size: int
    media_type: str
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class Realisation:
    """A build key (hash of a resolved derivation) and the object id that it gave. `name` is what
    the builder calls it: the engine puts the derivation's kind there."""

    key: str
    output: str
    name: str = ""


@dataclass(frozen=True)
class Root:
    """A GC root: a name, and the object ids and blob digests that it keeps."""

    name: str
    objects: tuple[str, ...]
    blobs: tuple[str, ...] = ()
