"""The registry client and Docker's own registry: how much is asked and sent, and what goes wrong
between the two, in each kind of request."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from engine.core.derivation import Fetch
from engine.core.events import Event
from engine.net import fetch as fetching
from store import Store, notices, ranges, retry, uploads
from store.errors import BrokenOffError, CorruptError, DeniedError, RegistryError
from store.pushing import MANIFEST_TYPE
from store.references import Count, PushReport, Reference
from store.registry import Known, Part, Registry, Watch
from tests.faults import server as faulty
from tests.faults.server import Fault
from tests.integration import servers, tokens, web

DATA = random.Random(1).randbytes(300_000)
NONE = Count(0, 0)
PATIENT = retry.Patience(first=60, silent=60)  # a busy machine's registry may take long: no fault of it


def client(reference: Reference, patience: retry.Patience = PATIENT) -> Registry:
    return Registry(reference, patience=patience)


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def part(data: bytes) -> Part:
    return Part(digest(data), len(data), data)


def manifest_of(*parts: Part) -> bytes:
    rows = [
        {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": p.digest, "size": p.size}
        for p in parts
    ]
    rows[0]["mediaType"] = "application/vnd.oci.image.config.v1+json"
    return json.dumps(
        {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": rows[0], "layers": rows[1:]}
    ).encode()


def image(*layers: bytes) -> tuple[list[Part], bytes]:
    """The parts of an image, and its manifest."""
    parts = [part(b"{}"), *map(part, layers)]
    return parts, manifest_of(*parts)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A repository of this test's own."""
    return f"client/{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]}-{os.getpid()}"


@pytest.fixture
def front(registry_server: servers.RegistryServer) -> Iterator[faulty.Bad]:
    with faulty.running(behind=registry_server.address) as bad:
        yield bad


@pytest.fixture
def said(front: faulty.Bad) -> Iterator[list[str]]:
    """What is said of this test's own server."""
    lines: list[str] = []
    with notices.heard(lambda subject, text: lines.append(text) if subject == front.address else None):
        yield lines


def never() -> Path:
    raise AssertionError("the bytes were asked for")


def requests(server: servers.RegistryServer, before: int) -> list[tuple[str, str, int]]:
    """What was asked since there were `before` requests: the log has the last one, soon."""
    mark = f"/v2/mark/{os.urandom(6).hex()}"
    servers.status(f"http://{server.address}{mark}")
    end = time.monotonic() + servers.PATIENCE
    while time.monotonic() < end:
        found = [row for row in server.requests()[before:] if "/v2/mark/" not in row[1]]
        if any(path == mark for _, path, _ in server.requests()):
            return found
        time.sleep(0.01)
    raise AssertionError("the registry's log has not what was asked")


def total(server: servers.RegistryServer) -> int:
    """How many requests there have been."""
    requests(server, 0)
    return len(server.requests())


def whole(server: str, name: str, tag: str, parts: list[Part], manifest: bytes) -> None:
    """Check that an image is there, byte for byte."""
    registry = client(Reference(server, name, tag))
    assert registry.manifest(tag, [MANIFEST_TYPE]) == manifest
    for wanted in parts:
        with registry.blob(wanted.digest) as opened:
            assert opened is not None
            assert digest(b"".join(opened[1])) == wanted.digest


# -- how much is asked --------------------------------------------------------------------------


def test_an_unchanged_image_costs_two_requests(registry_server: servers.RegistryServer, name: str) -> None:
    parts, manifest = image(b"one", b"two")
    reference = Reference(registry_server.address, name, "v1")
    assert client(reference).push_image(parts, manifest).sent == Count(3, 8)
    before = total(registry_server)
    report = client(reference).push_image(parts, manifest)
    assert report == PushReport(NONE, Count(3, 8), NONE)
    asked = [(method, path.rpartition("/")[2]) for method, path, _ in requests(registry_server, before)]
    assert asked == [("HEAD", digest(manifest)), ("HEAD", "v1")]
    # More tags cost what they need: one that is there a look, one that is not three.
    before = total(registry_server)
    client(reference).push_image(parts, manifest, ["v2"])
    asked = [(method, path.rpartition("/")[2]) for method, path, _ in requests(registry_server, before)]
    assert asked == [
        ("HEAD", digest(manifest)),
        ("HEAD", "v1"),
        ("HEAD", "v2"),
        ("PUT", "v2"),
        ("HEAD", "v2"),
    ]
    whole(registry_server.address, name, "v2", parts, manifest)


def test_a_changed_layer_is_all_that_is_sent(registry_server: servers.RegistryServer, name: str) -> None:
    reference = Reference(registry_server.address, name, "v1")
    parts, manifest = image(*(b"layer %d" % number for number in range(20)))
    client(reference).push_image(parts, manifest)
    changed, after = image(*(b"layer %d" % number for number in range(19)), b"another")
    here = {p.digest for p in parts}
    before = total(registry_server)
    report = client(reference).push_image(
        changed, after, known=Known(lambda blob: [name] if blob in here else [])
    )
    assert report.sent == Count(1, len(b"another")) and report.skipped.blobs == 20
    assert len(requests(registry_server, before)) <= 8
    whole(registry_server.address, name, "v1", changed, after)


def test_what_another_repository_has_is_mounted_without_its_bytes(
    registry_server: servers.RegistryServer, name: str
) -> None:
    parts, manifest = image(*(b"mounted %d" % number for number in range(9)))
    client(Reference(registry_server.address, name)).push_image(parts, manifest)
    absent = [Part(p.digest, p.size, never) for p in parts]
    before = total(registry_server)
    report = client(Reference(registry_server.address, f"{name}-other")).push_image(
        absent, manifest, known=Known(lambda blob: [name])
    )
    assert (report.sent, report.mounted.blobs) == (NONE, 10)
    asked = requests(registry_server, before)
    assert len([path for method, path, _ in asked if "/blobs/" in path]) == 10  # no look before a mount
    assert len(asked) <= 14
    whole(registry_server.address, f"{name}-other", "latest", parts, manifest)


def test_bytes_are_asked_for_only_when_nobody_has_them(
    registry_server: servers.RegistryServer, name: str, tmp_path: Path
) -> None:
    reference = Reference(registry_server.address, name)
    there, missing = part(b"there"), part(b"missing")
    client(reference).push_blob(there.digest, b"there")
    asked: list[str] = []

    def supply() -> Path:
        asked.append("missing")
        (tmp_path / "missing").write_bytes(b"missing")
        return tmp_path / "missing"

    parts = [part(b"{}"), Part(there.digest, there.size, never), Part(missing.digest, missing.size, supply)]
    # A mount of what is not where it is remembered to be is an upload, which goes on.
    known = Known(lambda blob: ["client/nothing"] if blob == missing.digest else [])
    report = client(reference).push_image(parts, manifest_of(*parts), known=known)
    assert (report.sent.blobs, report.skipped.blobs, asked) == (2, 1, ["missing"])
    whole(registry_server.address, name, "latest", parts, manifest_of(*parts))


def test_a_registry_that_was_emptied_is_not_believed(
    registry_server: servers.RegistryServer, name: str
) -> None:
    parts, manifest = image(b"one", b"two")
    forgotten: list[str] = []
    sent: list[str] = []
    report = client(Reference(registry_server.address, name)).push_image(
        parts,
        manifest,
        known=Known(lambda blob: [name], forgotten.append),
        watch=Watch(lambda blob, size: sent.append(blob)),
    )
    assert report.sent.blobs == 3
    assert set(forgotten) == set(sent) == {p.digest for p in parts}
    whole(registry_server.address, name, "latest", parts, manifest)


def test_an_open_repository_is_asked_without_a_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a token for pushing, for mounting from another one, and a login that has ended."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with tokens.registry(tmp_path / "tokens") as server:
        login = base64.b64encode(f"{servers.USER}:{servers.PASSWORD}".encode()).decode()
        config = tmp_path / "config.json"
        config.write_text(json.dumps({"auths": {server.address: {"auth": login}}}))
        parts, manifest = image(b"one")
        client(Reference(server.address, "private/a")).push_image(parts, manifest)
        absent = [Part(p.digest, p.size, never) for p in parts]
        report = client(Reference(server.address, "private/b")).push_image(
            absent, manifest, known=Known(lambda blob: ["private/a"])
        )
        assert report.mounted.blobs == 2
        before = total(server)
        client(Reference(server.address, "private/b")).push_image(parts, manifest)
        asked = [(method, status) for method, _, status in requests(server, before)]
        assert asked == [("HEAD", 401), ("HEAD", 200), ("HEAD", 200)]  # the first is the challenge
        config.write_text(json.dumps({"auths": {server.address: {"auth": login[:-4]}}}))
        lines: list[str] = []
        with (
            notices.heard(lambda subject, text: lines.append(text)),
            pytest.raises(DeniedError, match="login"),
        ):
            client(Reference(server.address, "private/b")).push_image(parts, manifest)
        assert lines == []  # final: nothing is tried again


# -- what goes wrong ----------------------------------------------------------------------------

SURVIVED = {
    f"{kind} {method} {path}": [Fault(kind, path, method, 1)]
    for kind in ("500", "429", "drop")
    for method, path in (("HEAD", "manifests"), ("POST", "uploads"), ("PUT", "uploads"), ("PUT", "manifests"))
} | {
    f"{kind} POST": [Fault(kind, "uploads", "POST", 1)]
    for kind in ("502", "503", "504", "408", "425", "429after")
}
# Answers that do not pass by, or that come again and again: one error, what it says.
ENDED = {
    "every HEAD dropped": ([Fault("drop", method="HEAD")], r"cannot reach .*: HEAD .*tried 3 times"),
    "no upload begun": (
        [Fault("500", "uploads", "POST")],
        r"starting an upload: HTTP status 500 .*tried 3 times",
    ),
    "every PUT dropped": ([Fault("drop", "uploads", "PUT")], r"uploading sha256:.*tried 3 times"),
    "silent": ([Fault("hole")], r"no answer for \d+ s \(tried"),
    "no repository": (
        [
            Fault(
                "404", "uploads", "POST", body=b'{"errors": [{"code": "NAME_UNKNOWN", "message": "no name"}]}'
            )
        ],
        r"HTTP status 404 no name; create the repository .* first",
    ),
    "too large": ([Fault("413", "uploads", above=10)], r"uploading sha256:.*: HTTP status 413"),
    "refused": ([Fault("403", "manifests", "PUT")], "refuses access"),
    "a circle": ([Fault("loop", "manifests", "HEAD")], "redirects more than 10 times"),
    "nothing kept": ([Fault("kept-nothing", "manifests", "PUT")], r"has it not \(tried 3 times\)"),
    "asks for an hour": ([Fault("503hour", "uploads", "POST")], r"asks to be left alone for 3600 s"),
}


@pytest.mark.parametrize("case", SURVIVED)
def test_a_stumble_is_survived(
    front: faulty.Bad, name: str, said: list[str], case: str, registry_server: servers.RegistryServer
) -> None:
    front.faults[:] = [Fault(f.kind, f.path, f.method, f.times) for f in SURVIVED[case]]
    parts, manifest = image(b"stumble", name.encode())
    client(Reference(front.address, name)).push_image(parts, manifest)
    assert len(said) == 1 and said[0].startswith("retrying (2 of 5) in ")
    whole(registry_server.address, name, "latest", parts, manifest)


@pytest.mark.parametrize("case", ENDED)
def test_what_does_not_pass_by_is_one_error(
    front: faulty.Bad, name: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "ATTEMPTS", 3)
    faults, says = ENDED[case]
    front.faults[:] = faults
    parts, manifest = image(b"stumble", name.encode())
    patience = retry.Patience(first=2, silent=3)
    with pytest.raises(RegistryError, match=says) as caught:
        client(Reference(front.address, name), patience=patience).push_image(parts, manifest)
    assert "\n" not in str(caught.value)


def test_nobody_waits_twenty_seconds_for_silence() -> None:
    """The last attempt of a request may begin when the patience has almost ended."""
    usual = retry.Patience()
    pauses = [retry.wait(n, retry.TransientError("")) or 0.0 for n in range(1, retry.ATTEMPTS)]
    worst = usual.silent + 1 + sum(pauses[:2]) + 0.5  # two pauses between at most three such attempts
    assert usual.first * 2 > usual.silent and worst < 20
    assert sum(pauses) * 1.25 < 20  # and of a registry that fails at once


def test_a_cache_is_asked_once(front: faulty.Bad, said: list[str]) -> None:
    front.faults[:] = [Fault("hole")]
    registry = client(Reference(front.address, "a/b"), patience=retry.Patience(1, 1, 1))
    with pytest.raises(RegistryError, match=r"no answer for 1 s \(tried once\)"):
        registry.manifest("latest", [MANIFEST_TYPE])
    assert (len(front.asked), said) == (1, [])


# -- in chunks ----------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes that a test can send."""
    monkeypatch.setattr(uploads, "LARGE", 200_000)
    monkeypatch.setattr(uploads, "CHUNK", 80_000)
    monkeypatch.setattr(uploads, "LEAST", 10_000)


def patches(front: faulty.Bad) -> int:
    return sum(method == "PATCH" for method, _ in front.asked)


@pytest.mark.parametrize(
    ("size", "faults", "chunks"),
    [
        (300_000, [], 4),
        (200_000, [], 0),
        (200_000, [Fault("413", "uploads", "PUT", above=10)], 3),  # a limit of the proxy for bodies
        (
            300_000,
            [Fault("413", "uploads", "PATCH", above=50_000), Fault("413", "uploads", "PUT", above=10)],
            10,
        ),
        (300_000, [Fault("413", "uploads", "PATCH")], 1),  # it takes no chunks: whole, then
        (300_000, [Fault("404", "uploads", "PATCH", 1)], 5),
        (200_000, [Fault("drop", "uploads", "PUT", above=100_000)], 3),
        (300_000, [Fault("drop", "uploads", "PATCH", 1)], 5),
        (300_000, [Fault("500", "uploads", "PATCH", 3)], 7),
        (300_000, [Fault("drop", "uploads", "PATCH", 1), Fault("404", "uploads", "GET")], 5),
        (300_000, [Fault("drop", "uploads", "PATCH")], 2),  # it may be chunks that it does not take
    ],
)
def test_chunks(
    front: faulty.Bad,
    name: str,
    small: None,
    size: int,
    faults: list[Fault],
    chunks: int,
    registry_server: servers.RegistryServer,
    tmp_path: Path,
) -> None:
    front.faults[:] = faults
    data = DATA[:size]
    (tmp_path / "layer").write_bytes(data)
    parts = [part(b"{}"), Part(digest(data), size, tmp_path / "layer")]
    far: list[int] = []
    client(Reference(front.address, name)).push_image(
        parts, manifest_of(*parts), watch=Watch(moved=lambda blob, sent, of: far.append(sent))
    )
    assert patches(front) == chunks
    assert (far[-1] == size) if chunks > 2 else True
    front.faults.clear()
    whole(registry_server.address, name, "latest", parts, manifest_of(*parts))


def test_a_chunk_that_broke_off_is_continued(
    front: faulty.Bad, name: str, small: None, registry_server: servers.RegistryServer
) -> None:
    """What came before is not sent again: the registry says how far it is."""
    front.faults[:] = [Fault("drop", "uploads", "PATCH", 1, above=70_000)]
    client(Reference(front.address, name)).push_blob(digest(DATA), DATA)
    assert sum(method == "POST" for method, _ in front.asked) == 1
    with client(Reference(registry_server.address, name)).blob(digest(DATA)) as opened:
        assert opened is not None and b"".join(opened[1]) == DATA


@pytest.mark.parametrize("size", [200_000, 300_000])
def test_a_damaged_file_is_named(
    registry_server: servers.RegistryServer, name: str, small: None, size: int, tmp_path: Path
) -> None:
    path = tmp_path / "layer"
    path.write_bytes(DATA[: size - 1] + b"x")
    with pytest.raises(CorruptError, match="the stored layer is damaged"):
        client(Reference(registry_server.address, name)).push_blob(digest(DATA[:size]), path)


class Least(BaseHTTPRequestHandler):
    """A registry that wants chunks of at least 90,000 bytes (distribution-spec), and takes no others."""

    taken = b""
    sizes: list[int]

    def log_message(self, *_: Any) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = type(self)
        status = {"POST": 202, "PATCH": 202, "PUT": 201}[self.command]
        if self.command == "PATCH":
            kind.sizes.append(len(body))
            begin, _, end = self.headers["Content-Range"].partition("-")
            fits = int(begin) == len(kind.taken) and int(end) - int(begin) == len(body) - 1
            kind.taken += body
            status = status if fits and (len(body) >= 90_000 or len(kind.taken) == len(DATA)) else 416
        self.send_response(status)
        self.send_header("Location", "/v2/x/blobs/uploads/1")
        self.send_header("OCI-Chunk-Min-Length", "90000")
        self.send_header("Content-Length", "0")
        if self.command == "PATCH":
            self.send_header("Range", f"0-{len(kind.taken) - 1}")
        self.end_headers()

    do_POST = do_PATCH = do_PUT = _serve  # noqa: N815


def test_the_least_chunk_is_the_registrys(small: None) -> None:
    Least.sizes = []
    with web.running(Least) as address:
        client(Reference(address, "x")).push_blob(digest(DATA), DATA)
    assert (Least.sizes, Least.taken) == ([90_000, 90_000, 90_000, 30_000], DATA)


# -- reading ------------------------------------------------------------------------------------


@pytest.fixture
def parts_of_a_blob(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "LARGE", 200_000)
    monkeypatch.setattr(ranges, "PART", 40_000)


def read(server: str, name: str, offset: int = 0, size: int = len(DATA)) -> bytes:
    with client(Reference(server, name)).sized_blob(digest(DATA), offset, size) as opened:
        assert opened is not None
        return DATA[: opened[0]] + b"".join(opened[1])


@pytest.mark.parametrize(("offset", "asked"), [(0, 8), (90_000, 6), (100_001, 1), (250_000, 1)])
def test_a_large_blob_comes_in_parts(
    front: faulty.Bad,
    name: str,
    registry_server: servers.RegistryServer,
    parts_of_a_blob: None,
    offset: int,
    asked: int,
) -> None:
    client(Reference(registry_server.address, name)).push_blob(digest(DATA), DATA)
    before = total(registry_server)
    assert read(registry_server.address, name, offset) == DATA
    statuses = [status for method, _, status in requests(registry_server, before) if method == "GET"]
    assert statuses == [206 if asked > 1 or offset else 200] * asked


@pytest.mark.parametrize("fault", ["wrong-range", "206all"])
def test_a_registry_that_cannot_do_parts(name: str, parts_of_a_blob: None, fault: str) -> None:
    """It answers with another part than it was asked for, or with all of it."""
    ranges_asked: list[str] = []

    class Whole(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            ranges_asked.append(wanted)
            self.send_response(206 if wanted and fault == "wrong-range" else 200)
            if wanted and fault == "wrong-range":
                self.send_header("Content-Range", f"bytes 5-9/{len(DATA)}")
            self.send_header("Content-Length", str(len(DATA)))
            self.end_headers()
            self.wfile.write(DATA)

    with web.running(Whole) as address:
        assert read(address, name) == DATA
    assert ranges_asked == (["bytes=0-39999", ""] if fault == "wrong-range" else ["bytes=0-39999"])


def test_a_part_that_breaks_off_is_an_error_to_go_on_from(
    front: faulty.Bad, name: str, registry_server: servers.RegistryServer, parts_of_a_blob: None
) -> None:
    client(Reference(registry_server.address, name)).push_blob(digest(DATA), DATA)
    front.faults[:] = [Fault("", "blobs", "GET", 1), Fault("close", "blobs", "GET", 1)]
    got = b""
    with (
        pytest.raises(BrokenOffError),
        client(Reference(front.address, name)).sized_blob(digest(DATA), 0, len(DATA)) as opened,
    ):
        assert opened is not None
        for piece in opened[1]:
            got += piece
    assert len(got) < len(DATA) and DATA.startswith(got)
    assert read(front.address, name, len(got)) == DATA


def test_a_pull_survives_a_registry_that_dies(
    tmp_path: Path, parts_of_a_blob: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed when the first bytes have come, and back a second later."""
    monkeypatch.setattr(fetching, "_PROGRESS_STEP", 1)
    registry = faulty.Registry(tmp_path)
    registry.start()
    registry.wait()
    store = Store.open(tmp_path / "store")
    died: list[Callable[[], None]] = [lambda: registry.back(1.0)]

    def emit(event: Event) -> None:
        if event.kind == "fetch-progress" and died:
            died.pop()()

    try:
        client(Reference(registry.address, "dies/b")).push_blob(digest(DATA), DATA)
        sha256 = digest(DATA).removeprefix("sha256:")
        wanted = Fetch("layer", f"oci://{registry.address}/dies/b", sha256, len(DATA))
        assert fetching.fetch(wanted, store, emit).read_bytes() == DATA
        assert not died
    finally:
        registry.kill()
        store.close()


class Closing(BaseHTTPRequestHandler):
    """What stands before a registry, and closes the connection on a body of more than two megabytes, which
    it does not read: its answer (413) may get lost on the way."""

    taken = b""
    status = 413

    def log_message(self, *_: Any) -> None:
        pass

    def _serve(self) -> None:
        kind, size = type(self), int(self.headers.get("Content-Length") or 0)
        if size > 2_000_000:
            if kind.status:
                self.send_response(kind.status)
                self.send_header("Content-Length", "0")
                self.end_headers()
            self.close_connection = True
            return
        kind.taken += self.rfile.read(size)
        status = {"POST": 202, "PATCH": 202, "PUT": 201, "GET": 204}[self.command]
        self.send_response(status)
        self.send_header("Location", "/v2/x/blobs/uploads/1")
        self.send_header("Range", f"0-{len(kind.taken) - 1}")
        if status != 204:
            self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PATCH = do_PUT = _serve  # noqa: N815


@pytest.mark.parametrize("status", [413, 0])
def test_a_proxy_that_closes_on_what_is_too_large(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Closing, "status", status)
    monkeypatch.setattr(Closing, "taken", b"")
    data = DATA * 20  # six megabytes: more than the sockets hold
    with web.running(Closing) as address:
        client(Reference(address, "x")).push_blob(digest(data), data)
    assert Closing.taken == data


def test_a_registry_that_dies_in_the_middle(tmp_path: Path, small: None) -> None:
    """Killed after the first blob, and back a second later: one push, both ways of sending."""
    registry = faulty.Registry(tmp_path)
    registry.start()
    registry.wait()
    died: list[Callable[[], None]] = [lambda: registry.back(1.0)]
    try:

        def sent(blob: str, size: int) -> None:
            if died:
                died.pop()()

        parts, manifest = image(DATA, *(DATA[: 1000 * number] for number in range(1, 12)))
        host = registry.address
        client(Reference(host, "dies/a")).push_image(parts, manifest, watch=Watch(sent))
        assert not died
        whole(host, "dies/a", "latest", parts, manifest)
    finally:
        registry.kill()
