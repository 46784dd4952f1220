"""The image's records, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass

from store.model import GZIP_LAYER, TAR_LAYER, ZSTD_LAYER, Object

LABEL = "io.envd.packages"  # JSON: the Python packages asked for; every image that envd builds has it
PYTHON_LABEL = "io.envd.python"  # the version of its Python, or ""

# What a layer of each type is in an OCI manifest.
LAYER_TYPES = {
    GZIP_LAYER: GZIP_LAYER,
    ZSTD_LAYER: ZSTD_LAYER,
    TAR_LAYER: TAR_LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": GZIP_LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": ZSTD_LAYER,
    "application/vnd.docker.image.rootfs.diff.tar": TAR_LAYER,
}


@dataclass(frozen=True)
class ImageConfig:
    """How a container starts. `env` and `labels` are sorted pairs; ports are like "8888/tcp"."""

    env: tuple[tuple[str, str], ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""


@dataclass(frozen=True)
class Image:
    """An assembled image: its OCI config and manifest as bytes, their digests ("sha256:…"), and
    its layers from the bottom up."""

    config: bytes
    manifest: bytes
    config_digest: str
    manifest_digest: str
    layers: tuple[Object, ...]
