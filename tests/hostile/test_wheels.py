"""Wheels and extensions of VS Code that somebody else has made: inside the layer, or one error."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest

from engine.ecosystems.python import wheel
from engine.ecosystems.python.interpreter import Interpreter
from engine.ecosystems.vscode import builder as vscode
from engine.errors import BuildError
from engine.realise.context import BuildContext
from tests.hostile import canary

NAME = "p-1.0-py3-none-any.whl"
DIST, DATA = "p-1.0.dist-info", "p-1.0.data"
GOOD = {
    "p/__init__.py": "",
    f"{DIST}/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{DIST}/METADATA": "Metadata-Version: 2.1\nName: p\nVersion: 1.0\n",
}


def zipped(path: Path, rows: dict[str, str], mode: int = 0o644) -> Path:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in rows.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content)
    path.write_bytes(data.getvalue())
    return path


def context(place: Path, path: Path, parameters: dict[str, Any]) -> BuildContext:
    scratch = place / "scratch"
    scratch.mkdir()
    return BuildContext("hostile", parameters, (), ((path.name, path),), scratch, lambda _: None)


def install(place: Path, extra: dict[str, str], mode: int = 0o644, listed: bool = True) -> Path:
    rows = {**GOOD, **extra}
    if f"{DIST}/RECORD" not in rows and listed:
        rows[f"{DIST}/RECORD"] = "".join(f"{name},,\n" for name in rows)
    path = zipped(place / NAME, rows, mode)
    return wheel.build(context(place, path, Interpreter("3.11").parameters))


WHEELS = {
    "name that climbs": {"../x": ""},
    "name that climbs later": {"p/../../x": ""},
    "absolute name": {"/etc/x": ""},
    "name of dots": {"..": ""},
    "script that climbs": {f"{DATA}/scripts/../../../x": ""},
    "data that climb": {f"{DATA}/data/../../../../etc/x": ""},
    "scheme that nobody knows": {f"{DATA}/etc/x": ""},
    "scheme that climbs": {f"{DATA}/../x/y": ""},
    "data directory is a file": {DATA: ""},
    "data directory behind a dot": {f"./{DATA}/scripts/x": ""},
    "data directory behind slashes": {f"x/../{DATA}/scripts/x": ""},
    "file and directory": {"q": "", "q/r": ""},
    "part of 256 bytes": {"n" * 256: ""},
    "a path of 60000 bytes": {"d/" * 30_000 + "f": ""},
    "command that climbs": {f"{DIST}/entry_points.txt": "[console_scripts]\n../../x = p:main\n"},
    "absolute command": {f"{DIST}/entry_points.txt": "[console_scripts]\n/etc/x = p:main\n"},
    "commands that are none": {f"{DIST}/entry_points.txt": "[console_scripts]\nx\n[console_scripts]\n"},
    "command without a function": {f"{DIST}/entry_points.txt": "[console_scripts]\nx = \n"},
    "record of one column": {f"{DIST}/RECORD": "p/__init__.py\n"},
    "record of what is not there": {f"{DIST}/RECORD": "q,,\n"},
    "record with a hash that is none": {f"{DIST}/RECORD": "p/__init__.py,sha256,x\n"},
    "wheel of another version": {f"{DIST}/WHEEL": "Wheel-Version: 9.0\nRoot-Is-Purelib: true\n"},
    "wheel without a version": {f"{DIST}/WHEEL": "x"},
    "two of them": {"q-1.0.dist-info/WHEEL": GOOD[f"{DIST}/WHEEL"]},
    "new line in a name": {"a\nb": ""},
}
REFUSED = sorted(
    WHEELS.keys()
    - {
        # These stay inside of the layer: names of files, and what nobody reads.
        "new line in a name",
        "two of them",
        "command without a function",
        "wheel without a version",
        "record of what is not there",
        "data directory behind slashes",
    }
)


@pytest.mark.parametrize("case", sorted(WHEELS))
def test_a_wheel_stays_inside(case: str, tmp_path: Path) -> None:
    victim = canary.make(tmp_path)
    try:
        install(tmp_path, WHEELS[case])
        assert case not in REFUSED
    except BuildError as error:
        assert str(error).startswith(NAME)
        assert "\n" not in str(error)
        assert len(str(error)) < 70_000
    assert victim.unharmed()
    assert {p.name for p in tmp_path.iterdir()} == {"victim", "scratch", NAME}
    assert {p.name for p in (tmp_path / "scratch").iterdir()} <= {"upper"}


def test_a_wheel_of_links_holds_files(tmp_path: Path) -> None:
    victim = canary.make(tmp_path)
    upper = install(tmp_path, {"l": str(victim.directory), "l2": "../../../.."}, mode=stat.S_IFLNK | 0o777)
    assert not [p for p in upper.rglob("*") if p.is_symlink()]


def test_a_wheel_has_no_special_modes(tmp_path: Path) -> None:
    upper = install(tmp_path, {f"{DATA}/scripts/su": "#!/bin/sh\n"}, mode=stat.S_IFREG | 0o6777)
    assert not [p for p in upper.rglob("*") if p.stat().st_mode & 0o6022]


# -- extensions of VS Code --------------------------------------------------------------------

ABOUT = {"publisher": "a", "name": "b", "version": "1.0.0"}


def extension(place: Path, rows: dict[str, str], mode: int = 0o644) -> Path:
    path = zipped(place / "b.vsix", {"extension/package.json": json.dumps(ABOUT), **rows}, mode)
    return vscode.build(context(place, path, {"name": "a.b", "version": "1.0.0", "place": "a.b-1.0.0"}))


EXTENSIONS = {
    "name that climbs": {"extension/../../x": ""},
    "name that climbs far": {"extension/" + "../" * 20 + "etc/x": ""},
    "file and directory": {"extension/q": "", "extension/q/r": ""},
    "directory and file": {"extension/q/r": "", "extension/q": ""},
    "part of 256 bytes": {"extension/" + "n" * 256: ""},
    "a path of 60000 bytes": {"extension/" + "d/" * 29_000 + "f": ""},
    "new line in a name": {"extension/a\nb": ""},
    "escape in a name": {"extension/\x1b]0;x\x07": ""},
    "another extension": {"extension/package.json": json.dumps({**ABOUT, "name": "c"})},
    "another version": {"extension/package.json": json.dumps({**ABOUT, "version": "1.0.1"})},
    "version that climbs": {"extension/package.json": json.dumps({**ABOUT, "version": "1/../../x"})},
    "version that is a number": {"extension/package.json": json.dumps({**ABOUT, "version": 1})},
    "package.json that is a list": {"extension/package.json": "[]"},
    "package.json that is no JSON": {"extension/package.json": "{"},
    "package.json without a name": {"extension/package.json": "{}"},
    "package.json that is nested": {"extension/package.json": "[" * 100_000},
    "package.json that is not UTF-8": {"extension/package.json": "\udcff"},
    "package.json of 20 megabytes": {"extension/package.json": " " * (20 << 20)},
}


@pytest.mark.parametrize("case", sorted(EXTENSIONS))
def test_an_extension_is_one_error(case: str, tmp_path: Path) -> None:
    victim = canary.make(tmp_path)
    rows: dict[str, Any] = EXTENSIONS[case]
    if "not UTF-8" in case:
        rows = dict.fromkeys(rows, b"\xff\xfe\xff")
    with pytest.raises(BuildError) as caught:
        extension(tmp_path, rows)
    text = str(caught.value)
    assert "\n" not in text
    assert "\x1b" not in text
    assert len(text) < 1000
    assert victim.unharmed()


def test_an_extension_of_links_holds_files(tmp_path: Path) -> None:
    upper = extension(tmp_path, {"extension/l": "/etc/passwd"}, mode=stat.S_IFLNK | 0o777)
    link = upper / "opt/envd/extensions/a.b-1.0.0/l"
    assert link.read_text() == "/etc/passwd"
    assert not link.is_symlink()
    assert not [p for p in upper.rglob("*") if p.stat().st_mode & 0o6022]
