"""A directory as a place of packs: what is published is read again, also when many publish at once."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cache.directory import Directory
from engine.cache.place import Blob, Sent
from store import Store
from store.errors import CorruptError, RegistryError

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
PROCESSES, ROUNDS = 6, 50


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def pack(*layers: bytes, config: bytes = b"{}") -> tuple[list[Blob], bytes]:
    """The blobs and the manifest of a pack with these layers."""
    blobs = [Blob(digest_of(content), len(content), content) for content in (config, *layers)]
    rows = [{"digest": blob.digest, "mediaType": LAYER, "size": blob.size} for blob in blobs]
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.envd.cache.v1",
        "config": {**rows[0], "mediaType": "application/vnd.envd.cache.config.v1+json"},
        "layers": rows[1:],
    }
    return blobs, json.dumps(document).encode()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


def test_what_is_published_is_read_again(tmp_path: Path, store: Store) -> None:
    place = Directory(tmp_path / "not/there/yet")
    layer, stored = b"layer" * 1000, b"of the store" * 9999
    with store.blob_writer() as writer:
        writer.write(stored)
        path = writer.commit()
    blobs, manifest = pack(layer)
    lazy = Blob(digest_of(stored), len(stored), lambda: path)
    assert place.publish([*blobs, lazy], [("plan-1", manifest), ("head-me-main", manifest)]) == Sent(
        3, len(layer) + len(stored) + 2, 0
    )
    other = Directory(place.path)
    assert other.tags() == ["head-me-main", "plan-1"]
    assert other.manifest("plan-1") == manifest
    assert (other.manifest("plan-2"), other.read(digest_of(b"none"), 9)) == (None, None)
    assert other.read(digest_of(layer), len(layer)) == layer
    told: list[int] = []
    assert other.bring(digest_of(layer), len(layer), store, told.append)
    assert not other.bring(digest_of(b"none"), 4, store, told.append)
    found = store.blob(digest_of(layer))
    assert found is not None and found.read_bytes() == layer
    assert told == [len(layer)]


def test_the_same_again_writes_nothing_and_others_stay(tmp_path: Path) -> None:
    place = Directory(tmp_path / "share")
    blobs, manifest = pack(b"one")
    place.publish(blobs, [("plan-1", manifest)])
    index = place.path / "index.json"
    document = json.loads(index.read_bytes())
    foreign = {"mediaType": "x/y", "digest": digest_of(b"?"), "size": 1, "platform": {"os": "linux"}}
    document["manifests"].insert(0, foreign)
    document["annotations"] = {"whose": "another program's"}
    index.write_text(json.dumps(document))
    before = index.stat()
    never: list[Path] = []
    lazy = [Blob(b.digest, b.size, never.pop) for b in blobs]
    assert place.publish(lazy, [("plan-1", manifest)]) == Sent(0, 0, 2)
    assert index.stat().st_ino == before.st_ino
    blobs, moved = pack(b"two")
    place.publish(blobs, [("plan-1", moved), ("plan-2", moved)])
    after = json.loads(index.read_bytes())
    assert after["annotations"] == document["annotations"]
    assert after["manifests"][0] == foreign
    assert [e.get("annotations") for e in after["manifests"][1:]] == [
        {"org.opencontainers.image.ref.name": tag} for tag in ("plan-1", "plan-2")
    ]
    assert place.manifest("plan-1") == moved
    assert not [p.name for p in place.path.iterdir() if p.name.startswith(".envd-")]


def test_what_is_put_there_is_as_open_as_the_directory(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        for mode in (0o700, 0o755, 0o777):
            share = tmp_path / f"{mode:o}"
            share.mkdir()
            share.chmod(mode)
            blobs, manifest = pack(b"layer")
            Directory(share).publish(blobs, [("plan-1", manifest)])
            for path in share.rglob("*"):
                wanted = mode if path.is_dir() else mode & 0o666
                assert path.stat().st_mode & 0o777 == wanted, path
    finally:
        os.umask(before)


def test_what_was_damaged_is_written_again(tmp_path: Path, store: Store) -> None:
    place = Directory(tmp_path / "share")
    blobs, manifest = pack(b"layer", config=b"config")
    place.publish(blobs, [("plan-1", manifest)])
    files = {b.digest: place.path / "blobs" / b.digest.replace(":", "/") for b in blobs}
    config, layer = files.values()
    config.write_bytes(b"gifnoc")
    layer.write_bytes(b"other")
    with pytest.raises(RegistryError, match="its bytes are not those of its digest"):
        place.bring(blobs[1].digest, 5, store, lambda _: None)
    good = tmp_path / "good"
    good.write_bytes(b"layer")
    again = [blobs[0], Blob(blobs[1].digest, 5, good)]
    assert Directory(place.path).publish(again, [("plan-1", manifest)]) == Sent(2, 11, 0)
    assert place.bring(blobs[1].digest, 5, store, lambda _: None)
    assert place.read(blobs[0].digest, 6) == b"config"
    layer.unlink()
    good.write_bytes(b"wrong")
    with pytest.raises(CorruptError):
        place.publish(again, [("plan-1", manifest)])
    assert not layer.exists()
    assert not [p.name for p in place.path.iterdir() if p.name.startswith(".envd-")]


def test_what_a_killed_publisher_left_goes(tmp_path: Path) -> None:
    place = Directory(tmp_path / "share")
    place.path.mkdir()
    for name, seconds in ((".envd-1-a", 0), (".envd-1-b", 90_000)):
        path = place.path / name
        path.write_bytes(b"half")
        now = path.stat().st_mtime
        os.utime(path, (now - seconds, now - seconds))
    blobs, manifest = pack(b"layer")
    place.publish(blobs, [("plan-1", manifest)])
    assert [p.name for p in place.path.glob(".envd-*")] == [".envd-1-a"]


def test_a_directory_of_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.jpg").write_bytes(b"")
    blobs, manifest = pack(b"layer")
    with pytest.raises(RegistryError, match="is not an OCI image layout; choose another directory"):
        Directory(tmp_path / "photos").publish(blobs, [("plan-1", manifest)])
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["cat.jpg"]
    with pytest.raises(RegistryError, match="no such directory"):
        Directory(tmp_path / "nothing").manifest("plan-1")


# A process that publishes: first what the kernel refuses it (system calls, errno), then who it is.
PUBLISHER = """
import errno, sys
from pathlib import Path
import pyseccomp
from engine.cache.directory import Directory
from tests.unit.test_cache_directory import ROUNDS, pack

share, who, refused = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
filter = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
for call in refused:
    name, number = call.split("=")
    filter.add_rule(pyseccomp.ERRNO(getattr(errno, number)), name)
filter.load()
place = Directory(share)
print("ready", flush=True)
sys.stdin.read(1)
for round in range(ROUNDS):
    blobs, manifest = pack(f"layer {who} {round}".encode(), b"layer of all", config=who.encode())
    place.publish(blobs, [(f"plan-{who}-{round}", manifest), ("head-all-main", manifest)])
"""


@pytest.mark.parametrize(
    "refused",
    [
        ("fsync=EINVAL",),
        # NFS without its lock daemon; a file system without sync, links and modes.
        ("flock=ENOLCK", "fsync=EINVAL", "link=EPERM", "linkat=EPERM", "fchmod=EPERM"),
    ],
    ids=["locks", "no-locks"],
)
def test_racing_publishers_lose_nothing(tmp_path: Path, refused: tuple[str, ...]) -> None:
    share = tmp_path / "share"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, share, str(who), *refused],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for who in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    for process in processes:
        process.communicate(b"x")
    assert [process.returncode for process in processes] == [0] * PROCESSES
    place = Directory(share)
    wanted = {f"plan-{who}-{round}" for who in range(PROCESSES) for round in range(ROUNDS)}
    assert set(place.tags()) == {*wanted, "head-all-main"}
    assert not [path.name for path in share.iterdir() if path.name == ".envd.held"]
    for tag in place.tags():
        manifest = json.loads(place.manifest(tag) or b"")
        for row in (manifest["config"], *manifest["layers"]):
            assert place.read(row["digest"], row["size"]) is not None, tag
