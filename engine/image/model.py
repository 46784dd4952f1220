"""The image's records, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass

from store.model import Object


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
