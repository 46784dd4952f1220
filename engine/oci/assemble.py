"""Layers and a configuration -> an OCI image. Pure: the same input gives the same bytes.

Formats: OCI image specification 1.1, config.md and manifest.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from engine.core.oci_model import Image, ImageConfig
from engine.errors import BuildError
from store.model import SOURCE_DATE_EPOCH, Object

MAX_LAYERS = 127  # what Docker's overlay2 takes
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CREATED = datetime.fromtimestamp(SOURCE_DATE_EPOCH, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(data: bytes) -> str:
    """ "sha256:<hex>" of `data`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def assemble(layers: Sequence[Object], config: ImageConfig) -> Image:
    """The image of `layers` (bottom first). Raises BuildError for more than Docker takes."""
    if len(layers) > MAX_LAYERS:
        raise BuildError(
            f"the image would have {len(layers)} layers, and Docker takes {MAX_LAYERS}",
            advice="put several commands into one run()",
        )
    runtime: dict[str, Any] = {"Env": [f"{k}={v}" for k, v in config.env]}
    if config.entrypoint:
        runtime["Entrypoint"] = list(config.entrypoint)
    if config.cmd:
        runtime["Cmd"] = list(config.cmd)
    if config.user:
        runtime["User"] = config.user
    if config.workdir:
        runtime["WorkingDir"] = config.workdir
    if config.labels:
        runtime["Labels"] = dict(config.labels)
    if config.exposed_ports:
        runtime["ExposedPorts"] = {port: {} for port in config.exposed_ports}
    if config.volumes:
        runtime["Volumes"] = {path: {} for path in config.volumes}
    if config.stop_signal:
        runtime["StopSignal"] = config.stop_signal
    document = {
        "architecture": "amd64",
        "config": runtime,
        "created": CREATED,
        "history": [{"created": CREATED, "created_by": f"envd: {x.name}"} for x in layers],
        "os": "linux",
        "rootfs": {"diff_ids": [x.diff_id for x in layers], "type": "layers"},
    }
    config_bytes = _json(document)
    manifest = {
        "annotations": {"org.opencontainers.image.created": CREATED},
        "config": {"digest": digest_of(config_bytes), "mediaType": CONFIG_TYPE, "size": len(config_bytes)},
        "layers": [{"digest": x.digest, "mediaType": x.media_type, "size": x.size} for x in layers],
        "mediaType": MANIFEST_TYPE,
        "schemaVersion": 2,
    }
    manifest_bytes = _json(manifest)
    return Image(
        config_bytes, manifest_bytes, digest_of(config_bytes), digest_of(manifest_bytes), tuple(layers)
    )
