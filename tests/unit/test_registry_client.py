"""The registry client: names, reports, and what a push does, with a registry of a few lines."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from engine.app import push as publish
from store import references, registry
from store.errors import RegistryError
from store.references import Count, PushReport, Reference
from store.registry import Part, Watch

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("localhost/a", ("localhost", "a", "latest")),
        ("localhost:5000/a/b:v1", ("localhost:5000", "a/b", "v1")),
        ("registry.example.org/team/env:2.0-rc.1", ("registry.example.org", "team/env", "2.0-rc.1")),
        ("127.0.0.1:1/x", ("127.0.0.1:1", "x", "latest")),
    ],
)
def test_references(text: str, parts: tuple[str, str, str]) -> None:
    reference = references.parse_reference(text)
    assert (reference.host, reference.name, reference.tag) == parts
    assert references.parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a/b",
        "a/b:v1",
        "localhost",
        "localhost/",
        "localhost/A",
        "localhost/a:",
        "localhost/a:b c",
        "localhost/../a",
        "http://localhost/a",
        "localhost/a@sha256:00",
    ],
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(ValueError, match="is not a valid image reference; write HOST/NAME:TAG"):
        references.parse_reference(text)


def test_reports_in_words() -> None:
    none = Count(0, 0)
    assert (
        publish.said(PushReport(Count(1, 999), Count(2, 3_000_000), none))
        == "1 blob sent (999 B), 2 there already (3.0 MB)"
    )
    assert publish.said(PushReport(none, none, Count(3, 10))) == "nothing to send, 3 mounted (10 B)"


class Small:
    """A registry in memory (OCI distribution-spec): what it has, and what it was asked."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.stumbles = 0  # answers of 503 that come first
        self.host = ""


@pytest.fixture
def small() -> Iterator[Small]:
    made = Small()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, code: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(code)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = urlsplit(self.path)
            made.asked.append(f"{self.command} {path.path}")
            if made.stumbles:
                made.stumbles -= 1
                self.answer(503, Retry_After="0")
            elif path.path == "/v2/":
                self.answer(200)
            elif match := re.fullmatch(r"/v2/(.+)/blobs/uploads/", path.path):
                mount = parse_qs(path.query).get("mount", [""])[0]
                if mount in made.blobs:
                    self.answer(201, Docker_Content_Digest=mount)
                else:
                    self.answer(202, Location=f"/v2/{match[1]}/blobs/uploads/1?state=x")
            elif self.command == "PUT" and "/blobs/uploads/" in path.path:
                digest = parse_qs(path.query)["digest"][0]
                right = digest == f"sha256:{hashlib.sha256(body).hexdigest()}"
                if right:
                    made.blobs[digest] = body
                self.answer(201 if right else 400)
            elif match := re.fullmatch(r"/v2/.+/blobs/(sha256:.+)", path.path):
                found = made.blobs.get(match[1])
                self.answer(404) if found is None else self.answer(200, found)
            elif match := re.fullmatch(r"/v2/.+/manifests/(.+)", path.path):
                if self.command == "PUT":
                    made.manifests[match[1]] = body
                    made.manifests[f"sha256:{hashlib.sha256(body).hexdigest()}"] = body
                    self.answer(201)
                elif (found := made.manifests.get(match[1])) is None:
                    self.answer(404)
                else:
                    self.answer(200, found, Content_Type=MANIFEST_TYPE)

        do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = handle_any  # noqa: N815 (the library's)

        def log_message(self, *_: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    made.host = f"127.0.0.1:{running.server_port}"
    try:
        yield made
    finally:
        running.shutdown()
        running.server_close()


def image(*layers: bytes) -> tuple[list[Part], bytes]:
    """The blobs of an image, and its manifest."""
    blobs = [Part(f"sha256:{hashlib.sha256(b).hexdigest()}", len(b), b) for b in layers]
    rows = [{"mediaType": "x", "digest": part.digest, "size": part.size} for part in blobs]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": rows[0], "layers": rows[1:]}
    return blobs, json.dumps(manifest).encode()


def test_a_push_sends_what_is_not_there(small: Small) -> None:
    client = registry.Registry(Reference(small.host, "team/env", "v1"))
    blobs, manifest = image(b"{}", b"one", b"two")
    sent: list[tuple[str, int]] = []
    report = client.push_image(blobs, manifest, ["latest"], watch=Watch(lambda *row: sent.append(row)))
    assert (report.sent, report.skipped, report.mounted) == (Count(3, 8), Count(0, 0), Count(0, 0))
    assert set(small.blobs.values()) == {b"{}", b"one", b"two"}
    assert small.manifests["v1"] == small.manifests["latest"] == manifest
    assert sum(size for _, size in sent) == 8
    # the manifests last: what names them is there by then
    kinds = ["manifest" if "/manifests/" in line else "blob" for line in small.asked if "PUT" in line]
    assert kinds == sorted(kinds)
    small.asked.clear()
    again = client.push_image(blobs, manifest)
    assert (again.sent, again.skipped) == (Count(0, 0), Count(3, 8))
    assert not any(line.startswith("POST") for line in small.asked)


def test_stumbles_are_tried_again(small: Small) -> None:
    small.stumbles = 2
    client = registry.Registry(Reference(small.host, "env", "v1"))
    mounted = client.push_blob(f"sha256:{hashlib.sha256(b'x').hexdigest()}", b"x")
    assert mounted is False
    assert list(small.blobs.values()) == [b"x"]


def test_a_damaged_blob_is_refused_by_name(small: Small) -> None:
    client = registry.Registry(Reference(small.host, "env", "v1"))
    with pytest.raises(RegistryError, match="400"):
        client.push_blob("sha256:" + "ab" * 32, b"x")
    assert small.blobs == {}


def test_what_is_there_is_read(small: Small) -> None:
    client = registry.Registry(Reference(small.host, "env", "v1"))
    blobs, manifest = image(b"{}", b"layer")
    client.push_image(blobs, manifest)
    assert client.manifest("v1", [MANIFEST_TYPE]) == manifest
    assert client.manifest("v2", [MANIFEST_TYPE]) is None
    digest = blobs[1].digest
    assert client.has_blob(digest) and not client.has_blob("sha256:" + "ab" * 32)
    with client.blob(digest) as found:
        assert found is not None
        start, chunks = found
        assert (start, b"".join(chunks)) == (0, b"layer")
    with client.blob("sha256:" + "ab" * 32) as found:
        assert found is None
