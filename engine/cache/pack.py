"""Packs: what one build shares, as OCI image manifests.

The configuration lists signed records; the layers are those of the image, by the descriptors that its
own manifest has, so that pack and image share blobs, and a registry's own collection keeps them. More
layers than one manifest takes are in further ones under tags "…-2", "…-3": these only keep blobs.

Formats: OCI image specification 1.1, manifest.md (artifactType, "Guidelines for artifact usage").
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import zstandard

from engine.cache import record
from engine.cache.record import Record
from engine.oci.assemble import MANIFEST_TYPE, digest_of
from store.hashing import hash_value
from store.model import Object

ARTIFACT_TYPE = "application/vnd.envd.cache.v1"
CONFIG_TYPE = "application/vnd.envd.cache.config.v1+zstd"
MOST_LAYERS = 120  # of one manifest
MOST_CONFIG = 16 << 20  # bytes of a configuration as it lies there
_MOST_UNPACKED = 256 << 20
_LEVEL = 3
_MOST_MANIFESTS = 100
_PLAN = re.compile(r"plan-[0-9a-f]{32}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class MalformedError(ValueError):
    """What is under a tag is no pack."""


@dataclass(frozen=True)
class Pack:
    """Records, and the digests of the layers whose bytes lie beside them; `malformed` entries were left
    out."""

    records: tuple[Record, ...]
    layers: frozenset[str]
    malformed: int = 0


def plan_tag(drv_ids: Sequence[str], salt: str) -> str:
    """The tag of what one plan gives: the plan is known by its targets' hashes before anything of it is
    built."""
    return "plan-" + hash_value("envd cache plan v1", {"salt": salt, "targets": list(drv_ids)})[:32]


def head_tag(project: str, branch: str, salt: str) -> str:
    """The moving tag of a project's branch: where to look when a plan was built by nobody."""

    def part(text: str, most: int) -> str:
        return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:most] or "none"

    # what was cut off or replaced must not make two of them one
    own = hash_value("envd cache head v1", {"salt": salt, "project": project, "branch": branch})[:12]
    return f"head-{part(project, 40)}-{part(branch, 40)}-{own}"


# -- writing ----------------------------------------------------------------------------------


def write(records: Sequence[Record], layers: Sequence[Object], tag: str) -> tuple[bytes, list[bytes]]:
    """A pack's configuration and its manifests, for `tag`: the first is the pack, the others keep further
    layers. The same input gives the same bytes."""
    rows = [r.as_dict() for r in sorted(records, key=lambda r: r.key)]
    document = json.dumps({"version": 1, "records": rows}, sort_keys=True, separators=(",", ":"))
    config = zstandard.ZstdCompressor(level=_LEVEL).compress(document.encode())
    unique = list({x.digest: x for x in layers}.values())
    groups = [unique[n : n + MOST_LAYERS] for n in range(0, len(unique), MOST_LAYERS)] or [[]]
    return config, [_manifest(config, group, tag, len(groups)) for group in groups]


def _manifest(config: bytes, layers: Sequence[Object], tag: str, of: int) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": x.media_type, "digest": x.digest, "size": x.size} for x in layers],
        # a moving tag is that of the first manifest alone: it says where the others are
        "annotations": {"io.envd.cache.manifests": str(of), "io.envd.cache.tag": tag},
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def tags(tag: str, count: int) -> list[str]:
    """The tags of a pack's manifests."""
    return [tag, *(f"{tag}-{n}" for n in range(2, count + 1))]


# -- reading ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Head:
    """What a pack's first manifest says: its configuration's digest and size, its layers' digests, and
    the tags of the manifests that keep further layers."""

    config: str
    size: int
    layers: frozenset[str]
    further: tuple[str, ...]


def read_manifest(data: bytes) -> Head:
    """A manifest of a pack. Raises MalformedError."""
    try:
        document = json.loads(data)
        if document["artifactType"] != ARTIFACT_TYPE:
            raise MalformedError(f"it is {str(document['artifactType'])[:80]!r}")
        config = document["config"]
        if config["mediaType"] != CONFIG_TYPE:
            raise MalformedError(f"its configuration is {str(config['mediaType'])[:80]!r}")
        layers = frozenset(_digest(row["digest"]) for row in document["layers"])
        size = config["size"]
        if type(size) is not int or not 0 <= size <= MOST_CONFIG:
            raise MalformedError(f"its configuration is of {str(size)[:80]} bytes")
        told = document.get("annotations") or {}
        count = int(told.get("io.envd.cache.manifests", 1))
        if not 1 <= count <= _MOST_MANIFESTS:
            raise MalformedError(f"it has {count} manifests")
        further: tuple[str, ...] = ()
        if count > 1:
            if _PLAN.fullmatch(tag := str(told["io.envd.cache.tag"])) is None:
                raise MalformedError(f"its further manifests are at {tag[:80]!r}")
            further = tuple(tags(tag, count)[1:])
        return Head(_digest(config["digest"]), size, layers, further)
    except MalformedError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise MalformedError("its manifest is malformed") from error


def _digest(value: Any) -> str:
    if not isinstance(value, str) or _DIGEST.fullmatch(value) is None:
        raise MalformedError(f"{str(value)[:80]!r} is not a valid sha256 digest")
    return value


def read_config(data: bytes, head: Head, layers: frozenset[str]) -> Pack:
    """The pack of a configuration, whose manifests name `layers`. Entries that are malformed are left out.
    Raises MalformedError."""
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != head.config or len(data) != head.size:
        raise MalformedError("its configuration is not what its manifest says")
    try:
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as reader:
            text = reader.read(_MOST_UNPACKED + 1)
    except zstandard.ZstdError as error:
        raise MalformedError(f"its configuration cannot be decompressed: {error}") from error
    if len(text) > _MOST_UNPACKED:
        raise MalformedError("its configuration is too large")
    try:
        document = json.loads(text)
        if document["version"] != 1:
            raise MalformedError(f"it is of version {str(document['version'])[:20]!r}")
        rows = list(document["records"])
    except MalformedError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise MalformedError("its configuration is malformed") from error
    found = []
    for row in rows:
        try:
            found.append(record.parse(row))
        except (ValueError, RecursionError):
            continue
    return Pack(tuple(found), layers, len(rows) - len(found))
