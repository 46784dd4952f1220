"""Fuzzing of what reads tars: layers (unpacked, and read as they lie), archives of tools, trees of
packages. Whatever the bytes are, nothing outside is touched, and it ends with one error or a tree."""

from __future__ import annotations

import shutil
import sys
import tarfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))
with atheris.instrument_imports(include=["store", "engine", "tarfile"]):
    from engine.ecosystems.julia.git_tree import tree_hash
    from engine.errors import BuildError
    from engine.oci import filesystem as views
    from engine.realise import tars as archives_of_tools
    from store import archives, skeleton, trees
    from store.errors import CorruptError, UnstorableError
    from store.layers import write_tar
    from store.removal import remove_tree

from tests.fuzz import harness
from tests.fuzz.harness import Bits
from tests.hostile import tars

archives.LARGEST_HOLES = 1 << 20  # as elsewhere, and sooner
NAMES = [
    b"a",
    b"b",
    b"a/b",
    b"a/b/c",
    b"l",
    b"l/x",
    b"./a",
    b"a/",
    b"/a",
    b"../victim/file",
    b"a/../b",
    b"..",
    b".",
    b"",
    b".wh.a",
    b".wh..wh..opq",
    b"a/.wh..wh..opq",
    b".wh..wh.plnk",
    b".wh.",
    b".wh..",
    b".wh...",
    b"a/.wh.b",
    b".wh.a/b",
    b"\xff",
    b"a\nb",
    b"n" * 99,
    b"victim",
    b"../../victim",
]
KINDS = [
    tars.FILE,
    tars.HARD,
    tars.LINK,
    tars.DIRECTORY,
    tars.CHARACTER,
    tars.DISK,
    tars.PIPE,
    tars.SPARSE,
    tars.PAX,
    tars.GLOBAL,
    tars.LONG_NAME,
    tars.LONG_LINK,
    b"7",
    b"\0",
    b"Z",
    b"X",
    b"D",
    b"V",
    b"M",
]
NUMBERS = [0, 1, 512, 0o644, 0o4777, 65535, 1 << 31, 1 << 32, (1 << 32) - 1, 1 << 40, 1 << 63, -1, -512]
KEYS = [
    b"path",
    b"linkpath",
    b"size",
    b"mtime",
    b"uid",
    b"gid",
    b"uname",
    b"hdrcharset",
    b"GNU.sparse.map",
    b"GNU.sparse.size",
    b"GNU.sparse.realsize",
    b"GNU.sparse.major",
    b"GNU.sparse.minor",
    b"GNU.sparse.name",
    b"GNU.sparse.numblocks",
    b"GNU.sparse.offset",
    b"GNU.sparse.numbytes",
    b"SCHILY.xattr.user.a",
    b"SCHILY.xattr.user.overlay.opaque",
    b"SCHILY.xattr.security.capability",
    b"SCHILY.xattr.",
    b"comment",
]
VALUES = [
    b"",
    b"0",
    b"1",
    b"-1",
    b"nan",
    b"inf",
    b"1e300",
    b"9" * 30,
    b"BINARY",
    b"y",
    b"0,1",
    b"0,1,5,1048576",
    b"a",
    b"../victim/file",
    b"a\0b",
    b"\xff",
    b"1.5",
    b"0x10",
    b"1_0",
]


def made(bits: Bits) -> bytes:
    """A tar of parts that mean something."""
    rows: list[bytes] = []
    while bits and len(rows) < 60:
        kind, name = bits.one(KINDS), bits.one(NAMES) if bits.byte() % 4 else bits.take()
        if kind in (tars.PAX, tars.GLOBAL):
            records = {}
            for _ in range(1 + bits.byte() % 4):
                records[bits.one(KEYS)] = bits.one(VALUES) if bits.byte() % 3 else bits.take()
            rows.append(tars.pax(records, kind=kind))
        elif kind in (tars.LONG_NAME, tars.LONG_LINK):
            rows.append(tars.long(name * (1 + bits.byte()), kind))
        else:
            content = bits.take() if kind in (tars.FILE, b"7", b"\0") else b""
            facts = {"size": len(content)}
            if bits.byte() % 8 == 0:
                facts[bits.one(["size", "mode", "uid", "gid", "mtime"])] = bits.one(NUMBERS)
            tail = bits.take(255) if kind == tars.SPARSE else b""
            rows.append(
                tars.header(name, kind, link=bits.one(NAMES), tail=tail[:167], **facts)  # type: ignore[arg-type]
                + tars.padded(content)
            )
    return b"".join(rows) + tars.END


def sealed(data: bytes) -> bytes:
    """`data` with the checksums of what look like headers put right, so that they are read."""
    blocks = [bytearray(data[n : n + 512]) for n in range(0, len(data), 512)]
    for block in blocks:
        if block[257:262] == b"ustar" and len(block) == 512:
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
    return b"".join(map(bytes, blocks))


def one_input(data: bytes, inside: Path) -> None:
    tar = made(Bits(data[1:])) if data[:1] == b"\1" else sealed(data)
    path = inside / "layer.tar"
    path.write_bytes(tar)
    root = inside / "root"
    try:
        for read in (_layer, _tool, _as_it_lies):
            root.mkdir()
            read(path, root)
            remove_tree(root)
    finally:
        if root.exists():
            remove_tree(root)
        path.unlink()


def _layer(path: Path, root: Path) -> None:
    try:
        trees.unpack([path.read_bytes()], root)
        write_tar(root, lambda _: None, 0)
    except (CorruptError, UnstorableError) as error:
        harness.said(error)


def _tool(path: Path, root: Path) -> None:
    into = root / "opt/t"
    into.mkdir(parents=True)

    def place(name: str) -> Path | None:
        from engine.ecosystems.tools import builder as tool

        return tool._place(name, into, {"only": "*", "without": (), "strip": 0})

    try:
        archives_of_tools.unpack(path, into, root, place, times=True)
    except (BuildError, tarfile.TarError) as error:
        harness.said(error)


def _as_it_lies(path: Path, root: Path) -> None:
    try:
        merged = views.view([path, path], lambda name: True)
        merged.find("/a/b/c")
        merged.list("/a")
    except BuildError as error:
        harness.said(error)
    try:
        skeleton.parse(b"\0".join(skeleton._members([path.read_bytes()])))
    except (CorruptError, tarfile.TarError) as error:
        harness.said(error)
    try:
        tree_hash(path)
    except (ValueError, tarfile.TarError) as error:
        harness.said(error)


if __name__ == "__main__":
    assert shutil.rmtree.avoids_symlink_attacks
    harness.run("tar", one_input, longest=8192)
