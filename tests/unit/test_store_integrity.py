"""The store's checks: of trees, of its database, of what goes out of it."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from engine.app import fastpath
from engine.cli import folded, listing
from store import Store, database, gc, integrity, locking, notices, objects, stamps
from store.blobs import CheckedFile, blob_path
from store.database import Database
from store.errors import CorruptError, DamagedError, ReadOnlyError, StoreError, explained
from store.model import Object
from store.removal import remove_tree
from store.verify import verify, verify_at

OLD_SCHEMA = """
CREATE TABLE object (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, diff_id TEXT NOT NULL, digest TEXT NOT NULL,
    size INTEGER NOT NULL, tar_size INTEGER NOT NULL, media_type TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE reference (
    object TEXT NOT NULL REFERENCES object(id) ON DELETE CASCADE,
    position INTEGER NOT NULL, target TEXT NOT NULL, PRIMARY KEY (object, position)
) WITHOUT ROWID;
CREATE TABLE realisation (
    key TEXT PRIMARY KEY, output TEXT NOT NULL REFERENCES object(id) ON DELETE CASCADE,
    name TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE root (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE root_target (
    root TEXT NOT NULL REFERENCES root(name) ON DELETE CASCADE,
    kind TEXT NOT NULL, target TEXT NOT NULL, PRIMARY KEY (root, kind, target)
) WITHOUT ROWID;
CREATE TABLE memo (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def told() -> Iterator[list[str]]:
    lines: list[str] = []
    with notices.heard(lambda subject, text: lines.append(f"{subject}: {text}")):
        yield lines


def made(store: Store, name: str, below: Object | None = None) -> Object:
    """An object of a few files."""
    tree = store.path / "tmp" / f"tree-{name}"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc" / "name").write_text(name)
    (tree / "etc" / "long").write_bytes(os.urandom(2_000_000))
    (tree / "link").symlink_to("etc/name")
    return store.capture(tree, name, [below.id] if below else [])


def flip(path: Path, position: int = -1) -> None:
    """Change one byte and leave the times."""
    info = path.stat()
    data = bytearray(path.read_bytes())
    data[position] ^= 0x40
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def blob_of(store: Store, item: Object) -> Path:
    path = store.blob(item.digest)
    assert path is not None
    return path


def again(store: Store) -> Store:
    """The store as another process sees it."""
    store.close()
    return Store.open(store.path)


# -- trees ------------------------------------------------------------------------------------


def _added(tree: Path) -> None:
    (tree / "etc" / "evil").write_text("evil")


def _content(tree: Path) -> None:
    flip(tree / "etc" / "name")


def _gone(tree: Path) -> None:
    (tree / "etc" / "name").unlink()


def _mode(tree: Path) -> None:
    (tree / "etc" / "name").chmod(0o600)


def _owner(tree: Path) -> None:
    os.chown(tree / "etc", 7, 7)


def _link(tree: Path) -> None:
    (tree / "link").unlink()
    (tree / "link").symlink_to("/elsewhere")


def _attribute(tree: Path) -> None:
    os.setxattr(tree / "etc" / "name", "user.note", b"x")


ALTERATIONS = (_added, _content, _gone, _mode, _owner, _link, _attribute)


@pytest.mark.parametrize("alter", ALTERATIONS)
def test_an_altered_tree_is_never_used(store: Store, told: list[str], alter: object) -> None:
    item = made(store, "layer")
    before = stamps.content(store.tree(item.id))
    store = again(store)
    assert callable(alter)
    alter(store.path / "trees" / item.id)
    tree = store.tree(item.id)
    assert stamps.content(tree) == before == item.id
    assert any("somebody has changed its files" in line and "layer" in line for line in told)


@pytest.mark.parametrize("alter", ALTERATIONS)
def test_verify_says_which_file_of_a_tree_was_changed(store: Store, alter: object) -> None:
    item = made(store, "layer")
    assert verify(store) == []
    assert callable(alter)
    alter(store.path / "trees" / item.id)
    (problem,) = verify(store)
    assert re.search(r"layer .*its unpacked files were changed: (etc|link)", problem)
    verify(store, repair=True)
    assert not (store.path / "trees" / item.id).exists()
    assert verify(store) == []
    assert stamps.content(store.tree(item.id)) == item.id


def test_a_tree_whose_stamp_moved_without_a_change_is_kept(store: Store, told: list[str]) -> None:
    item = made(store, "layer")
    tree = store.tree(item.id)
    inode = (tree / "etc" / "name").stat().st_ino
    store = again(store)
    os.link(tree / "etc" / "name", store.path / "tmp" / "linked")  # as grouping layers does
    assert (store.tree(item.id) / "etc" / "name").stat().st_ino == inode
    assert told == []


def test_trees_of_layers_from_elsewhere_are_checked_too(store: Store, tmp_path: Path) -> None:
    """Their tar is not as envd writes it, so their content does not hash to their id."""
    import tarfile

    archive = tmp_path / "layer.tar"
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        for name in ("z", "a"):
            member = tarfile.TarInfo(f"./{name}")
            member.size = 1
            tar.addfile(member, io.BytesIO(name.encode()))
    with store.blob_writer() as writer:
        writer.write(archive.read_bytes())
        writer.commit()
    item = store.import_layer(writer.digest, "application/x-tar", "elsewhere")
    assert stamps.content(store.tree(item.id)) != item.id
    assert verify(store) == []
    flip(store.path / "trees" / item.id / "a")
    assert len(verify(store)) == 1
    store = again(store)
    assert (store.tree(item.id) / "a").read_text() == "a"
    assert verify(store) == []


def test_a_tree_without_a_layer_is_a_problem(store: Store) -> None:
    (store.path / "trees" / ("a" * 64)).mkdir()
    assert verify(store) == [f"tree {'a' * 16}: belongs to no layer"]
    verify(store, repair=True)
    assert not list((store.path / "trees").iterdir())


# -- blobs ------------------------------------------------------------------------------------


def test_an_object_without_its_bytes_counts_as_not_there(store: Store) -> None:
    item = made(store, "layer")
    store.realise("k", item.id)
    path = blob_of(store, item)
    assert store.whole(item.id) == item
    path.write_bytes(path.read_bytes()[:-1])
    assert store.whole(item.id) is None
    path.unlink()
    assert store.whole(item.id) is None and store.get(item.id) == item
    tree = store.path / "tmp" / "same"
    subprocess.run(["cp", "-a", store.path / "trees" / item.id, tree], check=True)
    assert store.capture(tree, "layer") == item  # built again
    assert store.whole(item.id) == item
    assert store.realisation("k") is not None
    assert verify(store) == []


def test_building_again_heals_a_blob(store: Store) -> None:
    item = made(store, "layer")
    tree = store.path / "tmp" / "same"
    subprocess.run(["cp", "-a", store.tree(item.id), tree], check=True)
    flip(blob_of(store, item), 1000)
    assert verify(store)
    store.capture(tree, "layer")
    assert verify(store) == []


def test_a_damaged_file_is_not_handed_out(store: Store, told: list[str]) -> None:
    with store.blob_writer() as writer:
        writer.write(b"a wheel")
        path = writer.commit()
    assert store.checked_blob(writer.digest) == path
    flip(path)
    store = again(store)
    assert store.checked_blob(writer.digest) is None
    assert not path.exists()
    assert any("is damaged" in line and str(path) in line for line in told)


@pytest.mark.parametrize("size", [1, 4096, 5_000_000])
@pytest.mark.parametrize("damage", ["flipped", "first", "short", "long", ""])
def test_a_checked_file_withholds_its_end(tmp_path: Path, size: int, damage: str) -> None:
    data = os.urandom(size)
    path = tmp_path / "blob"
    bad = {
        "flipped": data[:-1] + bytes([data[-1] ^ 1]),
        "first": bytes([data[0] ^ 1]) + data[1:],
        "short": data[:-1],
        "long": data + b"x",
        "": data,
    }[damage]
    path.write_bytes(bad)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    got = b""

    def read() -> None:
        nonlocal got
        with CheckedFile(path, digest, size, "layer") as file:
            while chunk := file.read(1 << 16):
                got += chunk

    if damage:
        with pytest.raises(CorruptError, match="layer: the stored layer is damaged; run"):
            read()
        assert len(got) < size
    else:
        read()
        assert got == data


def test_the_idle_build_looks_for_the_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVD_STORE", str(tmp_path / "store"))
    store = Store.open(tmp_path / "store")
    item = made(store, "layer")
    spec = tmp_path / "build.envd"
    spec.write_text("")
    request = fastpath.Request(str(spec), "build", str(tmp_path), ["a:b"], load=False)
    text = fastpath.remember([spec], "sha256:image", [(item.digest, item.size)])
    store.set_memo(request.key, text)
    assert fastpath.nothing_to_do(request) is not None
    path = blob_of(store, item)
    data = path.read_bytes()
    path.write_bytes(data[:10])
    assert fastpath.nothing_to_do(request) is None
    path.unlink()
    assert fastpath.nothing_to_do(request) is None
    path.write_bytes(data)
    assert fastpath.nothing_to_do(request) is not None


# -- the database -----------------------------------------------------------------------------


def filled(store: Store) -> list[Object]:
    below = made(store, "below")
    above = made(store, "above", below)
    for number in range(400):  # several pages of each table
        store.realise(f"{number:064x}", above.id if number % 2 else below.id, "wheel")
    with store.blob_writer() as writer:
        writer.write(b"a fetched file")
        writer.commit()
    store.add_root("image:x:dev", [above.id, below.id])
    store.add_root("lock:/x/envd.lock", [], [writer.digest])
    store.close()
    connection = sqlite3.connect(store.path / database.NAME)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return [below, above]


def _torn(path: Path) -> None:
    os.truncate(path, 20_000)


def _garbage(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


def _flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for offset in range(2 * 4096, len(data), 997):
        data[offset] ^= 0xFF
    path.write_bytes(data)


def _digit(path: Path) -> None:
    """One digit of one file that a root keeps: no page is broken."""
    data = bytearray(path.read_bytes())
    data[data.index(b"blobsha256:") + 20] ^= 1
    path.write_bytes(data)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_torn, _garbage, _flipped, _digit])
def test_a_damaged_database_is_found_and_made_anew(store: Store, damage: object) -> None:
    filled(store)
    files = set((store.path / "blobs/sha256").iterdir())
    assert callable(damage)
    damage(store.path / database.NAME)
    assert any("the database is damaged" in line for line in verify_at(store.path))
    with pytest.raises(DamagedError, match=r"db\.sqlite.*envd store verify --repair"):
        gc.collect(Store.open(store.path))
    assert set((store.path / "blobs/sha256").iterdir()) == files
    lines = verify_at(store.path, repair=True)
    assert any("recreated, with 2 layers" in line for line in lines)
    assert list(store.path.glob("db.sqlite.damaged-*"))
    assert verify_at(store.path) == []
    store = Store.open(store.path)
    assert len(store.objects()) == 2
    if damage in (_flipped, _digit):  # the names could be read
        assert sorted(o.name for o in store.objects()) == ["above", "below"]
    report = gc.collect(store)
    assert (report.objects, report.blobs) == (0, 0)
    assert set((store.path / "blobs/sha256").iterdir()) == files
    (recovered,) = [root for root in store.roots() if root.name.startswith("recovered:")]
    if damage is _digit:  # all else could be read
        assert len(store.realisations()) == 400
        assert {r.name for r in store.roots()} >= {"image:x:dev", "lock:/x/envd.lock"}
    store.remove_root(recovered.name)
    if damage is _garbage:
        assert gc.collect(store).objects == 2


@pytest.mark.parametrize("damage", [Path.unlink, _empty])
def test_a_lost_database_makes_no_garbage(store: Store, told: list[str], damage: object) -> None:
    filled(store)
    assert callable(damage)
    damage(store.path / database.NAME)
    files = set((store.path / "blobs/sha256").iterdir())
    store = Store.open(store.path)
    assert any("database is gone; its 3 files are kept" in line for line in told)
    assert gc.collect(store).blobs == 0
    assert any("envd store roots --remove recovered:" in line for line in told)
    assert set((store.path / "blobs/sha256").iterdir()) == files
    store.close()
    assert verify_at(store.path, repair=True) == ["2 layers found again among the files"]
    assert verify_at(store.path, repair=True) == []
    assert len(Store.open(store.path).objects()) == 2


def test_gc_removes_nothing_when_a_root_lost_what_it_keeps(store: Store) -> None:
    keep, other = made(store, "keep"), made(store, "other")
    store.add_root("image:x", [keep.id])
    blob_of(store, keep).unlink()
    with pytest.raises(DamagedError, match=r"nothing was removed.*the file of keep"):
        gc.collect(store)
    assert store.get(other.id) is not None
    verify(store, repair=True)
    assert gc.collect(store).objects == 1


def test_a_store_of_the_first_format_is_taken_over(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    item = made(store, "layer")
    store.close()
    (store.path / database.NAME).unlink()
    connection = sqlite3.connect(store.path / database.NAME)
    connection.executescript(OLD_SCHEMA)
    connection.execute(
        "INSERT INTO object VALUES (?,?,?,?,?,?,?)",
        (item.id, item.name, item.diff_id, item.digest, item.size, item.tar_size, item.media_type),
    )
    connection.execute("INSERT INTO realisation VALUES ('k',?,'wheel')", (item.id,))
    connection.execute("INSERT INTO root VALUES ('image:x')")
    connection.execute("INSERT INTO root_target VALUES ('image:x','object',?)", (item.id,))
    connection.execute("PRAGMA user_version=1")
    connection.commit()
    connection.close()
    reading = Store.open(store.path, reading=True)  # as it is
    assert [root.name for root in reading.roots()] == ["image:x"]
    assert gc.collect(reading, dry_run=True).objects == 0
    reading.close()
    store = Store.open(store.path)
    assert store.objects() == [item] and store.realisation("k") is not None
    assert store.tree(item.id).is_dir()
    assert gc.collect(store).objects == 0
    assert verify(store) == []
    (version,) = store.db.connection.execute("PRAGMA user_version").fetchone()
    assert version == database.SCHEMA_VERSION


def test_a_newer_store_says_so(store: Store) -> None:
    store.db.connection.execute("PRAGMA user_version=99")
    store.close()
    with pytest.raises(StoreError, match=r"a newer envd made this store.*update envd"):
        Store.open(store.path)


def test_recording_an_object_again_keeps_who_refers_to_it(store: Store) -> None:
    item = made(store, "layer")
    store.realise("k", item.id)
    store.db.write(objects.statements(item))
    assert store.realisation("k") is not None


@contextmanager
def small_disk(place: Path, options: str) -> Iterator[Path]:
    """A file system of its own below `place`, with mount(8)'s options for a tmpfs."""
    disk = place / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_is_told_in_one_sentence(tmp_path: Path) -> None:
    """A real, full file system: sqlite ends the transaction by itself then."""
    with small_disk(tmp_path, "size=400k") as place:
        store = Store.open(place / "store")
        with pytest.raises(StoreError, match="no space left on the store's disk; run `envd prune`"):
            for number in range(2000):
                store.set_memo(f"k{number}", "x" * 1000)
        with pytest.raises(StoreError, match="no space left"):
            store.set_memo("k", "x" * 100_000)
        assert store.roots() == []
        store.close()
        with pytest.raises(StoreError, match=f"{place}/store2: no space left"):
            Store.open(place / "store2")


def test_a_store_on_a_full_disk_is_read(tmp_path: Path) -> None:
    with small_disk(tmp_path, "size=2m") as place:
        child = os.fork()
        if child == 0:  # killed before its log was brought into the file
            Store.open(place / "store").set_memo("k", "v")
            os._exit(0)
        os.waitpid(child, 0)
        (place / "store/db.sqlite-shm").unlink()
        with (place / "filler").open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        reading = Store.open(place / "store", reading=True)  # sqlite's index of the log has no room
        assert reading.memo("k") == "v"
        reading.close()


def test_a_database_that_was_never_finished_is_made(tmp_path: Path) -> None:
    with small_disk(tmp_path, "size=16k") as place:
        with pytest.raises(StoreError, match="no space left"):
            Store.open(place / "store")
        assert (place / "store/db.sqlite").stat().st_size
        subprocess.run(["mount", "-o", "remount,size=40m", place], check=True)
        assert verify_at(place / "store") == []
        Store.open(place / "store", reading=True).close()


def test_a_tree_with_closed_directories_is_removed_by_its_owner(tmp_path: Path) -> None:
    for path in [tmp_path, *list(tmp_path.parents)[:3]]:
        path.chmod(path.stat().st_mode | 0o055)
    tree = tmp_path / "mine/tree"
    (tree / "closed/inner").mkdir(parents=True)
    (tree / "closed/inner/file").touch()
    for path in [tmp_path / "mine", tree, *tree.rglob("*")]:
        os.chown(path, 65534, 65534)
    (tree / "closed/inner").chmod(0)
    (tree / "closed").chmod(0)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgid(65534)
            os.setuid(65534)
            remove_tree(tree)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert not tree.exists()


def test_a_disk_without_inodes_is_told(tmp_path: Path) -> None:
    with small_disk(tmp_path, "size=40m,nr_inodes=40") as place:
        Store.open(place / "store").close()
        with suppress(OSError):
            for number in range(100):
                (place / f"{number}").touch()
        with pytest.raises(StoreError, match="no inodes left on the store's disk; run `envd prune`"):
            Store.open(place / "store").set_memo("k", "v")


def test_errors_of_the_file_system_name_the_store(tmp_path: Path) -> None:
    inside = str(tmp_path / "blobs/x")
    full = explained(OSError(errno.ENOSPC, "No space left on device", inside), tmp_path)
    assert full is not None and str(tmp_path) in full and "envd prune" in full
    denied = explained(OSError(errno.EROFS, "Read-only file system", inside), tmp_path)
    assert denied is not None and "ENVD_STORE" in denied
    assert explained(OSError(errno.EACCES, "Permission denied", "/etc/x"), tmp_path) is None
    assert explained(OSError(errno.ENOENT, "No such file", inside), tmp_path) is None


@pytest.mark.parametrize("log", [False, True])
def test_a_store_that_cannot_be_written_is_read(tmp_path: Path, log: bool) -> None:
    """A real read-only mount, with and without a log that was not brought into the file yet."""
    store = Store.open(tmp_path / "store")
    item = made(store, "layer")
    store.add_root("image:x", [item.id])
    if not log:
        store.close()
    place = tmp_path / "mounted"
    place.mkdir()
    subprocess.run(["cp", "-a", f"{store.path}/.", tmp_path / "copy"], check=True)
    subprocess.run(["mount", "--bind", tmp_path / "copy", place], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
        assert (place / "db.sqlite-wal").exists() is log
        reading = Store.open(place, reading=True)
        assert reading.objects() == [item] and reading.roots()[0].objects == (item.id,)
        assert verify(reading) == []
        assert gc.collect(reading, dry_run=True).objects == 0
        with pytest.raises(ReadOnlyError, match="cannot write the store: its file system is read-on"):
            reading.set_memo("a", "b")
        reading.close()
        with pytest.raises(ReadOnlyError, match=f"{place}: cannot write the store"):
            Store.open(place)
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_store_of_another_user_is_read() -> None:
    place = Path(tempfile.mkdtemp(dir="/var/tmp"))
    try:
        place.chmod(0o755)
        store = Store.open(place / "store")
        item = made(store, "layer")
        store.add_root("image:x", [item.id])
        store.close()
        # Its owner has opened it (stores are closed: tests/hostile/test_store.py).
        subprocess.run(["chmod", "-R", "go+rX", store.path], check=True)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:  # nobody
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            said = []
            try:
                with notices.heard(lambda subject, text: said.append(text)):
                    reading = Store.open(store.path, reading=True)
                    said += [str(reading.objects() == [item]), str(verify(reading))]
                    said.append(str(gc.collect(reading, dry_run=True).objects))
                Store.open(store.path)
            except BaseException as error:
                said.append(f"{type(error).__name__}: {error}")
            os.write(writer, "\n".join(said).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as file:
            lines = file.read().splitlines()
        os.waitpid(child, 0)
        assert lines == [
            "True",
            "[]",
            "0",
            f"ReadOnlyError: {store.path}: cannot write the store: it belongs to another user (root); "
            "choose another with ENVD_STORE",
        ]
    finally:
        shutil.rmtree(place)


# -- gc's work ----------------------------------------------------------------------------------


def test_gc_looks_at_no_row_twice(store: Store) -> None:
    """The number of queries does not grow with the objects, and none of them scans a table for
    each deleted object."""
    rows: list[tuple[str, tuple[object, ...]]] = []
    for number in range(3000):
        identity = f"{number:064x}"
        digest = f"sha256:{identity}"
        blob_path(store.path, digest).write_bytes(b"x")
        rows.append(("INSERT INTO object VALUES (?,?,?,?,?,?,?)", (identity, "n", digest, digest, 1, 1, "t")))
        rows.append(("INSERT INTO realisation VALUES (?,?,?)", (f"{number + 1:064x}", identity, "w")))
    store.db.write(rows)
    store.add_root("image:x", [f"{number:064x}" for number in range(1000)])
    store.db.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = (store.path / database.NAME).stat().st_size
    plan = [
        str(row)
        for row in store.db.connection.execute("EXPLAIN QUERY PLAN DELETE FROM realisation WHERE output='x'")
    ]
    assert any("SEARCH" in line and "realisation_output" in line for line in plan), plan
    queries: list[str] = []
    store.db.connection.set_trace_callback(queries.append)
    assert gc.collect(store).objects == 2000
    assert len([q for q in queries if q.lstrip().upper().startswith("SELECT")]) < 20
    assert (store.path / database.NAME).stat().st_size < size / 2
    queries.clear()
    assert len(store.objects()) == 1000
    assert len(queries) == 2


def test_a_long_table_is_written_without_rich() -> None:
    code = """if True:
        import sys
        from engine.cli import listing
        columns = (listing.Column("a", "A"), listing.Column("b", "B", right=True))
        listing.show([{"a": f"x{n}", "b": n} for n in range(3)], columns, "table")
        print("rich.table" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["A   B", "x0  0", "x1  1", "x2  2", "False"]


@pytest.mark.parametrize(
    "rows",
    [[{"a": "x", "b": "1"}, {"a": "größe", "b": "12345"}, {"a": "表", "b": None}], [{"a": "", "b": ""}]],
)
def test_both_ways_to_write_a_table_give_the_same(rows: list[dict[str, str | None]]) -> None:
    columns = (listing.Column("a", "FIRST"), listing.Column("b", "B", right=True))
    cells = [["-" if row[c.key] is None else c.show(row[c.key]) for c in columns] for row in rows]
    plain = listing._plain(cells, columns, 10_000, folded.cell_len, bold=False)
    assert plain == folded.lines(cells, columns, 10_000)


# -- locks and work -----------------------------------------------------------------------------


def test_locks_go_away_with_their_holders(store: Store) -> None:
    inside, most, guard = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with store.lock("build-x"):
                with guard:
                    inside += 1
                    most = max(most, inside)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert not [p.name for p in (store.path / "locks").iterdir() if p.name != "gc"]


def test_waiting_for_a_lock_is_said_with_who_holds_it(store: Store, told: list[str]) -> None:
    code = (
        "import sys; from pathlib import Path; from store import locking\n"
        f"with locking.locked(Path({str(store.path / 'locks/x')!r})):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdin is not None
    holder.stdout.readline()
    ended = threading.Event()

    def wait() -> None:
        with store.lock("x", "builds numpy"):
            ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    while not told:
        assert thread.is_alive()
        thread.join(0.1)
    assert not ended.is_set()
    holder.communicate()
    thread.join()
    assert ended.is_set() and len(told) == 1
    assert re.search(rf"waiting for process {holder.pid} \(.*\), which builds numpy", told[0])


def test_waiting_ends_when_the_command_is_to_end(store: Store) -> None:
    class StopError(Exception):
        pass

    def stop() -> None:
        raise StopError

    with store.lock("x"), pytest.raises(StopError), store.lock("x", check=stop):
        pass


def test_work_of_killed_processes_is_swept_and_work_of_living_ones_is_not(store: Store) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from store import Store\n"
        f"store = Store.open(Path({str(store.path)!r}))\n"
        "with store.scratch('numpy-1.2') as scratch, store.blob_writer() as blob:\n"
        "    (scratch / 'deep').mkdir(); (scratch / 'deep').chmod(0)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -9
    assert len(list((store.path / "tmp").iterdir())) == 4
    partial = store.path / "tmp" / f"partial-{'a' * 64}"  # a download that can go on
    partial.write_text("x")
    with store.scratch("mine") as scratch, store.blob_writer() as blob:
        store.sweep()
        assert scratch.is_dir() and blob.temporary.exists()
        assert stat.S_ISREG(partial.stat().st_mode)
    assert list((store.path / "tmp").iterdir()) == [partial]


def test_old_lock_files_go_with_the_next_collection(store: Store) -> None:
    for number in range(3):
        (store.path / "locks" / f"build-{number}").touch()
    with locking.locked(store.path / "locks" / "build-held"):
        gc.collect(store)
        left = {p.name for p in (store.path / "locks").iterdir()}
    assert left == {"gc", "build-held"}


def test_a_seal_tells_of_a_lost_line(store: Store) -> None:
    items = [made(store, name) for name in ("a", "b")]
    store.add_root("image:x", [i.id for i in items])
    assert integrity.problems(store.db) == []
    store.db.write([("DELETE FROM root_target WHERE target=?", (items[0].id,))])
    (problem,) = integrity.problems(Database(store.path / database.NAME))
    assert "what root 'image:x' keeps is not what it was" in problem
