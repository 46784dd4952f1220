"""Servers and archives that send without end, or far more than they seem to: each is one clear error
that names the source, the limit and how to raise it, in bounded memory."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import tarfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import urllib3
import zstandard

from engine.core import zip_files
from engine.ecosystems.r import cran
from engine.errors import ResolveError
from engine.net import answers as http
from engine.net.pin import pin
from grammar.environment import Position
from store import Store, archives, bodies
from store.compression import PIECE, decompressed, inflated
from store.connections import interruptible
from store.errors import TooLargeError
from store.retry import TransientError
from tests.integration.envd import ENVD, Envd
from tests.integration.web import running

# More than this in envd's memory ends it; all that these servers send would be far more.
BOUNDED = ("/bin/sh", "-c", 'ulimit -d 700000; exec "$@"', "sh")
AT = Position("build.envd", 3, 5)
SMALL = "manifest=64K,answer=64K,download=64K,unpacked=1M,entries=100,ratio=20"


@cache
def zeros(size: int) -> bytes:
    """Gzip of one member that holds `size` bytes; its checksum is wrong, which nobody gets to see."""
    packer = zlib.compressobj(9, wbits=31)
    part = 16 << 20
    first = packer.compress(bytes(part)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(part)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + again * (size // part - 1) + packer.flush()


class Hostile(BaseHTTPRequestHandler):
    """What is sent depends on the last word of the path."""

    protocol_version = "HTTP/1.1"
    asked = threading.Event()

    def do_GET(self) -> None:
        with suppress(OSError):
            self.answer(self.path.rpartition("/")[2])

    def answer(self, how: str) -> None:
        word = how.partition("-")[2] or how
        if how == "" and self.path == "/v2/":
            self.head(200, {"Content-Length": "2"})
            self.wfile.write(b"{}")
        elif word in ("endless", "endless.gz") or "endless" in self.path:
            kind = "text/html" if "/simple/" in self.path else "application/json"
            self.head(int(how[:3]) if how[:3].isdigit() else 200, {"Content-Type": kind})
            self.forever(b"x" * 65536)
        elif word == "redirect":
            self.head(302, {"Location": "http://127.0.0.1:9/"})
            self.forever(b"x" * 65536)
        elif word == "stalled":
            self.head(200, {"Content-Length": "1000000"})
            self.wfile.write(b"x")
            self.asked.set()
            threading.Event().wait(60)
        elif word == "headless":
            self.asked.set()
            threading.Event().wait(60)
        elif word in ("bomb", "PACKAGES.gz") or "bomb" in self.path:
            body = zeros(2 << 30)
            encoding = {} if word == "PACKAGES.gz" else {"Content-Encoding": "gzip"}
            self.head(200, {"Content-Length": str(len(body)), **encoding})
            self.wfile.write(body)
        else:
            self.head(404, {"Content-Length": "0"})

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.close_connection = True
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def forever(self, data: bytes) -> None:
        while True:
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def hostile() -> Iterator[str]:
    with running(Hostile) as address:
        yield address


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVD_LIMITS", SMALL)


def told(text: str, name: str) -> bool:
    """Whether an error says which limit it was, and how to raise it."""
    return f"`--limit {name}=" in text


# -- metadata ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["endless", "bomb"])
def test_metadata(path: str, hostile: str, small: None) -> None:
    with pytest.raises(ResolveError) as caught:
        http.get(f"http://{hostile}/{path}", AT)
    text = str(caught.value)
    assert text.startswith(f"build.envd:3:5: http://{hostile}/{path}: the answer is larger than 64K")
    assert told(text, "answer")


def test_an_index_that_is_compressed_itself(hostile: str, small: None) -> None:
    with pytest.raises(ResolveError) as caught:
        cran.open_index(f"http://{hostile}", AT)
    assert told(str(caught.value), "answer")


def test_a_file_of_unknown_size(hostile: str, small: None, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    with pytest.raises(ResolveError) as caught:
        pin("data", f"http://{hostile}/endless", store, AT)
    store.close()
    assert f"http://{hostile}/endless is larger than 64K" in str(caught.value)
    assert told(str(caught.value), "download")
    assert not [p for p in (tmp_path / "store/tmp").iterdir() if p.is_file() and p.stat().st_size]


@pytest.mark.parametrize("encoding", ["br", "gzip, br", "gzip", "deflate"])
def test_bodies_that_are_damaged(encoding: str) -> None:
    with pytest.raises(TransientError):
        list(bodies.decoded([b"\x1f\x8b nothing"], encoding))


@pytest.mark.parametrize("encoding", ["", "identity", "gzip", "x-gzip", "deflate", "gzip, gzip", "bare"])
def test_bodies_that_are_not(encoding: str) -> None:
    data = os.urandom(100_000) + bytes(PIECE * 2)
    sent = data
    for name in encoding.split(", "):
        sent = {
            "gzip": gzip.compress,
            "x-gzip": gzip.compress,
            "deflate": zlib.compress,
            "bare": lambda d: zlib.compress(d, wbits=-15),
        }.get(name, bytes)(sent)
    chunks = [sent[i : i + 1000] for i in range(0, len(sent), 1000)]
    named = encoding.replace("bare", "deflate")
    assert b"".join(bodies.decoded(chunks, named)) == data
    assert max(map(len, bodies.decoded(chunks, named))) <= PIECE


def test_a_server_that_sends_a_byte_now_and_then() -> None:
    pace = bodies.Pace()
    with pytest.raises(TransientError, match="only 120 bytes came within 60 s"):
        for _ in range(121):
            pace.add(1, 0.5)
    fine = bodies.Pace()
    for _ in range(1000):
        fine.add(200, 0.5)


def test_a_head_that_comes_byte_by_byte() -> None:
    """Each byte in time, but so many that it would take hours."""

    class Slow(Hostile):
        def answer(self, how: str) -> None:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            while True:
                self.wfile.write(b"x")
                time.sleep(0.1)

    manager = interruptible(urllib3.PoolManager())
    with running(Slow) as address, pytest.raises(urllib3.exceptions.HTTPError):
        manager.request("GET", f"http://{address}/", timeout=1.0, retries=False)


# -- registries -------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["endless", "bomb", "404-endless", "400-endless", "redirect"])
def test_a_registrys_manifest(tag: str, hostile: str, tmp_path: Path) -> None:
    envd = Envd(tmp_path / "store", tmp_path / "project", prefix=BOUNDED)
    envd.spec(f'def build():\n    base(image="{hostile}/some/image:{tag}")\n')
    outcome = envd.run("lock", "--limit", SMALL, check=False)
    assert outcome.code == 1, outcome.stderr
    (last,) = [line for line in outcome.stderr.splitlines() if "error: " in line]
    assert last.startswith("build.envd:2:5: error: "), outcome.stderr
    if not tag.startswith("redirect"):
        assert f"{hostile}: the answer is larger than 64K" in last
        assert told(last, "manifest")
    assert "Traceback" not in outcome.stderr
    assert not (envd.project / "envd.lock").exists()


def test_a_registrys_config(hostile: str, tmp_path: Path) -> None:
    """An image whose manifest is as it should be, but its config does not end."""

    class Registry(Hostile):
        def answer(self, how: str) -> None:
            if "/manifests/" not in self.path:
                return super().answer("endless" if "/blobs/" in self.path else how)
            digest = f"sha256:{'0' * 64}"
            row = {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": digest}
            body = json.dumps({"schemaVersion": 2, "config": row, "layers": []}).encode()
            self.head(200, {"Content-Length": str(len(body))})
            self.wfile.write(body)
            return None

    with running(Registry) as address:
        envd = Envd(tmp_path / "store", tmp_path / "project", prefix=BOUNDED)
        envd.spec(f'def build():\n    base(image="{address}/some/image:1")\n')
        outcome = envd.run("lock", "--limit", SMALL, check=False)
    assert outcome.code == 1, outcome.stderr
    assert "its config: the answer is larger than 64K" in outcome.stderr
    assert told(outcome.stderr, "manifest")


# -- indexes and channels, which uv and rattler read ------------------------------------------


@pytest.mark.parametrize("ecosystem", ["python", "conda"])
def test_an_index_that_other_programs_read(
    ecosystem: str, hostile: str, shared_store: Path, tmp_path: Path
) -> None:
    envd = Envd(shared_store, tmp_path / "project")
    envd.spec(
        {
            "python": 'def build():\n    base(os="debian12", language="python3")\n'
            f'    config.pip_index("http://{hostile}/endless/simple")\n'
            '    install.python_packages(["numpy"])\n',
            "conda": 'def build():\n    base(os="debian12")\n    install.conda()\n'
            f'    config.conda_channel("http://{hostile}/endless")\n'
            '    install.conda_packages(["numpy"])\n',
        }[ecosystem]
    )
    outcome = envd.run("lock", "--limit", "answer=24M", check=False)
    assert outcome.code == 1, outcome.stderr
    assert "what servers answer takes more than 384M of memory to read" in outcome.stderr, outcome.stderr
    assert told(outcome.stderr, "answer")
    assert "Traceback" not in outcome.stderr


# -- archives ---------------------------------------------------------------------------------


def headers(sizes: list[int]) -> bytes:
    """The beginning of a tar whose members say that they have these sizes; the first of them follow."""
    found = b""
    for number, size in enumerate(sizes):
        member = tarfile.TarInfo(f"file-{number}")
        member.size = size
        found += member.tobuf(tarfile.GNU_FORMAT)
    return found


TARS = {
    "unpacked": headers([2 << 20]) + bytes(2 << 20),
    "unpacked of many": headers([0] * 50) + headers([2 << 20]),
    "entries": headers([0] * 200),
    "ratio": headers([3 << 30]),
}
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("kind", TARS)
@pytest.mark.parametrize("packer", ["plain", "gzip"])
def test_a_tar(kind: str, packer: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = kind.partition(" ")[0]
    monkeypatch.setenv("ENVD_LIMITS", f"{name}={'1M' if name == 'unpacked' else 100}")
    path = tmp_path / "archive"
    path.write_bytes(PACKERS[packer](TARS[kind]))
    with archives.opened(path) as archive, pytest.raises(tarfile.ReadError) as caught:
        list(archives.members(archive))
    assert told(str(caught.value), name)


@pytest.mark.parametrize("limit", ["unpacked=1M", "entries=100", "ratio=20"])
def test_a_zip(limit: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ENVD_LIMITS", limit)
    name = limit.partition("=")[0]
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(200 if name == "entries" else 1):
            with archive.open(f"file-{number}", "w") as file:
                for _ in range({"unpacked": 2, "ratio": 1100}.get(name, 0)):
                    file.write(bytes(1 << 20))
    with pytest.raises(zipfile.BadZipFile) as caught, zip_files.opened(path):
        pass
    assert told(str(caught.value), name)


@pytest.mark.parametrize("packer", PACKERS)
def test_a_layer(packer: str, small: None, tmp_path: Path) -> None:
    path = tmp_path / "layer"
    path.write_bytes(PACKERS[packer](bytes(3 << 20)))
    size = 0
    with pytest.raises(TooLargeError) as caught:
        for chunk in decompressed(path, foreign=True):
            size += len(chunk)
            assert len(chunk) <= PIECE
    assert told(str(caught.value), "unpacked")
    assert sum(map(len, decompressed(path))) == 3 << 20  # what envd itself has made is its own


def test_a_layer_of_a_thousand_times_its_size(tmp_path: Path) -> None:
    path = tmp_path / "layer"
    path.write_bytes(zeros(2 << 30))
    with pytest.raises(TooLargeError) as caught:
        for chunk in decompressed(path, foreign=True):
            assert len(chunk) <= PIECE
    assert told(str(caught.value), "ratio")


def test_a_stream_of_empty_members() -> None:
    """What is left of a chunk was copied for each of them: 50,000 times a megabyte."""
    member = gzip.compress(b"")
    path = io.BytesIO(member * 50_000 + gzip.compress(b"end"))
    assert b"".join(inflated(iter(lambda: path.read(1 << 16), b""))) == b"end"


@contextmanager
def registry_of_a_bomb(size: int) -> Iterator[str]:
    """A registry of one image whose only layer unpacks to `size` bytes."""
    layer = zeros(size)

    def digest(data: bytes) -> str:
        return f"sha256:{hashlib.sha256(data).hexdigest()}"

    config = json.dumps(
        {
            "os": "linux",
            "architecture": "amd64",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{'0' * 64}"]},
        }
    ).encode()
    kind = "application/vnd.oci.image"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": {"mediaType": f"{kind}.config.v1+json", "size": len(config), "digest": digest(config)},
            "layers": [
                {"mediaType": f"{kind}.layer.v1.tar+gzip", "size": len(layer), "digest": digest(layer)}
            ],
        }
    ).encode()
    bodies_of = {digest(config): config, digest(layer): layer, "1": manifest}

    class Registry(Hostile):
        def answer(self, how: str) -> None:
            body = bodies_of.get(how, b"{}")
            self.head(200, {"Content-Length": str(len(body))})
            self.wfile.write(body)

    with running(Registry) as address:
        yield address


def test_an_image_with_a_bomb(tmp_path: Path) -> None:
    """From a registry into the store: neither its memory nor its disk is taken."""
    with registry_of_a_bomb(2 << 30) as address:
        envd = Envd(tmp_path / "store", tmp_path / "project", prefix=BOUNDED)
        envd.project.mkdir()
        outcome = envd.run(
            "pull", "--no-load", f"{address}/some/image:1", "--limit", "unpacked=64M", check=False
        )
    assert outcome.code == 1
    assert f"error: {address}/some/image: layer-1: it unpacks to more than 64M" in outcome.stderr
    assert told(outcome.stderr, "unpacked")
    assert "Traceback" not in outcome.stderr


# -- Ctrl-C -----------------------------------------------------------------------------------


@contextmanager
def started(project: Path, store: Path, spec: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    project.mkdir()
    (project / "build.envd").write_text(f"def build():\n{spec}")
    process = subprocess.Popen(
        [str(ENVD), *arguments],
        cwd=project,
        env={**os.environ, "ENVD_STORE": str(store)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("path", ["stalled", "headless"])
@pytest.mark.parametrize("what", ["image", "file"])
def test_ctrl_c_while_a_server_keeps_us_waiting(
    path: str, what: str, hostile: str, shared_store: Path, tmp_path: Path
) -> None:
    Hostile.asked.clear()
    spec = f'    base(os="debian12")\n    io.http("http://{hostile}/{path}")\n'
    if what == "image":
        spec = f'    base(image="{hostile}/some/image:{path}")\n'
    with started(tmp_path / "project", shared_store, spec, "lock") as process:
        assert Hostile.asked.wait(120)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "envd: interrupted"


def test_ctrl_c_in_a_step(shared_store: Path, tmp_path: Path) -> None:
    long = f"9998.{os.getpid()}"  # another user's test may sleep, too
    spec = f'    base(os="debian12")\n    run(["echo begun; trap : INT; sleep {long}; : {tmp_path}"])\n'
    with started(
        tmp_path / "project", shared_store, spec, "build", "--progress", "plain", "-o", "oci:x.tar"
    ) as process:
        assert process.stderr is not None
        before = []
        for line in process.stderr:
            before.append(line)
            if "> begun" in line:
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, "".join(before) + errors
    assert errors.splitlines()[-1] == "envd: interrupted"
    assert not [
        p
        for p in Path("/proc").glob("[0-9]*/cmdline")
        if p.read_bytes().startswith(f"sleep\0{long}\0".encode())
    ]


def test_ctrl_c_while_a_bomb_is_unpacked(tmp_path: Path) -> None:
    with (
        registry_of_a_bomb(64 << 30) as address,
        started(
            tmp_path / "project",
            tmp_path / "store",
            "    base()\n",
            "pull",
            "--no-load",
            f"{address}/some/image:1",
            "--progress",
            "plain",
            "--limit",
            "unpacked=none,ratio=none",
        ) as process,
    ):
        assert process.stderr is not None
        come = 0  # the configuration, then the layer, which is unpacked at once
        for line in process.stderr:
            come += line.startswith("fetched ")
            if come == 2:
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "envd: interrupted"
