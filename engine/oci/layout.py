"""An image as files: OCI image layout (directory or archive) and `docker save` archives.

Formats: OCI image specification, image-layout.md; moby's image/spec/v1.2. Archives are
deterministic: sorted members, one time, owner 0. Nothing is left half-written.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import zstandard

from engine.core.oci_model import Image
from engine.errors import BuildError
from engine.oci.assemble import MANIFEST_TYPE
from store import Store
from store.blobs import CheckedFile, check
from store.elsewhere import gather, layer_file
from store.errors import LostError, StoreError
from store.model import SOURCE_DATE_EPOCH, ZSTD_LAYER, Object

_CHUNK = 1 << 20


def blob(store: Store, layer: Object) -> Path:
    """A layer's compressed file. Raises BuildError when it is not there."""
    try:
        return layer_file(store, layer)
    except LostError:
        raise
    except StoreError as error:
        raise BuildError(
            "its layer is not in the store", subject=layer.name, advice="build (or pull) again"
        ) from error


@dataclass(frozen=True)
class _Stored:
    """A layer's file in the store: copied, it is compared with its digest."""

    path: Path
    layer: Object

    def open(self) -> CheckedFile:
        return CheckedFile(self.path, self.layer.digest, self.layer.size, self.layer.name)


def _stored(store: Store, layer: Object) -> _Stored:
    return _Stored(blob(store, layer), layer)


def _index(image: Image, tag: str) -> bytes:
    entry = {
        "annotations": {"org.opencontainers.image.ref.name": tag},
        "digest": image.manifest_digest,
        "mediaType": MANIFEST_TYPE,
        "size": len(image.manifest),
    }
    document = {
        "manifests": [entry],
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "schemaVersion": 2,
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _oci_members(image: Image, store: Store, tag: str) -> dict[str, bytes | _Stored]:
    members: dict[str, bytes | _Stored] = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": _index(image, tag),
        _place(image.config_digest): image.config,
        _place(image.manifest_digest): image.manifest,
    }
    gather(store, image.layers)
    for layer in image.layers:
        members[_place(layer.digest)] = _stored(store, layer)
    return members


def _place(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


@contextmanager
def replacing(destination: Path) -> Iterator[Path]:
    """A temporary name beside `destination`, renamed to it at the end. In a directory that is ours
    alone: where others may write (/tmp), a name that can be guessed may be their link."""
    try:
        place = Path(tempfile.mkdtemp(prefix=f".{destination.name[:100]}.", dir=destination.parent))
    except OSError as error:
        error.filename = str(destination)  # which the user knows
        raise
    temporary = place / destination.name
    try:
        yield temporary
        if destination.is_dir() and not destination.is_symlink() and temporary.is_dir():
            shutil.rmtree(destination)
        temporary.replace(destination)
    finally:
        shutil.rmtree(place)


def write_directory(image: Image, store: Store, destination: Path, tag: str) -> None:
    """Write an OCI image layout. Raises BuildError, CorruptError for a damaged layer, and OSError
    from the file system."""
    if destination.exists() and any(destination.iterdir()) and not (destination / "oci-layout").exists():
        raise BuildError(
            "already exists, and is not an OCI layout", subject=str(destination), advice="choose another"
        )
    with replacing(destination) as temporary:
        (temporary / "blobs/sha256").mkdir(parents=True)
        for name, content in _oci_members(image, store, tag).items():
            if isinstance(content, bytes):
                (temporary / name).write_bytes(content)
            else:
                with content.open() as source, (temporary / name).open("wb") as target:
                    shutil.copyfileobj(source, target, _CHUNK)


def write_archive(image: Image, store: Store, destination: Path, tag: str) -> None:
    """Write an OCI image layout as one tar. Raises BuildError, CorruptError, and OSError."""
    with (
        replacing(destination) as temporary,
        temporary.open("wb") as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, content in sorted(_oci_members(image, store, tag).items()):
            _add(tar, name, content)


def _header(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, SOURCE_DATE_EPOCH, 0o644
    return member


def _add(tar: tarfile.TarFile, name: str, content: bytes | _Stored) -> None:
    if isinstance(content, bytes):
        tar.addfile(_header(name, len(content)), io.BytesIO(content))
        return
    with content.open() as file:
        tar.addfile(_header(name, content.layer.size), file)


def write_docker_archive(
    image: Image, store: Store, file: IO[bytes], tag: str, omit: Collection[str] = ()
) -> int:
    """Write what `docker load` reads to `file`; returns the bytes of layers written.

    Layers whose digest is in `omit` are named but empty: the engine has them already. Raises
    BuildError, and CorruptError for a damaged layer: then the archive ends in its middle.
    """
    config_name = f"{image.config_digest.removeprefix('sha256:')}.json"
    names = [f"{x.digest.removeprefix('sha256:')}/layer.tar" for x in image.layers]
    manifest: list[dict[str, Any]] = [
        {"Config": config_name, "Layers": names, "RepoTags": [tag] if tag else None}
    ]
    written = 0
    gather(store, [x for x in image.layers if x.digest not in omit])
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, "manifest.json", json.dumps(manifest, sort_keys=True).encode())
        _add(tar, config_name, image.config)
        done: set[str] = set()
        for name, layer in zip(names, image.layers, strict=True):
            if name in done:
                continue
            done.add(name)
            if layer.digest in omit:
                _add(tar, name, b"")
            elif layer.media_type == ZSTD_LAYER:  # engines before 23 read no zstd
                _add_decompressed(tar, name, _stored(store, layer))
                written += layer.tar_size
            else:
                _add(tar, name, _stored(store, layer))
                written += layer.size
    return written


def _add_decompressed(tar: tarfile.TarFile, name: str, content: _Stored) -> None:
    layer = content.layer
    check(content.path, layer.digest, layer.name)  # first: what is damaged cannot be decompressed
    with content.path.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        tar.addfile(_header(name, layer.tar_size), reader)


def write_docker_file(image: Image, store: Store, destination: Path, tag: str) -> None:
    """Write a `docker save` archive. Raises BuildError, CorruptError, and OSError."""
    with replacing(destination) as temporary, temporary.open("wb") as file:
        write_docker_archive(image, store, file, tag)
