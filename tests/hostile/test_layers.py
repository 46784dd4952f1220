"""Layers of registry images that somebody else has made: each is unpacked rightly, or one error."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import BuildError
from engine.oci import filesystem as views
from store import Store, skeleton, trees
from store.errors import CorruptError
from store.removal import remove_tree
from tests.hostile import canary, tars

DEEP = b"/".join([b"d"] * 2000)
UP = b"../" * 30


def _out(victim: bytes) -> dict[str, bytes]:
    """What would be outside, and what cannot be: each is refused."""
    return {
        "whiteout of the directory above": tars.file(b"a/.wh...", b""),
        "whiteout of the directory itself": tars.file(b"a/.wh..", b""),
        "whiteout of nothing": tars.file(b"a/.wh.", b""),
        "whiteout above the root": tars.file(b".wh...", b""),
        "below a whiteout": tars.file(b"a/.wh.b/c"),
        "below the opaque marker of a whiteout": tars.file(b".wh.x/.wh..wh..opq", b""),
        "climbing": tars.file(b"../victim/file"),
        "climbing later": tars.file(b"a/b/../../../victim/file"),
        "whiteout that climbs": tars.file(b"../victim/.wh.file", b""),
        "opaque marker that climbs": tars.file(b"../victim/.wh..wh..opq", b""),
        "directory that climbs": tars.directory(b"../victim/new"),
        "through a link": tars.link(b"l", victim) + tars.file(b"l/file"),
        "directory through a link": tars.link(b"l", victim) + tars.directory(b"l/dir"),
        "whiteout through a link": tars.link(b"l", victim) + tars.file(b"l/.wh.file", b""),
        "opaque marker through a link": tars.link(b"l", victim) + tars.file(b"l/.wh..wh..opq", b""),
        "through a relative link": tars.link(b"a/l", b"../../victim") + tars.file(b"a/l/file"),
        "through links upon links": tars.link(b"a", b".")
        + tars.link(b"e", b"a/a/a/../../../victim")
        + tars.file(b"e/file"),
        "hard link that climbs": tars.hard(b"h", b"../victim/file"),
        "hard link through a link": tars.link(b"l", victim) + tars.hard(b"h", b"l/file"),
        "hard link to an absolute path": tars.hard(b"h", victim + b"/file"),
        "hard link to a file that does not": tars.hard(b"h", b"nothing"),
        "hard link to itself": tars.hard(b"h", b"h"),
        "hard link to a directory": tars.directory(b"d") + tars.hard(b"h", b"d"),
        "hard link below a file": tars.file(b"f") + tars.hard(b"h", b"f/g"),
        "directory becomes a file": tars.file(b"d/x") + tars.file(b"d"),
        "directory becomes a link": tars.file(b"d/x") + tars.link(b"d", victim) + tars.file(b"d/file"),
        "listed directory becomes a link": tars.directory(b"d", uid=4) + tars.link(b"d", victim),
        "below a file": tars.file(b"f") + tars.file(b"f/g"),
        "below a pipe": tars.header(b"p", tars.PIPE) + tars.file(b"p/g"),
        "link to nothing": tars.header(b"l", tars.LINK),
        "time that is no number": tars.pax({b"mtime": b"nan"}, tars.file(b"f")),
        "time without end": tars.pax({b"mtime": b"inf"}, tars.file(b"f")),
        "time too far": tars.pax({b"mtime": b"1e300"}, tars.file(b"f")),
        "time too long ago": tars.pax({b"mtime": b"-1e300"}, tars.file(b"f")),
        "directory's time too far": tars.pax({b"mtime": b"1e300"}, tars.directory(b"d")),
        "time in base 256": tars.header(b"f", mtime=1 << 80),
        "owner below zero": tars.header(b"f", uid=-1),
        "owner above all": tars.pax({b"uid": b"4294967295"}, tars.file(b"f")),
        "group without end": tars.pax({b"gid": b"1" + b"0" * 100}, tars.file(b"f")),
        "size below zero": tars.header(b"f", size=-512) + tars.file(b"g"),
        "size below zero in a record": tars.pax({b"size": b"-1536"}, tars.file(b"f")),
        "size beyond the end": tars.header(b"f", size=1 << 40) + b"x" * 1024,
        "records below zero": tars.header(b"pax", tars.PAX, size=-512),
        "records of a terabyte": tars.header(b"pax", tars.PAX, size=1 << 40) + b"x" * 1024,
        "records of two megabytes": tars.pax({b"comment": b"x" * (2 << 20)}, tars.file(b"f")),
        "long name of two megabytes": tars.long(b"x" * (2 << 20)) + tars.file(b"f"),
        "records without a file": tars.pax({b"path": b"f"}),
        "record without its length": tars.header(b"pax", tars.PAX, size=10) + tars.padded(b"path=f\n"),
        "record of a wrong length": tars.header(b"pax", tars.PAX, size=16)
        + tars.padded(b"9999 path=f\n")
        + tars.file(b"f"),
        "records upon records": tars.pax({b"comment": b"x"}) * 3000 + tars.file(b"f"),
        "long names upon long names": tars.long(b"n") * 3000 + tars.file(b"f"),
        "many global records": b"".join(
            tars.pax({b"k%d.%d" % (n, m): b"v" for m in range(500)}, kind=tars.GLOBAL) for n in range(4)
        )
        + tars.file(b"f"),
        "zero byte in a name": tars.pax({b"path": b"a\0b"}, tars.file(b"f")),
        "zero byte in a link": tars.pax({b"linkpath": b"a\0b"}, tars.link(b"l", b"x")),
        "zero byte in a hard link": tars.pax({b"linkpath": b"a\0b"}, tars.hard(b"l", b"x")),
        "part of 256 bytes": tars.long(b"n" * 256) + tars.file(b"f"),
        "path of 5000 bytes": tars.long(b"d/" * 2499 + b"f") + tars.file(b"f"),
        "a hundred thousand directories": tars.long(b"d/" * 100_000 + b"f") + tars.file(b"f"),
        "link of 5000 bytes": tars.link(b"l", b"d/" * 2499 + b"f"),
        "hard link of 5000 bytes": tars.hard(b"l", b"d/" * 2499 + b"f"),
        "kind that nobody knows": tars.header(b"f", b"Z"),
        "kind of a socket": tars.header(b"f", b"s"),
        "device that cannot be": tars.header(b"f", tars.CHARACTER, device=(1 << 20, 1)),
        "device below zero": tars.header(b"f", tars.DISK, device=(-1, 1)),
        "damaged header": tars.file(b"f") + b"x" * 512,
        "half a header": tars.file(b"f") + tars.header(b"g")[:300],
        "sparse map that is no map": tars.pax(
            {b"GNU.sparse.map": b"a,b", b"GNU.sparse.size": b"x"}, tars.file(b"f")
        ),
        "sparse map in the file that is none": tars.pax(
            {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0"}, tars.file(b"f", b"x" * 512)
        ),
        "capability that is none": tars.pax({b"SCHILY.xattr.security.capability": b"x"}, tars.file(b"f")),
        "attribute of a link": tars.pax({b"SCHILY.xattr.user.a": b"x"}, tars.link(b"l", b"f")),
        "attribute without a name": tars.pax({b"SCHILY.xattr.user.": b"x"}, tars.file(b"f")),
        "attribute with too long a name": tars.pax(
            {b"SCHILY.xattr.user." + b"n" * 300: b"x"}, tars.file(b"f")
        ),
    }


NAMES = sorted(_out(b"/x"))


@pytest.mark.parametrize("case", NAMES)
def test_what_cannot_be_is_one_error(case: str, tmp_path: Path) -> None:
    victim = canary.make(tmp_path)
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(CorruptError) as caught:
        trees.unpack([_out(victim.path)[case] + tars.END], root)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 1000
    assert victim.unharmed()


def _right() -> dict[str, tuple[bytes, Callable[[Path], bool]]]:
    """What is odd, and has a meaning."""

    def mode(path: Path) -> int:
        return path.lstat().st_mode

    return {
        "absolute name": (tars.file(b"/etc/x"), lambda r: (r / "etc/x").read_text() == "theirs\n"),
        "the root": (tars.directory(b"./") + tars.directory(b"/"), lambda r: not list(r.iterdir())),
        "empty name": (tars.file(b"") + tars.file(b"f"), lambda r: (r / "f").is_file()),
        "two of one name": (
            tars.file(b"f", b"1") + tars.file(b"f", b"2"),
            lambda r: (r / "f").read_bytes() == b"2",
        ),
        "file over a link": (
            tars.link(b"f", b"../victim/file") + tars.file(b"f"),
            lambda r: stat.S_ISREG(mode(r / "f")),
        ),
        "hard link to a link, written over": (
            tars.link(b"l", b"../victim/file") + tars.hard(b"h", b"l") + tars.file(b"h"),
            lambda r: (r / "l").is_symlink() and stat.S_ISREG(mode(r / "h")),
        ),
        "directory over a file": (
            tars.file(b"d") + tars.directory(b"d"),
            lambda r: stat.S_ISDIR(mode(r / "d")),
        ),
        "pipe": (tars.header(b"p", tars.PIPE), lambda r: stat.S_ISFIFO(mode(r / "p"))),
        "newline in a name": (tars.file(b"a\nb"), lambda r: (r / "a\nb").is_file()),
        "name that is not UTF-8": (
            tars.file(b"\xff\xfe"),
            lambda r: [os.fsencode(p.name) for p in r.iterdir()] == [b"\xff\xfe"],
        ),
        "deep": (tars.long(DEEP) + tars.file(b"f"), lambda r: True),
        "before 1970": (
            tars.pax({b"mtime": b"-5.5"}, tars.file(b"f")),
            lambda r: (r / "f").stat().st_mtime == -5.5,
        ),
        "mode of more bits than there are": (
            tars.header(b"f", mode=1 << 40 | 0o640),
            lambda r: stat.S_IMODE(mode(r / "f")) == 0o640,
        ),
        "overlayfs's own attributes": (
            tars.pax(
                {
                    b"SCHILY.xattr.user.overlay.opaque": b"y",
                    b"SCHILY.xattr.trusted.overlay.opaque": b"y",
                    b"SCHILY.xattr.user.overlay.redirect": b"/etc",
                },
                tars.directory(b"d"),
            ),
            lambda r: not [n for n in os.listxattr(r / "d") if "overlay" in n],
        ),
        "attributes of the machine": (
            tars.pax(
                {b"SCHILY.xattr.security.selinux": b"x", b"SCHILY.xattr.trusted.x": b"y"}, tars.file(b"f")
            ),
            lambda r: "trusted.x" not in os.listxattr(r / "f"),
        ),
        "bookkeeping of aufs": (
            tars.file(b".wh..wh.plnk/1.2") + tars.file(b".wh..wh.aufs", b"") + tars.file(b"f"),
            lambda r: [p.name for p in r.iterdir()] == ["f"],
        ),
        "sparse map of one number": (
            tars.pax({b"GNU.sparse.map": b"1"}, tars.file(b"f")),
            lambda r: (r / "f").is_file(),
        ),
        "no end": (tars.file(b"f"), lambda r: (r / "f").is_file()),
    }


@pytest.mark.parametrize("case", sorted(_right()))
def test_what_is_odd_has_its_meaning(case: str, tmp_path: Path) -> None:
    victim = canary.make(tmp_path)
    root = tmp_path / "root"
    root.mkdir()
    tar, right = _right()[case]
    trees.unpack([tar + (b"" if case == "no end" else tars.END)], root)
    assert right(root)
    assert victim.unharmed()
    remove_tree(root)
    assert not root.exists()


@pytest.mark.parametrize("case", NAMES)
def test_reading_without_unpacking_is_no_worse(case: str, tmp_path: Path) -> None:
    """At lock time layers are read as they lie, and so are the skeletons of what is never unpacked."""
    layer = tmp_path / ("0" * 64)
    layer.write_bytes(_out(b"/victim")[case] + tars.END)
    try:
        views.view([layer], lambda name: True)
    except BuildError as error:
        assert "cannot be read" in str(error)
    store = Store.open(tmp_path / "store")
    with store.blob_writer() as writer:
        writer.write(layer.read_bytes())
        writer.commit()
    made = store.import_layer(writer.digest, "application/x-tar", "odd")
    try:
        skeleton.of_object(store, made.id, {})
    except CorruptError as error:
        assert "\n" not in str(error)
    with pytest.raises(CorruptError, match=f"odd \\({made.digest}\\)"):
        store.tree(made.id)
    store.close()


def test_layers_hide_deep_directories(tmp_path: Path) -> None:
    below, above = tmp_path / "a", tmp_path / "b"
    below.write_bytes(tars.long(DEEP) + tars.file(b"f") + tars.END)
    above.write_bytes(tars.file(b".wh.d", b"") + tars.END)
    assert views.view([below]).find("/" + DEEP.decode()) is not None
    assert views.view([below, above]).find("/d") is None


def test_a_tree_deeper_than_any_path_is_removed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(6000):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.symlink("/etc", "link", dir_fd=here)
    os.close(here)
    remove_tree(top)
    assert not top.exists()
