"""Names in layers: bytes, whatever the machine's locale, and none that a layer takes otherwise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from store import Store
from store.errors import StoreError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


# What a tar holds of names, link targets and attributes, printed by a process of its own.
_LISTING = """
import shutil
import subprocess
import sys
from pathlib import Path
from store import Store
from store.compression import decompressed
store = Store.open(Path(sys.argv[1]))
tree = store.path / "tmp" / "tree"
made = store.capture(tree, "names")
shutil.rmtree(store.path / "trees" / made.id)
again = store.path / "tmp" / "again"
subprocess.run(["cp", "-a", store.tree(made.id), again], check=True)
print(sys.getfilesystemencoding(), made.id, store.capture(again, "again").id)
"""
_NAMES = ("straße".encode(), b"na\xc3\xafve", b"caf\xe9", b"\xff" * 120, b"new\nline", b"\xe9/\xfc")


@pytest.fixture(scope="module")
def locales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for LOCPATH that has de_DE.ISO-8859-1."""
    directory = tmp_path_factory.mktemp("locales")
    subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(directory / "de_DE.ISO-8859-1")], check=True
    )
    return directory


def test_objects_do_not_depend_on_the_locale(tmp_path: Path, locales: Path) -> None:
    said = []
    for number, locale in enumerate(("C.UTF-8", "C", "de_DE.ISO-8859-1")):
        root = tmp_path / str(number)
        Store.open(root).close()
        tree = os.fsencode(root / "tmp/tree")
        os.makedirs(tree + b"/\xe9")
        for name in _NAMES:
            with open(tree + b"/" + name, "wb") as file:
                file.write(name)
        os.symlink(b"./caf\xe9/", tree + b"/link")
        os.link(tree + b"/caf\xe9", tree + b"/zz-hard")
        os.setxattr(tree + b"/caf\xe9", b"user.gr\xc3\xb6\xc3\x9fe", b"\xff\x00\xc3")
        done = subprocess.run(
            [sys.executable, "-c", _LISTING, str(root)],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "LOCPATH": str(locales), "LC_ALL": locale},
        )
        encoding, *ids = done.stdout.split()
        said.append((encoding, ids))
        # The object's tree is what was captured, byte for byte.
        (again,) = (root / "trees").iterdir()
        place = os.fsencode(again)
        assert sorted(os.listdir(place)) == sorted({n.split(b"/")[0] for n in _NAMES} | {b"link", b"zz-hard"})
        assert os.readlink(place + b"/link") == b"./caf\xe9/"
        assert os.getxattr(place + b"/caf\xe9", b"user.gr\xc3\xb6\xc3\x9fe") == b"\xff\x00\xc3"
    assert [encoding for encoding, _ in said] == ["utf-8", "utf-8", "iso8859-1"]
    first = said[0][1][0]
    assert [ids for _, ids in said] == [[first, first]] * 3


def test_other_tools_read_names_that_are_not_utf8(store: Store) -> None:
    tree = os.fsencode(store.path / "tmp/odd")
    os.mkdir(tree)
    for name in (b"caf\xe9", b"\xff" * 120):
        os.mkdir(tree + b"/" + name)
        os.symlink(b"caf\xe9" * 50, tree + b"/" + name + b"/l\xe9nk")
    made = store.capture(Path(os.fsdecode(tree)), "odd")
    blob = store.blob(made.digest)
    assert blob is not None
    place = os.fsencode(store.path / "tmp/tar")
    os.mkdir(place)
    subprocess.run(["tar", "-xzf", str(blob), "-C", place], check=True, capture_output=True)
    assert sorted(os.listdir(place)) == [b"caf\xe9", b"\xff" * 120]
    assert os.readlink(place + b"/caf\xe9/l\xe9nk") == b"caf\xe9" * 50


def test_names_that_are_whiteouts_in_a_layer_are_refused(store: Store) -> None:
    for number, name in enumerate((".wh.passwd", "etc/.wh.passwd", ".wh..wh..opq", "a/.wh.d/file")):
        tree = store.path / "tmp" / f"wh-{number}"
        path = tree / name
        path.parent.mkdir(parents=True)
        path.write_text("")
        with pytest.raises(StoreError, match=re.escape(name.removesuffix("/file"))):
            store.capture(tree, "refused")
    assert store.objects() == []
    harmless = store.path / "tmp" / "harmless"
    harmless.mkdir()
    (harmless / "x.wh.y").write_text("")
    store.capture(harmless, "harmless")


def test_whiteouts_of_other_peoples_layers_stay_in_their_directory(store: Store, tmp_path: Path) -> None:
    for name in ("a/.wh...", "a/.wh..", "a/.wh."):
        path = tmp_path / "layer.tar"
        with tarfile.open(path, "w") as archive:
            archive.addfile(tarfile.TarInfo(name))
        with store.blob_writer() as writer:
            writer.write(path.read_bytes())
            writer.commit()
        made = store.import_layer(writer.digest, "application/x-tar", "odd")
        with pytest.raises(StoreError, match="unsafe path"):
            store.tree(made.id)
