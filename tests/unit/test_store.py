"""The store: capture, unpack, realise, collect, verify."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from store import Store, database, gc
from store.errors import StoreError
from store.store import existing
from store.verify import verify


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def sample(store: Store, name: str = "tree") -> Path:
    root = store.path / "tmp" / name
    (root / "etc" / "deep").mkdir(parents=True)
    (root / "etc" / "hosts").write_text("localhost\n")
    (root / "etc" / "deep" / "tool").write_text("#!/bin/sh\n")
    (root / "etc" / "deep" / "tool").chmod(0o4755)
    os.link(root / "etc/hosts", root / "hosts-again")
    (root / "link").symlink_to("etc/hosts")
    (root / ("n" * 150)).write_bytes(b"long name")
    (root / "größe").write_bytes(b"x" * 3_000_000)
    os.mknod(root / "gone", stat.S_IFCHR, 0)
    (root / "opaque").mkdir()
    os.setxattr(root / "opaque", "trusted.overlay.opaque", b"y")
    os.chown(root / "etc/deep", 42, 43)
    return root


def test_capture_unpack_capture_is_the_same_object(store: Store, tmp_path: Path) -> None:
    made = store.capture(sample(store), "sample")
    other = Store.open(tmp_path / "other")
    with other.blob_writer() as writer:
        blob = store.blob(made.digest)
        assert blob is not None
        writer.write(blob.read_bytes())
        writer.commit(made.digest)
    imported = other.import_layer(made.digest, made.media_type, "sample")
    assert imported == made
    tree = other.tree(made.id)
    assert stat.S_ISCHR((tree / "gone").lstat().st_mode)
    assert (tree / "etc/deep").stat().st_uid == 42
    copy = other.path / "tmp" / "copy"
    subprocess.run(["cp", "-a", str(tree), str(copy)], check=True)
    assert other.capture(copy, "again").id == made.id


def test_other_tools_read_the_layer(store: Store) -> None:
    made = store.capture(sample(store), "sample")
    blob = store.blob(made.digest)
    assert blob is not None
    with tarfile.open(blob) as archive:
        names = archive.getnames()
    listing = subprocess.run(
        ["tar", "-tzf", str(blob)],
        capture_output=True,
        text=True,
        check=True,
        env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
    ).stdout.splitlines()
    assert [n.rstrip("/") for n in listing if "gr" not in n] == [n for n in names if "gr" not in n]
    assert ".wh.gone" in names
    assert "opaque/.wh..wh..opq" in names
    real = [n for n in names if ".wh." not in n]
    assert real == sorted(real, key=lambda n: [p.encode() for p in n.split("/")])


def test_object_does_not_depend_on_times_or_creation_order(store: Store) -> None:
    first = store.capture(sample(store, "a"), "a")
    root = store.path / "tmp" / "b"
    root.mkdir()
    for path in sorted((store.tree(first.id)).iterdir(), reverse=True):
        subprocess.run(["cp", "-a", str(path), str(root)], check=True)
    (root / "hosts-again").unlink()
    os.link(root / "etc/hosts", root / "hosts-again")
    os.utime(root / "etc/hosts", (2_000_000_000, 2_000_000_000))
    assert store.capture(root, "b").id == first.id


def test_gc_keeps_what_roots_reach(store: Store) -> None:
    below = store.capture(_tree(store, "below"), "below")
    above = store.capture(_tree(store, "above"), "above", [below.id])
    dead = store.capture(_tree(store, "dead"), "dead")
    for key, item in (("k1", below), ("k2", above), ("k3", dead)):
        store.realise(key, item.id)
    store.add_root("image:x", [above.id])
    assert gc.collect(store, dry_run=True).objects == 1
    assert store.get(dead.id) is not None
    report = gc.collect(store)
    assert (report.objects, report.blobs) == (1, 1)
    assert store.get(below.id) == below
    assert store.realisation("k2") is not None
    assert store.realisation("k3") is None
    assert not (store.path / "trees" / dead.id).exists()
    store.remove_root("image:x")
    assert gc.collect(store).objects == 2
    assert verify(store) == []


def _tree(store: Store, text: str) -> Path:
    root = store.path / "tmp" / f"t-{text}"
    root.mkdir()
    (root / "file").write_text(text)
    return root


def test_verify_finds_damage_and_repairs(store: Store) -> None:
    made = store.capture(_tree(store, "x"), "x")
    store.realise("key", made.id)
    assert verify(store) == []
    blob = store.blob(made.digest)
    assert blob is not None
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    assert len(verify(store)) == 2
    verify(store, repair=True)
    assert verify(store) == []
    assert store.realisation("key") is None


def test_a_layer_cannot_leave_its_directory(store: Store, tmp_path: Path) -> None:
    for number, name in enumerate(("../evil", "a/../../evil", "link/evil")):
        path = tmp_path / f"{number}.tar"
        with tarfile.open(path, "w") as archive:
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, "/tmp"
            archive.addfile(link)
            archive.addfile(tarfile.TarInfo(name))
        with store.blob_writer() as writer:
            writer.write(path.read_bytes())
            writer.commit()
        made = store.import_layer(writer.digest, "application/x-tar", "evil")
        with pytest.raises(StoreError, match=r"unsafe path|through a link"):
            store.tree(made.id)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["store", "ls"], "no objects"),
        (["store", "ls", "--format", "json"], "[]"),
        (["store", "verify"], "store is clean"),
        (["store", "verify", "--repair"], "store is clean"),
        (["store", "gc"], "freed 0.0 MB: 0 objects, 0 files"),
        (["store", "gc", "--dry-run"], "would free 0.0 MB: 0 objects, 0 files"),
        (["store", "roots"], "no roots"),
        (["store", "roots", "--remove", "x"], "error: no root 'x'"),
        (["images", "ls"], ""),
    ],
)
def test_looking_at_a_store_makes_none(words: list[str], says: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("envd"), *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ENVD_STORE": str(tmp_path / "store"), "DOCKER_HOST": f"unix://{tmp_path}/none"},
    )
    assert says in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_files_that_lost_their_database_are_found_again(store: Store) -> None:
    with store:
        made = store.capture(sample(store), "tree")
    (store.path / database.NAME).unlink()
    with existing(store.path) as again:
        assert again is not None and again.blob(made.digest) is not None
        assert [root.name.partition(":")[0] for root in again.roots()] == ["recovered"]


def test_a_store_is_closed_at_the_end_of_its_block(store: Store) -> None:
    with store as opened:
        connection = opened.db.connection
        connection.execute("SELECT 1")
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
