"""A local site that speaks what the download sites of Go, Node.js, Rust, pixi, Python builds and npm
speak, with small real archives."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

SETTINGS = {
    "ENVD_GO_DOWNLOADS": "/go",
    "ENVD_NODE_DIST": "/node",
    "ENVD_RUST_DIST": "/rust",
    "ENVD_PIXI_RELEASES": "/pixi",
    "ENVD_PYTHON_DOWNLOADS": "/python",
    "ENVD_NPM_REGISTRY": "/npm",
}


@dataclass
class Site:
    """What is served: paths (decoded, without queries) to bodies; `moved` paths to others."""

    url: str = ""
    pages: dict[str, bytes] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, str]:
        """The variables that make envd ask here."""
        return {name: self.url + path for name, path in SETTINGS.items()}

    def json(self, path: str, value: object) -> None:
        """Serve a value as JSON."""
        self.pages[path] = json.dumps(value).encode()


@contextmanager
def serve() -> Iterator[Site]:
    """An empty site."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(self.path.partition("?")[0])
            if path in site.moved:
                self.send_response(302)
                self.send_header("Location", site.moved[path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = site.pages.get(path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body or b"")

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()


Kind = Literal["gz", "xz"]
_MODES: Mapping[Kind, Literal["w:gz", "w:xz"]] = {"gz": "w:gz", "xz": "w:xz"}


def pack(members: Mapping[str, bytes | str], kind: Kind = "gz") -> bytes:
    """A tar of files; a str is what a symbolic link points at. Programs begin with "#!" or ELF."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=_MODES[kind]) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
                continue
            member.mode = 0o755 if content[:2] in (b"#!", b"\x7fE") else 0o644
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def says(text: str) -> bytes:
    """A program that says `text`, and its arguments."""
    return f'#!/bin/sh\necho "{text}" "$@"\n'.encode()


# -- one function for each protocol -----------------------------------------------------------


def add_go(site: Site, *versions: str, unstable: tuple[str, ...] = ()) -> None:
    """Releases of Go, newest last, in the index of go.dev/dl."""
    index = []
    for version in (*versions, *unstable):
        name = f"go{version}.linux-amd64.tar.gz"
        data = pack(
            {
                "go/VERSION": f"go{version}\n".encode(),
                "go/bin/go": says(f"go version go{version}"),
                "go/src/fmt/print.go": b"package fmt\n",
            }
        )
        site.pages[f"/go/{name}"] = data
        files = [
            {
                "filename": name,
                "os": "linux",
                "arch": "amd64",
                "version": f"go{version}",
                "sha256": sha256(data),
                "size": len(data),
                "kind": "archive",
            },
            {
                "filename": f"go{version}.src.tar.gz",
                "os": "",
                "arch": "",
                "version": f"go{version}",
                "sha256": "0" * 64,
                "size": 1,
                "kind": "source",
            },
            {
                "filename": f"go{version}.windows-amd64.msi",
                "os": "windows",
                "arch": "amd64",
                "version": f"go{version}",
                "sha256": "0" * 64,
                "size": 1,
                "kind": "installer",
            },
        ]
        index.append({"version": f"go{version}", "stable": version in versions, "files": files})
    site.json("/go/", index[::-1])


def add_node(site: Site, versions: Mapping[str, str | bool]) -> None:
    """Releases of Node.js: version -> the name of its long-term support, or False."""
    index = []
    for version, lts in versions.items():
        top = f"node-v{version}-linux-x64"
        data = pack(
            {
                f"{top}/bin/node": says(f"v{version}"),
                f"{top}/lib/node_modules/npm/bin/npm-cli.js": says("npm of node"),
                f"{top}/bin/npm": "../lib/node_modules/npm/bin/npm-cli.js",
            },
            "xz",
        )
        site.pages[f"/node/v{version}/{top}.tar.xz"] = data
        sums = f"{'0' * 64}  node-v{version}.tar.gz\n{sha256(data)}  {top}.tar.xz\n"
        site.pages[f"/node/v{version}/SHASUMS256.txt"] = sums.encode()
        index.append({"version": f"v{version}", "files": ["linux-x64", "src"], "lts": lts})
    index.append({"version": "v0.1.0", "files": ["src"], "lts": False})
    site.json("/node/index.json", index)


def add_rust(site: Site, version: str) -> None:
    """A Rust release, as rust-installer packs it, with rustup's manifest. No rustfmt."""
    target = "x86_64-unknown-linux-gnu"
    programs: dict[str, dict[str, bytes]] = {
        "rustc": {"bin/rustc": says(f"rustc {version}"), "lib/librustc_driver.so": b"\x7fELF"},
        "cargo": {"bin/cargo": says(f"cargo {version}")},
        "rust-std": {f"lib/rustlib/{target}/lib/libstd.rlib": b"std"},
        "clippy-preview": {"bin/cargo-clippy": says(f"clippy {version}")},
    }
    packages = []
    for name, files in programs.items():
        top = f"{name.removesuffix('-preview')}-{version}-{target}"
        part = f"rust-std-{target}" if name == "rust-std" else name
        data = pack(
            {
                f"{top}/components": part.encode() + b"\n",
                f"{top}/install.sh": says("no"),
                f"{top}/{part}/manifest.in": "".join(f"file:{f}\n" for f in files).encode(),
                **{f"{top}/{part}/{path}": content for path, content in files.items()},
            },
            "xz",
        )
        place = f"/dist/2023-12-28/{top}.tar.xz"
        site.pages[f"/rust{place}"] = data
        url = f"https://static.rust-lang.org{place}"
        packages.append(
            f'[pkg.{name}]\nversion = "{version} (abcdef 2023-12-21)"\n'
            f"[pkg.{name}.target.{target}]\navailable = true\n"
            f'url = "{url.replace(".xz", ".gz")}"\nhash = "{"0" * 64}"\n'
            f'xz_url = "{url}"\nxz_hash = "{sha256(data)}"\n'
        )
    packages.append(f'[pkg.rust]\nversion = "{version} (82e1608df 2023-12-21)"\n')
    packages.append(f"[pkg.rustfmt-preview.target.{target}]\navailable = false\n")
    text = "".join(['manifest-version = "2"\n', *packages]).encode()
    for channel in (version, version.rpartition(".")[0], "stable"):
        path = f"/rust/dist/channel-rust-{channel}.toml"
        site.pages[path] = text
        site.pages[f"{path}.sha256"] = f"{sha256(text)}  channel-rust-{channel}.toml\n".encode()
    site.pages["/rust/manifests.txt"] = "".join(
        f"static.rust-lang.org/dist/2023-12-28/channel-rust-{v}.toml\n"
        for v in ("1.73.0", "1.74.0", version, "stable")
    ).encode()


def add_pixi(site: Site, *versions: str) -> None:
    """Releases of pixi, the newest last, as GitHub serves them."""
    name = "pixi-x86_64-unknown-linux-musl.tar.gz"
    for version in versions:
        data = pack({"pixi": says(f"pixi {version}")})
        site.pages[f"/pixi/download/v{version}/{name}"] = data
        site.pages[f"/pixi/download/v{version}/{name}.sha256"] = f"{sha256(data)}  {name}\n".encode()
        site.pages[f"/pixi/tag/v{version}"] = b"<html>"
    site.moved["/pixi/latest"] = f"/pixi/tag/v{versions[-1]}"


def add_python(site: Site, url: str, data: bytes) -> None:
    """A build of python-build-standalone below `url`, which is uv's of one on this site."""
    path = unquote(url.removeprefix(site.url))
    site.pages[path] = data
    release, _, name = path.rpartition("/")
    site.pages[f"{release}/SHA256SUMS"] = f"{sha256(data)}  {name}\n".encode()


def add_codex(site: Site, *versions: str) -> None:
    """Codex in an npm registry: a launcher, and a package for each of two platforms."""
    program = "package/vendor/x86_64-unknown-linux-musl/bin/codex"
    manifests = {}
    for version in versions:
        for suffix, system, members in (
            ("", None, {"package/bin/codex.js": b"#!/usr/bin/env node\n"}),
            (
                "-linux-x64",
                "linux",
                {
                    program: b'#!/bin/sh\necho "codex ' + version.encode() + b'"; command -v rg\n',
                    "package/vendor/x86_64-unknown-linux-musl/codex-path/rg": says("rg"),
                    "package/package.json": b"{}",
                },
            ),
            ("-darwin-x64", "darwin", {"package/vendor/x86_64-apple-darwin/bin/codex": b"no"}),
        ):
            full, data = version + suffix, pack(members)
            path = f"/npm/@openai/codex/-/codex-{full}.tgz"
            site.pages[path] = data
            integrity = base64.b64encode(hashlib.sha512(data).digest()).decode()
            about: dict[str, object] = {
                "name": "@openai/codex",
                "version": full,
                "dist": {"tarball": site.url + path, "integrity": f"sha512-{integrity}"},
            }
            if system:
                about |= {"os": [system], "cpu": ["x64"]}
            else:
                about["optionalDependencies"] = {
                    f"@openai/codex-{s}": f"npm:@openai/codex@{version}-{s}"
                    for s in ("darwin-x64", "linux-x64", "win32-x64")  # the last is not there
                }
            manifests[full] = about
            site.json(f"/npm/@openai/codex/{full}", about)
    site.json("/npm/@openai/codex/latest", manifests[versions[-1]])
    site.json("/npm/@openai/codex", {"name": "@openai/codex", "versions": manifests})


# -- a real Python ----------------------------------------------------------------------------


def another_python(fetch: Callable[[str], Path], directory: Path) -> dict[str, bytes]:
    """The files of Debian 11's Python 3.9 below one prefix; `fetch` gives the .deb of a package."""
    for package in ("python3.9-minimal", "libpython3.9-minimal", "libpython3.9-stdlib", "python3-distutils"):
        subprocess.run(["dpkg-deb", "-x", str(fetch(package)), str(directory)], check=True)
    files = {"bin/python3.9": (directory / "usr/bin/python3.9").read_bytes()}
    library = directory / "usr/lib/python3.9"
    for path in sorted(library.rglob("*")):
        if path.is_file() and not path.is_symlink():
            files[f"lib/python3.9/{path.relative_to(library)}"] = path.read_bytes()
    # Debian's own change to where packages are taken back: others say site-packages.
    site = files["lib/python3.9/site.py"]
    files["lib/python3.9/site.py"] = site.replace(b"dist-packages", b"site-packages")
    return files
