"""Archives of tools, of R's and Julia's packages: nothing outside is read, linked to or written."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.ecosystems.julia import builder as julia
from engine.ecosystems.julia.git_tree import tree_hash
from engine.ecosystems.python import sdists
from engine.ecosystems.r import builder as rpackage
from engine.ecosystems.tools import builder as tool
from engine.errors import BuildError, ResolveError
from engine.lock.packages import LockedFile
from engine.realise.context import BuildContext
from tests.hostile import canary, tars
from tests.hostile.canary import Canary

DOTS = b"/".join([b".."] * 12)


def context(scratch: Path, files: list[Path], parameters: dict[str, Any]) -> BuildContext:
    return BuildContext(
        name="hostile",
        parameters=parameters,
        layers=(),
        files=tuple((p.name, p) for p in files),
        scratch=scratch,
        log=lambda _: None,
    )


def unpack_tool(place: Path, *archives: Path, moved: str = "") -> Path:
    scratch = place / "scratch"
    scratch.mkdir()
    one = {"into": "/opt/t", "strip": 0, "only": "*", "without": [], "executable": False}
    how = [one] * len(archives)
    return tool.build(
        context(scratch, list(archives), {"unpack": how, "moved": moved, "links": {}, "files": {}})
    )


def written(place: Path, content: bytes, name: str = "t.tar.gz") -> Path:
    path = place / name
    path.write_bytes(gzip.compress(content + tars.END, 1) if name.endswith("gz") else content)
    return path


def climbing(victim: bytes) -> bytes:
    """A link's text that stays inside by its letters and leads to `victim`."""
    return b"/".join([b"a"] * 30) + b"/" + b"/".join([b".."] * 30) + victim


def _refused(victim: bytes) -> dict[str, bytes]:
    ladder = tars.link(b"a", b".")
    return {
        "name that climbs": tars.file(b"../x"),
        "name that climbs later": tars.file(b"a/../../x"),
        "absolute name": tars.file(victim + b"/file"),
        "absolute link": tars.link(b"l", victim),
        "link that climbs": tars.link(b"l", b"../../../../../../etc"),
        "link through a link": ladder + tars.link(b"e", climbing(victim)),
        "link through a link that comes later": tars.link(b"e", b"b/c/../../b/c") + tars.link(b"b", b"."),
        "hard link through a link": ladder
        + tars.link(b"e", b"a/a/../../../.." + DOTS + victim)
        + tars.hard(b"steal", b"e/file"),
        "hard link through a link inside": tars.file(b"d/f")
        + tars.link(b"l", b"d")
        + tars.hard(b"h", b"l/f"),
        "hard link to an absolute path": tars.hard(b"h", victim + b"/file"),
        "hard link that climbs": tars.hard(b"h", b"../../victim/file"),
        "hard link to a link": tars.file(b"f") + tars.link(b"l", b"f") + tars.hard(b"h", b"l"),
        "hard link to itself": tars.hard(b"h", b"h"),
        "hard link to a file that does not": tars.hard(b"h", b"nothing"),
        "hard link to a directory": tars.directory(b"d") + tars.hard(b"h", b"d"),
        "file through a link": tars.link(b"l", b".") + tars.file(b"l/x"),
        "directory becomes a file": tars.file(b"d/x") + tars.file(b"d"),
        "file becomes a directory": tars.file(b"d") + tars.directory(b"d"),
        "below a file": tars.file(b"f") + tars.file(b"f/g"),
        "pipe": tars.header(b"p", tars.PIPE),
        "character device": tars.header(b"n", tars.CHARACTER, device=(1, 5)),
        "disk": tars.header(b"n", tars.DISK, device=(8, 0)),
        "unknown kind": tars.header(b"n", b"Z"),
        "zero byte": tars.pax({b"path": b"a\0b"}, tars.file(b"f")),
        "zero byte in a link": tars.pax({b"linkpath": b"a\0b"}, tars.link(b"l", b"f")),
        "time that is no number": tars.pax({b"mtime": b"nan"}, tars.file(b"f")),
        "time too far": tars.pax({b"mtime": b"1e300"}, tars.file(b"f")),
        "part of 256 bytes": tars.long(b"n" * 256) + tars.file(b"f"),
        "a hundred thousand directories": tars.long(b"d/" * 100_000 + b"f") + tars.file(b"f"),
        "size below zero": tars.file(b"f") + tars.pax({b"size": b"-1536"}, tars.file(b"g")),
        "size beyond the end": tars.header(b"f", size=1 << 40),
        "records of a terabyte": tars.file(b"f") + tars.header(b"pax", tars.PAX, size=1 << 40),
        "records upon records": tars.file(b"f") + tars.pax({b"comment": b"x"}) * 3000 + tars.file(b"g"),
        "damaged header": tars.file(b"f") + b"x" * 512,
        "nothing": b"",
    }


@pytest.mark.parametrize("case", sorted(_refused(b"/x")))
def test_a_tool_is_one_error(case: str, tmp_path: Path) -> None:
    victim = canary.make(tmp_path)
    with pytest.raises(BuildError) as caught:
        unpack_tool(tmp_path, written(tmp_path, _refused(victim.path)[case]))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert victim.unharmed()


@pytest.mark.parametrize(
    ("tar", "right"),
    [
        (tars.file(b"f", b"1") + tars.file(b"f", b"2"), lambda r: (r / "f").read_bytes() == b"2"),
        (
            tars.file(b"f") + tars.link(b"l", b"f") + tars.file(b"l", b"2"),
            lambda r: (r / "f").read_bytes() == b"theirs\n" and not (r / "l").is_symlink(),
        ),
        (tars.file(b"d/f") + tars.hard(b"h", b"d/f"), lambda r: (r / "h").stat().st_nlink == 2),
        (
            tars.link(b"b/l", b"../d/e/../f") + tars.file(b"d/f") + tars.directory(b"d/e"),
            lambda r: (r / "b/l").read_bytes() == b"theirs\n",
        ),
        (tars.header(b"f", mode=0o4777), lambda r: stat.S_IMODE((r / "f").stat().st_mode) == 0o755),
        (tars.file(b"\xff\n"), lambda r: [os.fsencode(p.name) for p in r.iterdir()] == [b"\xff\n"]),
    ],
)
def test_what_is_odd_has_its_meaning(tar: bytes, right: Callable[[Path], bool], tmp_path: Path) -> None:
    assert right(unpack_tool(tmp_path, written(tmp_path, tar)) / "opt/t")


@pytest.mark.parametrize("pattern", ["lib/pkgconfig", "lib/python3.11", "lib"])
def test_settings_are_not_written_through_links(pattern: str, tmp_path: Path) -> None:
    """Of a Python, paths in files are changed where it is unpacked: never behind a link."""
    victim = tmp_path / "victim"
    for name in ("_sysconfigdata_x.py", "x.pc", "pkgconfig/x.pc", "python3.11/_sysconfigdata_x.py"):
        (victim / name).parent.mkdir(parents=True, exist_ok=True)
        (victim / name).write_text("prefix=/install\n")
    upper = tmp_path / "upper"
    (upper / "opt/t" / pattern).parent.mkdir(parents=True)
    (upper / "opt/t" / pattern).symlink_to(victim)
    tool._move(upper, "opt/t", "/opt/t")
    assert all("/install" in p.read_text() for p in victim.rglob("*.p[cy]"))


def zipped(place: Path, rows: list[tuple[str, bytes]], name: str = "t.zip") -> Path:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in rows:
            info = zipfile.ZipInfo(member)
            info.external_attr, info.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    path = place / name
    path.write_bytes(data.getvalue())
    return path


ZIPS = {
    "name that climbs": [("../x", b"")],
    "name that climbs later": [("a/../../x", b"")],
    "absolute name": [("/etc/x", b"")],
    "file and directory": [("a", b""), ("a/b", b"")],
    "directory and file": [("a/b", b""), ("a", b"")],
    "part of 256 bytes": [("n" * 256, b"")],
    "a path of 60000 bytes": [("d/" * 30_000 + "f", b"")],
    "newline": [("a\nb", b"")],
    "escape": [("a\x1b[2Jb", b"")],
    "nothing": [],
}


@pytest.mark.parametrize("case", sorted(ZIPS))
def test_a_zipped_tool_is_one_error(case: str, tmp_path: Path) -> None:
    victim = canary.make(tmp_path)
    with pytest.raises(BuildError) as caught:
        unpack_tool(tmp_path, zipped(tmp_path, ZIPS[case]))
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert victim.unharmed()


def changed(data: bytes, record: bytes, offset: int, value: bytes) -> bytes:
    """`data` with other bytes in its first record of a kind (APPNOTE.TXT, 4.3)."""
    at = data.index(record) + offset
    return data[:at] + value + data[at + len(value) :]


LOCAL, CENTRAL = b"PK\3\4", b"PK\1\2"
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a version of the future": lambda data: changed(data, CENTRAL, 6, b"\xff\xff"),
    "a way of compression of nobody's": lambda data: changed(data, CENTRAL, 10, b"\x63\0"),
    "LZMA that is none": lambda data: changed(data, CENTRAL, 10, b"\x0e\0"),
    "bzip2 that is none": lambda data: changed(data, CENTRAL, 10, b"\x0c\0"),
    "encrypted": lambda data: changed(data, CENTRAL, 8, b"\1\0"),
    "patched data": lambda data: changed(data, CENTRAL, 8, b"\x20\0"),
    "not deflate": lambda data: changed(data, LOCAL, 39, b"\xff" * 8),
    "another checksum": lambda data: changed(data, CENTRAL, 16, b"\1\2\3\4"),
    "another name": lambda data: changed(data, LOCAL, 30, b"XXXX"),
    "a place behind the end": lambda data: changed(data, CENTRAL, 42, b"\xff\xff\xff\x7f"),
    "a size of four gigabytes": lambda data: changed(data, CENTRAL, 20, b"\xfe\xff\xff\xff"),
    "half of it": lambda data: data[: len(data) // 2],
    "a hole": lambda data: data[:40] + data[60:],
}


@pytest.mark.parametrize("case", sorted(DAMAGES))
def test_a_damaged_zip_is_one_error(case: str, tmp_path: Path) -> None:
    path = zipped(tmp_path, [("some-file", b"0123456789" * 50), ("other", b"x")])
    path.write_bytes(DAMAGES[case](path.read_bytes()))
    with pytest.raises(BuildError, match=r"^t\.zip: ") as caught:
        unpack_tool(tmp_path, path)
    assert "\n" not in str(caught.value)


def test_a_zip_is_not_written_through_the_links_of_a_tar(tmp_path: Path) -> None:
    """Two archives go into one layer: what the first left is foreign to the second."""
    victim = canary.make(tmp_path)
    first = written(tmp_path, tars.link(b"d", b".") + tars.link(b"f", b"d/x") + tars.file(b"g"))
    with pytest.raises(BuildError, match="symbolic link"):
        unpack_tool(tmp_path, first, zipped(tmp_path, [("d/x", b"theirs")]))
    other = tmp_path / "other"
    other.mkdir()
    upper = unpack_tool(other, first, zipped(tmp_path, [("f", b"theirs")]))
    assert not (upper / "opt/t/f").is_symlink()
    assert victim.unharmed()


def _source(victim: Canary, link: bytes) -> bytes:
    """An R package whose directory is a link to the host's, where a DESCRIPTION lies."""
    return tars.link(b"a", b".") + tars.link(b"p", b"/".join([b"a"] * 3) + b"/../../.." + link)


def test_descriptions_of_the_host_are_not_read(tmp_path: Path) -> None:
    victim = canary.make(tmp_path)
    (victim.directory / "DESCRIPTION").write_text("SystemRequirements: TOP-SECRET\n")
    path = written(tmp_path, _source(victim, b"/victim"))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(BuildError) as caught:
        rpackage.build(context(scratch, [path], {"package": "p"}))
    assert "TOP-SECRET" not in str(caught.value)


@pytest.mark.parametrize("case", sorted(_refused(b"/x")))
def test_packages_of_r_and_julia_are_one_error(case: str, tmp_path: Path) -> None:
    victim = canary.make(tmp_path)
    path = written(tmp_path, _refused(victim.path)[case])
    for number, (build, parameters) in enumerate(
        ((rpackage.build, {"package": "p"}), (julia.build_tree, {"place": "usr/local/share/julia/x"}))
    ):
        scratch = tmp_path / f"scratch{number}"
        scratch.mkdir()
        try:
            build(context(scratch, [path], parameters))
            assert case == "nothing"
        except BuildError as error:
            assert "\n" not in str(error)
    assert victim.unharmed()


@pytest.mark.parametrize("case", sorted(_refused(b"/x")))
def test_reading_at_lock_time_is_one_error(case: str, tmp_path: Path) -> None:
    """Trees are hashed, and an sdist's pyproject.toml is read, before anything is built."""
    path = written(tmp_path, _refused(b"/victim")[case])
    try:
        tree_hash(path)
    except (tarfile.TarError, ValueError, OSError) as error:
        assert len(str(error)) < 1000
    try:
        assert list(sdists._members(path, path.name, "pyproject.toml")) == []
    except tarfile.TarError as error:
        assert len(str(error)) < 1000


@pytest.mark.parametrize(
    "text",
    [
        b"build-system = 5",
        b"[build-system]\nrequires = 5",
        b"[build-system]\nrequires = [5]",
        b"\xff\xfe",
        b"a = " + b"[" * 5000,
        b"a" * (17 << 20),
        b"[build-system",
    ],
    ids=range(7),
)
@pytest.mark.parametrize("form", ["tar.gz", "zip"])
def test_a_hostile_pyproject_is_one_error(text: bytes, form: str, tmp_path: Path) -> None:
    name = f"p-1.0.{form}"
    if form == "zip":
        path = zipped(tmp_path, [("p-1.0/pyproject.toml", text)], name)
    else:
        path = written(tmp_path, tars.plain({"p-1.0/pyproject.toml": text}), name)
    content = path.read_bytes()
    file = LockedFile(name, path.as_uri(), hashlib.sha256(content).hexdigest(), len(content))
    with pytest.raises(ResolveError, match=r"^p-1\.0\."):
        sdists.build_requires(file, path.as_uri(), tmp_path / "store")
