"""A local conda channel of real packages, served over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.integration import web

PLACEHOLDER = "/opt/placeholder_placehold_placehold_placehold_placehold_placehold_placehold"


def make_package(
    channel: Path,
    name: str,
    version: str,
    files: Mapping[str, bytes],
    depends: Sequence[str] = (),
    subdir: str = "noarch",
    entry_points: Sequence[str] = (),
) -> None:
    """Write one .tar.bz2 package. PLACEHOLDER in a file is where it was built.

    With `entry_points` ("command = module:function") it is a noarch Python package.
    """
    rows = []
    for path, content in sorted(files.items()):
        row: dict[str, Any] = {
            "_path": path,
            "path_type": "hardlink",
            "size_in_bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        if PLACEHOLDER.encode() in content:
            row["prefix_placeholder"] = PLACEHOLDER
            row["file_mode"] = "binary" if b"\0" in content else "text"
        rows.append(row)
    index = {
        "name": name,
        "version": version,
        "build": "0",
        "build_number": 0,
        "subdir": subdir,
        "depends": list(depends),
        "license": "MIT",
    }
    if subdir == "noarch":
        index["noarch"] = "python" if entry_points else "generic"
    link = {"noarch": {"type": "python", "entry_points": list(entry_points)}, "package_metadata_version": 1}
    members = {
        **({"info/link.json": json.dumps(link).encode()} if entry_points else {}),
        "info/index.json": json.dumps(index).encode(),
        "info/paths.json": json.dumps({"paths": rows, "paths_version": 1}).encode(),
        "info/files": "\n".join(sorted(files)).encode() + b"\n",
        "info/about.json": b"{}",
        **files,
    }
    (channel / subdir).mkdir(parents=True, exist_ok=True)
    with tarfile.open(channel / subdir / f"{name}-{version}-0.tar.bz2", "w:bz2") as tar:
        for path, content in members.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            member.mode = 0o755 if path.startswith("bin/") else 0o644
            tar.addfile(member, io.BytesIO(content))


def make_python(channel: Path) -> str:
    """A package "python" out of this machine's own; its version.

    The distribution's interpreter finds its library from where it lies. Its packages are looked
    for where conda puts them, not where the distribution does.
    """
    said = subprocess.run(
        [
            "/usr/bin/python3",
            "-c",
            "import os, sys; print('%d.%d.%d' % sys.version_info[:3]); "
            "print(os.path.realpath(sys.executable)); print(os.path.dirname(os.__file__))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    version, executable, library = said.stdout.split()
    name = f"python{version.rpartition('.')[0]}"
    files = {f"bin/{name}": Path(executable).read_bytes()}
    files["bin/python"] = f'#!/bin/sh\nexec "${{0%/*}}/{name}" "$@"\n'.encode()
    left_out = {
        "test",
        "idlelib",
        "lib2to3",
        "ensurepip",
        "turtledemo",
        "tkinter",
        "__pycache__",
        "dist-packages",
    }
    for path in Path(library).rglob("*"):
        if path.is_file() and not left_out & set(path.relative_to(library).parts):
            files[f"lib/{name}/{path.relative_to(library)}"] = path.read_bytes()
    files[f"lib/{name}/sitecustomize.py"] = (
        f"import site, sys\nsite.addsitedir(sys.prefix + '/lib/{name}/site-packages')\n".encode()
    )
    make_package(channel, "python", version, files, subdir="linux-64")
    return version


def index(channel: Path) -> None:
    """Write the channel's repodata.json files, as conda-index does."""
    from rattler.index import index_fs

    for subdir in ("noarch", "linux-64"):
        (channel / subdir).mkdir(parents=True, exist_ok=True)
    asyncio.run(index_fs(channel))


@contextmanager
def serve(channel: Path) -> Iterator[str]:
    """Serve a channel; gives its URL."""

    class Quiet(SimpleHTTPRequestHandler):
        def send_head(self) -> Any:
            # rattler asks conditionally without having the file, and refuses "not modified"
            del self.headers["If-Modified-Since"]
            return super().send_head()

        def log_message(self, *_: Any) -> None:
            pass

    with web.running(partial(Quiet, directory=str(channel))) as address:
        yield f"http://{address}"
