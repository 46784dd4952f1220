"""conda packages that lead out of their prefix: rattler joins their paths without a look."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.core.command import LimitError
from engine.ecosystems.conda import builder as conda
from engine.errors import BuildError
from engine.realise.context import BuildContext
from tests.hostile import canary

Link = tuple[str, str]


def package(
    place: Path,
    name: str,
    files: Mapping[str, bytes],
    *,
    links: Sequence[Link] = (),
    paths: Sequence[Mapping[str, Any]] | None = None,
    extra: Mapping[str, Any] = {},
) -> Path:
    """A package (.tar.bz2) with `files`; paths.json lists them, or says `paths`."""
    rows = (
        paths
        if paths is not None
        else [
            *({"_path": n, "path_type": "hardlink"} for n in files if not n.startswith("info/")),
            *({"_path": n, "path_type": "softlink"} for n, _ in links),
        ]
    )
    index = {
        "name": name,
        "version": "1",
        "build": "0",
        "build_number": 0,
        "depends": [],
        "arch": None,
        "platform": None,
        "subdir": "linux-64",
        **extra,
    }
    about = {
        "info/index.json": json.dumps(index).encode(),
        "info/paths.json": json.dumps({"paths": list(rows), "paths_version": 1}).encode(),
    }
    path = place / f"{name}-1-0.tar.bz2"
    with tarfile.open(path, "w:bz2") as tar:
        for file, target in links:
            info = tarfile.TarInfo(file)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
        for file, content in {**about, **files}.items():
            info = tarfile.TarInfo(file)
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
    return path


def build(tmp_path: Path, *packages: Path) -> Path:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    files = tuple((p.name, p) for p in packages)
    urls = [[p.name, f"https://host/linux-64/{p.name}", "linux-64"] for p in packages]
    return conda.build(BuildContext("conda", {"urls": urls}, (), files, scratch, print, say=print))


DEEP = "d/" * 20
CLIMB = "../" * 24


def hostile(name: str, place: Path, victim: str) -> list[Path]:
    """The packages of one attack on `victim`, an absolute path."""
    file = {"_path": f"{CLIMB}{victim[1:]}/dir/pwned", "path_type": "hardlink"}
    if name == "a path through a link":
        return [
            package(
                place,
                "evil",
                {f"{DEEP}x": b"", f"{victim[1:]}/dir/pwned": b"pwned"},
                links=[("L", DEEP.rstrip("/"))],
                paths=[{"_path": f"L/{'../' * 20}{victim[1:]}/dir/pwned", "path_type": "hardlink"}],
            )
        ]
    if name == "a path that climbs":
        return [package(place, "evil", {"x": b"pwned"}, paths=[file])]
    if name == "an absolute path":
        return [
            package(
                place,
                "evil",
                {"x": b"pwned"},
                paths=[{"_path": f"{victim}/dir/pwned", "path_type": "hardlink"}],
            )
        ]
    if name == "a directory that climbs":
        return [package(place, "evil", {"x": b""}, paths=[{**file, "path_type": "directory"}])]
    if name == "a link, then a file below it":
        return [
            package(place, "evil", {"x": b""}, links=[("share", f"{victim}/dir")]),
            package(place, "evil2", {"share/pwned": b"pwned"}),
        ]
    if name == "history is a link":
        return [package(place, "evil", {}, links=[("conda-meta/history", f"{victim}/file")])]
    if name == "conda-meta is a link":
        return [package(place, "evil", {"x": b""}, links=[("conda-meta", f"{victim}/dir")])]
    if name == "a record is a link":
        return [
            package(
                place,
                "evil",
                {"x": b""},
                links=[
                    ("conda-meta/evil-1-0.json", f"{victim}/file"),
                    ("conda-meta/b.json", f"{victim}/file"),
                ],
            )
        ]
    if name == "a record of its own":
        return [package(place, "evil", {"conda-meta/other.json": b'{"paths_data": 7, "files": 3}'})]
    if name == "a cache is a link":
        return [
            package(
                place,
                "evil",
                {"x": b""},
                links=[
                    ("lib/__pycache__", f"{victim}/dir"),
                    ("__clobbers__", f"{victim}/dir"),
                    ("CACHEDIR.TAG", f"{victim}/file"),
                ],
            )
        ]
    if name == "a prefix to replace in a file of the host":
        return [
            package(
                place,
                "evil",
                {"x": b"/old"},
                links=[("y", f"{victim}/file")],
                paths=[
                    {"_path": "y", "path_type": "hardlink", "file_mode": "text", "prefix_placeholder": "own"}
                ],
            )
        ]
    if name == "a script to run after linking":
        code = f"#!/bin/sh\necho pwned >{victim}/dir/pwned\n".encode()
        return [package(place, "evil", {"bin/.evil-post-link.sh": code, "bin/.evil-pre-link.sh": code})]
    if name == "entry points that climb":
        link = {
            "noarch": {"type": "python", "entry_points": [f"{CLIMB}{victim[1:]}/dir/pwned = a:b"]},
            "package_metadata_version": 1,
        }
        return [
            package(place, "python", {"bin/python3.11": b""}, extra={"version": "3.11.1"}),
            package(
                place,
                "evil",
                {"site-packages/a.py": b"b = 1\n", "info/link.json": json.dumps(link).encode()},
                extra={"noarch": "python", "depends": ["python"]},
            ),
        ]
    if name == "a name that climbs":
        return [package(place, "evil", {"x": b""}, extra={"name": f"{CLIMB}{victim[1:]}/dir/pwned"})]
    if name == "a site directory that climbs":
        return [
            package(
                place,
                "python",
                {"bin/python3.11": b""},
                extra={"version": "3.11.1", "python_site_packages_path": f"{CLIMB}{victim[1:]}/dir"},
            ),
            package(place, "evil", {"site-packages/pwned": b""}, extra={"noarch": "python"}),
        ]
    if name == "no JSON":
        return [package(place, "evil", {"info/index.json": b"[" * 100000})]
    assert name == "no package"
    (place / "evil-1-0.tar.bz2").write_bytes(b"BZh9 no such thing")
    return [place / "evil-1-0.tar.bz2"]


ATTACKS = (
    "a path through a link",
    "a path that climbs",
    "an absolute path",
    "a directory that climbs",
    "a link, then a file below it",
    "history is a link",
    "conda-meta is a link",
    "a record is a link",
    "a record of its own",
    "a cache is a link",
    "a prefix to replace in a file of the host",
    "a script to run after linking",
    "entry points that climb",
    "a name that climbs",
    "a site directory that climbs",
    "no JSON",
    "no package",
)


@pytest.mark.parametrize("name", ATTACKS)
def test_it_stays_in_its_prefix(name: str, tmp_path: Path) -> None:
    own = canary.make(tmp_path)
    packages = hostile(name, tmp_path, str(own.directory))
    try:
        build(tmp_path, *packages)
    except BuildError as error:
        # What fails says it in one line. (What does not has put the thing into the image alone.)
        assert str(error).startswith("conda: ") and "\n" not in str(error)
    assert own.unharmed()


@pytest.mark.parametrize("name", ["a path through a link", "a path that climbs", "an absolute path"])
def test_a_path_that_leads_out_is_refused_by_name(name: str, tmp_path: Path) -> None:
    own = canary.make(tmp_path)
    with pytest.raises(BuildError, match=r"evil-1-0.tar.bz2: the path '.*' leads"):
        build(tmp_path, *hostile(name, tmp_path, str(own.directory)))


def test_a_limit_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVD_LIMITS", "time=0.001s")
    one = package(tmp_path, "one", {"a": b"a"}, paths=[{"_path": "a", "path_type": "hardlink"}])
    with pytest.raises(LimitError, match=r"conda: it took longer than .*s, its limit; .*--limit time="):
        build(tmp_path, one)


def test_an_honest_one(tmp_path: Path) -> None:
    one = package(
        tmp_path,
        "one",
        {"bin/a": b"#!/old/prefix/bin/x\n", "lib/b": b"b"},
        links=[("lib/c", "b")],
        paths=[
            {
                "_path": "bin/a",
                "path_type": "hardlink",
                "file_mode": "text",
                "prefix_placeholder": "/old/prefix",
            },
            {"_path": "lib/b", "path_type": "hardlink"},
            {"_path": "lib/c", "path_type": "softlink"},
        ],
    )
    prefix = build(tmp_path, one) / "opt/conda"
    assert (prefix / "bin/a").read_bytes() == b"#!/opt/conda/bin/x\n"
    assert (prefix / "lib/c").readlink() == Path("b")
    record = json.loads((prefix / "conda-meta/one-1-0.json").read_text())
    assert record["url"] == "https://host/linux-64/one-1-0.tar.bz2"
    assert str(tmp_path) not in json.dumps(record) and "/envd" not in json.dumps(record)
    assert (prefix / "conda-meta/history").read_bytes() == b""
