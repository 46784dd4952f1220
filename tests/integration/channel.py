"""A local conda channel of real packages, served over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PLACEHOLDER = "/opt/placeholder_placehold_placehold_placehold_placehold_placehold_placehold"


def make_package(
    channel: Path, name: str, version: str, files: Mapping[str, bytes],
    depends: Sequence[str] = (), subdir: str = "noarch",
) -> None:
    """Write one .tar.bz2 package. PLACEHOLDER in a file is where it was built."""
    rows = []
    for path, content in sorted(files.items()):
        row: dict[str, Any] = {
            "_path": path, "path_type": "hardlink", "size_in_bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        if PLACEHOLDER.encode() in content:
            row["prefix_placeholder"] = PLACEHOLDER
            row["file_mode"] = "binary" if b"\0" in content else "text"
        rows.append(row)
    index = {
        "name": name, "version": version, "build": "0", "build_number": 0, "subdir": subdir,
        "depends": list(depends), "license": "MIT",
    }
    if subdir == "noarch":
        index["noarch"] = "generic"
    members = {
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

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(channel)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
