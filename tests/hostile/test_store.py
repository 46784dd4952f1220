"""Another user of the machine and the store: what lies in it is neither run, read, held nor replaced."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.core.oci_model import Image
from engine.oci import layout
from store import Store, locking, notices
from store.errors import ReadOnlyError, StoreError
from store.model import TAR_LAYER, Object
from store.verify import verify

NOBODY = 65534
# setpriv itself still has root's capabilities when it starts a command; the shell has none.
AS_NOBODY = [
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    "sh",
    "-c",
    'exec "$@"',
    "sh",
]
PARTS = ("blobs", "blobs/sha256", "trees", "tmp", "locks")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody may enter: pytest's own are the user's alone."""
    directory = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="envd-hostile-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def told() -> Iterator[list[str]]:
    said: list[str] = []
    with notices.heard(lambda _, text: said.append(text)):
        yield said


def entry(
    name: str,
    kind: bytes = tarfile.REGTYPE,
    mode: int = 0o644,
    device: tuple[int, int] = (0, 0),
    content: bytes = b"",
) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.size = kind, mode, len(content)
    member.devmajor, member.devminor = device
    return member, content


def layer(store: Store, *entries: tuple[tarfile.TarInfo, bytes]) -> Object:
    """An image's layer with these entries, as somebody else wrote it."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for member, content in entries:
            tar.addfile(member, io.BytesIO(content))
    with store.blob_writer() as blob:
        blob.write(data.getvalue())
        blob.commit()
    return store.import_layer(blob.digest, TAR_LAYER, "layer")


def setuid_shell(store: Store) -> Path:
    shell = Path("/bin/dash").read_bytes()
    secret = entry("secret", mode=0o600, content=b"x")
    item = layer(store, entry("sh", mode=0o4755, content=shell), secret)
    return store.tree(item.id)


def as_nobody(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*AS_NOBODY, *map(str, command)], capture_output=True, text=True, check=False, cwd="/"
    )


def opened_wide(store: Path) -> None:
    """As stores were before: everybody may enter and read."""
    for top, directories, files in os.walk(store):
        if Path(top).parent != store / "trees" and "trees" not in Path(top).relative_to(store).parts[1:]:
            Path(top).chmod(0o755)
        for name in files if "trees" not in Path(top).parts else []:
            (Path(top) / name).chmod(0o644)
        if Path(top) == store / "trees":
            directories.clear()


def attacks(store: Store, tree: Path) -> dict[str, list[str | Path]]:
    blobs = sorted((store.path / "blobs/sha256").iterdir())
    return {
        "runs a setuid shell": [tree / "sh", "-p", "-c", "id -u"],
        "reads a file": ["cat", tree / "secret"],
        "reads a blob": ["cat", *blobs],
        "reads the database": ["cat", store.path / "db.sqlite"],
        "lists trees": ["ls", store.path / "trees"],
        "holds a lock": ["flock", "-n", store.path / "locks/gc", "echo", "held"],
        "holds a directory": ["flock", "-n", store.path / "locks", "echo", "held"],
        "looks at work": ["ls", store.path / "tmp"],
        "writes": ["touch", store.path / "tmp/x"],
    }


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("umask", [0o022, 0, 0o077])
def test_nobody_else_uses_what_is_in_it(place: Path, told: list[str], umask: int, older: bool) -> None:
    before = os.umask(umask)
    try:
        store = Store.open(place / "store")
        tree = setuid_shell(store)
        with store.in_use():
            pass
        if older:
            store.close()
            opened_wide(store.path)
            assert as_nobody(tree / "sh", "-p", "-c", "id -u").stdout == "0\n"  # the attack works
            assert as_nobody("flock", "-n", store.path / "locks/gc", "echo", "held").stdout == "held\n"
            store = Store.open(store.path)
            assert [t for t in told if "yours alone now" in t]
        with store.in_use(), store.scratch("work"), store.lock("x"):
            for name, command in attacks(store, tree).items():
                done = as_nobody(*command)
                assert (done.stdout, done.returncode != 0) == ("", True), (name, done)
            for lock in [*(store.path / "locks").iterdir(), *(store.path / "tmp").glob("*.lock")]:
                assert stat.S_IMODE(lock.stat().st_mode) == 0o600, lock
        for blob in (store.path / "blobs/sha256").iterdir():
            assert stat.S_IMODE(blob.stat().st_mode) == 0o600
        assert {stat.S_IMODE((store.path / p).stat().st_mode) for p in (".", *PARTS)} == {0o700}
        # what an image has is as it was
        assert stat.S_IMODE(tree.stat().st_mode) == 0o755
        assert stat.S_IMODE((tree / "sh").stat().st_mode) == 0o4755
        assert verify(store) == []
        store.close()
        told.clear()
        Store.open(store.path).close()
        assert told == []
    finally:
        os.umask(before)


def test_a_lock_alone_makes_no_open_store(place: Path) -> None:
    from store.usage import in_use

    before = os.umask(0)
    try:
        with in_use(place / "store"):
            assert as_nobody("flock", "-n", place / "store/locks/gc", "echo", "held").stdout == ""
        with locking.locked(place / "other/locks/x"):
            assert as_nobody("ls", place / "other/locks").stdout == ""
    finally:
        os.umask(before)


def test_a_directory_of_others_things_stays_theirs(place: Path) -> None:
    """ENVD_STORE names a directory that holds more: only what is the store's is closed."""
    (place / "store").mkdir()
    (place / "store/theirs").write_text("x")
    (place / "store").chmod(0o755)
    store = Store.open(place / "store")
    tree = setuid_shell(store)
    with store.in_use():
        pass
    assert as_nobody("cat", place / "store/theirs").stdout == "x"
    for name, command in attacks(store, tree).items():
        done = as_nobody(*command)
        assert (done.stdout, done.returncode != 0) == ("", True), (name, done)


def test_an_empty_directory_becomes_the_stores(place: Path) -> None:
    (place / "store").mkdir()
    (place / "store").chmod(0o777)
    Store.open(place / "store").close()
    assert stat.S_IMODE((place / "store").stat().st_mode) == 0o700


def test_where_others_may_write_is_no_store(place: Path) -> None:
    (place / "theirs").write_text("x")
    place.chmod(0o777)
    says = rf"{place}: others may write to this directory .*ENVD_STORE={place}/envd"
    with pytest.raises(StoreError, match=says):
        Store.open(place)
    place.chmod(0o1777)  # nobody can take away what is another's
    Store.open(place).close()


@pytest.mark.parametrize("part", [".", *PARTS])
def test_what_another_user_made_is_not_used(place: Path, part: str) -> None:
    """As root would in a user's store, and as a user would in a directory that waits in /tmp."""
    (place / "store" / part).mkdir(parents=True)
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", place / "store"], check=True)
    if part == ".":
        for name in PARTS:
            (place / "store" / name).mkdir(parents=True, exist_ok=True)
        os.chown(place / "store/trees", NOBODY, NOBODY)
    with pytest.raises(ReadOnlyError, match=r"belongs to another user \(nobody\).*run envd as nobody"):
        Store.open(place / "store")


def test_root_may_have_a_store_in_a_volume(place: Path) -> None:
    """A container's volume belongs to whom the host says."""
    (place / "store").mkdir()
    os.chown(place / "store", NOBODY, NOBODY)
    store = Store.open(place / "store")
    tree = setuid_shell(store)
    done = as_nobody(tree / "sh", "-p", "-c", "id -u")
    assert (done.stdout, done.returncode != 0) == ("", True)


def test_a_link_that_another_user_made_is_not_followed(place: Path) -> None:
    (place / "store").mkdir()
    (place / "elsewhere").mkdir()
    (place / "store/trees").symlink_to(place / "elsewhere")
    os.chown(place / "store/trees", NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(ReadOnlyError, match="another user"):
        Store.open(place / "store")
    os.chown(place / "store/trees", 0, 0, follow_symlinks=False)  # one's own, to another disk
    Store.open(place / "store").close()
    assert stat.S_IMODE((place / "elsewhere").stat().st_mode) == 0o700


CLOSED = """
import os, sys
from pathlib import Path
from store import Store, database, private, verify
os.setgroups([]); os.setgid({nobody}); os.setuid({nobody})
try:
    Store.open(Path({path!r}), reading={reading})
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("reading", [True, False])
def test_a_closed_store_says_whose_it_is(place: Path, reading: bool) -> None:
    Store.open(place / "store").close()
    code = CLOSED.format(nobody=NOBODY, path=str(place / "store"), reading=reading)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    what = "read" if reading else "write"
    assert done.stdout == (
        f"ReadOnlyError {place}/store: cannot {what} the store: it belongs to another user (root); "
        "choose another with ENVD_STORE\n"
    )


@pytest.mark.needs_root
def test_what_cannot_be_closed_is_said(place: Path, told: list[str]) -> None:
    """As on a file system without modes (vfat): chmod(2) is refused."""
    store = Store.open(place / "store")
    store.close()
    opened_wide(store.path)
    subprocess.run(["chattr", "+i", store.path / "trees"], check=True)
    try:
        Store.open(store.path).close()
    finally:
        subprocess.run(["chattr", "-i", store.path / "trees"], check=True)
    assert len([t for t in told if "does not keep modes: other users" in t]) == 1


def test_what_is_written_for_others_to_see_is_no_link_of_theirs(place: Path) -> None:
    """The temporary file of an output in a directory like /tmp had a name that could be guessed."""
    store = Store.open(place / "store")
    item = layer(store, entry("x", content=b"x"))
    image = Image(b"{}", b"{}", f"sha256:{'0' * 64}", f"sha256:{'0' * 64}", (item,))
    shared, victim = place / "shared", place / "victim"
    shared.mkdir()
    shared.chmod(0o777)  # not sticky: protected_symlinks(5) would not help
    victim.write_text("mine")
    for name in ("out.tar", "out"):
        (shared / f".{name}.{os.getpid()}").symlink_to(victim)
        os.chown(shared / f".{name}.{os.getpid()}", NOBODY, NOBODY, follow_symlinks=False)
    layout.write_archive(image, store, shared / "out.tar", "t")
    layout.write_directory(image, store, shared / "out", "t")
    assert victim.read_text() == "mine"
    assert (shared / "out.tar").is_file() and (shared / "out/oci-layout").is_file()
    assert sorted(p.name for p in shared.iterdir() if not p.is_symlink()) == ["out", "out.tar"]


# -- device nodes -------------------------------------------------------------------------------

NODES: list[Callable[[], tuple[tarfile.TarInfo, bytes]]] = [
    lambda: entry("srv/zero", tarfile.CHRTYPE, 0o666, (1, 5)),
    lambda: entry("srv/disk", tarfile.BLKTYPE, 0o666, (8, 0)),
    lambda: entry("dev/null", tarfile.CHRTYPE, 0o666, (1, 3)),
    lambda: entry("srv/kmem", tarfile.CHRTYPE, 0o4666, (1, 2)),
]


def devices(tree: Path) -> list[Path]:
    return [
        path
        for path in tree.rglob("*")
        if stat.S_ISBLK(path.lstat().st_mode) or (stat.S_ISCHR(path.lstat().st_mode) and path.lstat().st_rdev)
    ]


@pytest.mark.parametrize("node", NODES)
def test_device_nodes_stay_in_their_layer(
    place: Path, node: Callable[[], tuple[tarfile.TarInfo, bytes]]
) -> None:
    store = Store.open(place / "store")
    item = layer(store, node(), entry("etc/x", content=b"x"))
    tree = store.tree(item.id)
    assert devices(tree) == []
    assert (tree / "etc/x").read_bytes() == b"x"
    assert verify(store) == []
    # the layer that an image gets has it
    blob = store.blob(item.digest)
    assert blob is not None
    with tarfile.open(blob) as tar:
        assert [m.name for m in tar if m.isdev()] == [node()[0].name]


@pytest.mark.needs_root
def test_device_nodes_of_an_older_store_go(place: Path, told: list[str]) -> None:
    store = Store.open(place / "store")
    item = layer(store, entry("srv/zero", tarfile.CHRTYPE, 0o666, (1, 5)), entry("x", content=b"x"))
    other = store.tree(layer(store, entry("y", content=b"y")).id)
    tree = store.tree(item.id)
    (tree / "srv/zero").unlink()
    os.mknod(tree / "srv/zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    store.close()
    opened_wide(store.path)
    store = Store.open(store.path)
    store.sweep()
    assert not tree.exists() and other.exists()
    assert devices(store.tree(item.id)) == []
    assert not any("somebody has changed" in text for text in told)
    assert verify(store) == []
