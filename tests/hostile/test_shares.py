"""A directory of packs that others can write: what they put there is not followed, believed or waited for."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.cache.directory import Directory
from engine.cache.place import Blob
from store import Store
from store.errors import RegistryError
from tests.unit.test_cache_directory import digest_of, pack

LAYER = b"layer" * 100


@pytest.fixture
def share(tmp_path: Path) -> Directory:
    """A directory with one pack, beside a file that is nobody's business."""
    (tmp_path / "secret").write_bytes(LAYER)
    place = Directory(tmp_path / "share")
    blobs, manifest = pack(LAYER)
    place.publish(blobs, [("plan-1", manifest)])
    return place


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


def _socket(path: Path) -> None:
    directory = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{directory}/{path.name}")
    os.close(directory)


STRANGE: dict[str, Callable[[Path], None]] = {
    "a link": lambda path: path.symlink_to(_secret(path)),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a pipe": lambda path: os.mkfifo(path),
    "a socket": _socket,
    "a directory": lambda path: path.mkdir(),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
}


def _secret(path: Path) -> Path:
    return next(p / "secret" for p in path.parents if (p / "secret").exists())


@pytest.mark.parametrize("what", STRANGE)
def test_what_is_no_file_is_not_read(share: Directory, store: Store, what: str) -> None:
    digest = digest_of(LAYER)
    for path in (share.path / "blobs" / digest.replace(":", "/"), share.path / "index.json"):
        path.unlink()
        STRANGE[what](path)
    with pytest.raises(RegistryError, match=r"index\.json: is (a link, which is not followed|not a regular)"):
        share.manifest("plan-1")
    with pytest.raises(RegistryError, match=r"index\.json: is"):
        share.tags()
    with pytest.raises(RegistryError, match=r"blobs/sha256/[0-9a-f]{64}: is"):
        share.read(digest, len(LAYER))
    with pytest.raises(RegistryError, match=r"blobs/sha256/[0-9a-f]{64}: is"):
        share.bring(digest, len(LAYER), store, lambda _: None)
    assert store.blob(digest) is None


@pytest.mark.parametrize("what", STRANGE)
@pytest.mark.parametrize(
    "where", ["index.json", ".envd.lock", "oci-layout", "blobs", "blobs/sha256", "a blob"]
)
def test_what_is_no_file_is_not_written(share: Directory, where: str, what: str) -> None:
    blobs, manifest = pack(LAYER, b"another")
    path = share.path / (where if where != "a blob" else "blobs/" + digest_of(LAYER).replace(":", "/"))
    if where in ("blobs", "blobs/sha256"):
        path.rename(share.path.parent / "aside")
    else:
        path.unlink()
    STRANGE[what](path)
    outside = {p: p.stat().st_mtime_ns for p in share.path.parent.iterdir() if p != share.path}
    try:
        share.publish(blobs, [("plan-2", manifest)])
    except (RegistryError, OSError) as error:
        assert str(share.path) in str(error) or isinstance(error, OSError), error
    else:
        assert share.manifest("plan-2") == manifest
        assert share.read(digest_of(LAYER), len(LAYER)) == LAYER
    assert {p: p.stat().st_mtime_ns for p in share.path.parent.iterdir() if p != share.path} == outside
    assert (share.path.parent / "secret").read_bytes() == LAYER


def test_a_directory_that_is_a_link_leads_nowhere(share: Directory, tmp_path: Path) -> None:
    (share.path / "blobs").rename(tmp_path / "elsewhere")
    (share.path / "blobs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RegistryError, match="blobs: is a link, which is not followed"):
        share.read(digest_of(LAYER), len(LAYER))
    before = sorted(p.name for p in (tmp_path / "elsewhere/sha256").iterdir())
    with pytest.raises((RegistryError, OSError)):
        share.publish(*_other())
    assert sorted(p.name for p in (tmp_path / "elsewhere/sha256").iterdir()) == before


def _other() -> tuple[list[Blob], list[tuple[str, bytes]]]:
    blobs, manifest = pack(b"another")
    return blobs, [("plan-2", manifest)]


_ROW = {"mediaType": "a/b", "digest": "sha256:" + 64 * "0", "size": 3}
_NAMED = {**_ROW, "annotations": {"org.opencontainers.image.ref.name": "plan-1"}}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100,
        b"[]",
        b"{}",
        b"null",
        b"[" * 100_000,
        b'{"manifests":' + b"[" * 100_000,
        b'{"manifests": {}}',
        b'{"manifests": [1]}',
        b'{"manifests": [{"digest": 1, "size": 1}]}',
        b'{"manifests": [{"digest": "sha256:0", "size": true}]}',
        b'{"manifests": [{"digest": "sha256:0", "size": NaN}]}',
        b'{"manifests": [{"digest": "sha256:0", "size": 1, "annotations": 1}]}',
        b'{"manifests": [{"digest": "sha256:0", "size": ' + b"9" * 5000 + b"}]}",
        json.dumps({"manifests": [{**_NAMED, "digest": "sha256:../../secret"}]}).encode(),
        json.dumps({"manifests": [{**_NAMED, "digest": "../../../secret"}]}).encode(),
        json.dumps({"manifests": [{**_NAMED, "size": 1 << 40}]}).encode(),
        json.dumps({"manifests": [{**_NAMED, "size": -1}]}).encode(),
        json.dumps({"manifests": [{**_NAMED, "digest": digest_of(LAYER), "size": 3}]}).encode(),
        json.dumps({"manifests": [{**_NAMED, "digest": digest_of(LAYER), "size": 9999}]}).encode(),
        b'{"manifests": [' + b" " * (9 << 20) + b"]}",
    ],
    ids=range(21),
)
def test_an_index_that_makes_no_sense_is_refused(share: Directory, content: bytes) -> None:
    (share.path / "index.json").write_bytes(content)
    with pytest.raises(RegistryError, match="dir:"):
        assert share.manifest("plan-1") is not None
    try:
        tags = share.tags()
    except RegistryError:
        with pytest.raises(RegistryError, match=r"index\.json"):
            share.publish(*_other())
        assert (share.path / "index.json").read_bytes() == content
    else:
        assert tags == ["plan-1"]


@pytest.mark.parametrize("content", [LAYER[:-1] + b"!", LAYER[:-1], LAYER + b"!", b""])
def test_wrong_bytes_do_not_come_into_the_store(share: Directory, store: Store, content: bytes) -> None:
    digest = digest_of(LAYER)
    (share.path / "blobs" / digest.replace(":", "/")).write_bytes(content)
    with pytest.raises(RegistryError, match=r"its bytes are not those|has [0-9]+ bytes|is larger than"):
        share.bring(digest, len(LAYER), store, lambda _: None)
    with pytest.raises(RegistryError, match=r"its bytes are not those|is larger than"):
        share.read(digest, len(LAYER))
    assert store.blob(digest) is None
    assert not [p for p in (store.path / "tmp").iterdir() if not p.name.endswith(".lock")]


def test_a_size_that_a_manifest_lies_about_is_found(share: Directory, store: Store) -> None:
    for size in (0, 1, len(LAYER) - 1, len(LAYER) + 1, 1 << 50):
        with pytest.raises(RegistryError, match="has 500 bytes, not"):
            share.bring(digest_of(LAYER), size, store, lambda _: None)
    for digest in ("sha256:../../../secret", "sha256:" + 64 * "g", "", "md5:x", "sha256:" + 65 * "0"):
        with pytest.raises(RegistryError, match="is not a valid sha256 digest"):
            share.read(digest, 1000)
        with pytest.raises(RegistryError, match="is not a valid sha256 digest"):
            share.bring(digest, 1000, store, lambda _: None)


def test_a_directory_that_may_only_be_read_is_read(share: Directory, store: Store) -> None:
    for path in (*share.path.rglob("*"), share.path):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert share.tags() == ["plan-1"]
        assert share.manifest("plan-1") is not None
        assert share.bring(digest_of(LAYER), len(LAYER), store, lambda _: None)
        assert not (share.path / ".envd.held").exists()
    finally:
        for path in (share.path, *share.path.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
