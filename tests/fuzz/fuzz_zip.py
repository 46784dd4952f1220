"""Fuzzing of what reads zips: wheels, extensions of VS Code, zipped tools, sdists."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))
with atheris.instrument_imports(include=["engine", "installer", "zipfile"]):
    import installer  # noqa: F401 - to be instrumented

    from engine.ecosystems.cuda import builder as cuda
    from engine.ecosystems.python import sdists, wheel
    from engine.ecosystems.python.interpreter import Interpreter
    from engine.ecosystems.tools import builder as tool
    from engine.ecosystems.vscode import builder as vscode
    from engine.errors import BuildError
    from engine.realise.context import BuildContext
from store.removal import remove_tree
from tests.fuzz import harness
from tests.fuzz.harness import Bits

NAME = "p-1.0-py3-none-any.whl"
PARTS = [
    "p",
    "q.py",
    "..",
    ".",
    "",
    "/",
    "a\nb",
    "p-1.0.dist-info",
    "p-1.0.data",
    "scripts",
    "headers",
    "purelib",
    "data",
    "platlib",
    "extension",
    "package.json",
    "é",
    "n" * 260,
    "\\",
    "C:",
    "bin",
    "nvidia",
    "lib",
    "cu13",
    "pyproject.toml",
    "\x1b[2J",
    "con",
    "~",
    "*",
]
FILES = {
    "p-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "p-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: p\nVersion: 1.0\n",
    "p-1.0.dist-info/entry_points.txt": "[console_scripts]\np = p:main\n",
    "p-1.0.dist-info/RECORD": "p/__init__.py,,\n",
    "extension/package.json": '{"publisher": "a", "name": "b", "version": "1.0.0"}',
    "p/__init__.py": "",
    "p-1.0/pyproject.toml": '[build-system]\nrequires = ["setuptools"]\n',
    "nvidia/cuda_runtime/lib/libx.so": "",
    "p-1.0.data/scripts/p": "#!python\n",
    "p-1.0.data/headers/p.h": "",
    "p-1.0.data/data/share/p": "",
}
METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


def made(bits: Bits) -> bytes:
    """A zip that is nearly a wheel, an extension or a tool."""
    data = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(data, "w") as archive:
        warnings.simplefilter("ignore")  # two of one name
        rows: list[tuple[str, str]] = [r for r in FILES.items() if bits.byte() % 16]
        while bits and len(rows) < 40:
            if bits.byte() % 3:
                name = "/".join(bits.one(PARTS) for _ in range(1 + bits.byte() % 4))
                rows.append((name, bits.text()))
            else:
                name = bits.one(list(FILES))
                rows = [r for r in rows if r[0] != name] + [(name, bits.text(200))]
        listed = all(name != "p-1.0.dist-info/RECORD" for name, _ in rows) or bits.byte() % 2
        if listed:
            rows = [r for r in rows if r[0] != "p-1.0.dist-info/RECORD"]
            rows.append(("p-1.0.dist-info/RECORD", "".join(f"{name},,\n" for name, _ in rows)))
        for name, content in rows:
            with contextlib.suppress(ValueError, UnicodeEncodeError):
                info = zipfile.ZipInfo(name)
                info.external_attr = bits.one([0o644, 0o755, 0o120777, 0o40755, 0o6755]) << 16
                archive.writestr(info, content, bits.one(METHODS))
    found = bytearray(data.getvalue())
    for _ in range(bits.byte() % 4):  # a few bytes changed
        found[(bits.byte() << 8 | bits.byte()) % len(found)] = bits.byte()
    return bytes(found)


def one_input(data: bytes, inside: Path) -> None:
    path = inside / "file"
    path.write_bytes(made(Bits(data[1:])) if data[:1] == b"\1" else data)
    try:
        for read in (_wheel, _vsix, _tool, _cuda, _sdist):
            scratch = inside / "scratch"
            scratch.mkdir()
            try:
                read(path, scratch)
            except BuildError as error:
                harness.said(error)
            assert {p.name for p in scratch.iterdir()} <= {"upper"}
            remove_tree(scratch)
    finally:
        remove_tree(inside / "scratch")
        path.unlink()


def context(path: Path, name: str, scratch: Path, parameters: dict[str, Any]) -> BuildContext:
    return BuildContext("fuzzed", parameters, (), ((name, path),), scratch, lambda _: None)


def _wheel(path: Path, scratch: Path) -> None:
    wheel.build(context(path, NAME, scratch, Interpreter("3.11").parameters))


def _vsix(path: Path, scratch: Path) -> None:
    vscode.build(context(path, "b.vsix", scratch, {"name": "a.b", "version": "1.0.0", "place": "a.b-1.0.0"}))


def _tool(path: Path, scratch: Path) -> None:
    how = {"into": "/opt/t", "strip": 1, "only": "*", "without": [], "executable": True}
    tool.build(
        context(path, "t.zip", scratch, {"unpack": [how], "moved": "/opt/t", "links": {}, "files": {}})
    )


def _cuda(path: Path, scratch: Path) -> None:
    cuda.build(context(path, NAME, scratch, {"prefix": "usr/local/cuda-12.9"}))


def _sdist(path: Path, scratch: Path) -> None:
    with contextlib.suppress(zipfile.BadZipFile, UnicodeDecodeError):
        list(sdists._members(path, "p-1.0.zip", "pyproject.toml"))


if __name__ == "__main__":
    harness.run("zip", one_input, longest=4096)
