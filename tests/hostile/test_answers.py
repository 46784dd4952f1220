"""What galleries and registries answer at lock time, over real connections: one error each, soon."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from engine.ecosystems.images import resolver as image
from engine.ecosystems.vscode import resolver as vscode
from engine.errors import EnvdError, ResolveError
from engine.lock import rows as lock_rows
from engine.net.answers import get
from grammar.environment import Position, Request
from store import pull
from tests.integration import web

HERE = Position("build.envd", 2, 5)
Answers = Callable[[str], tuple[int, Mapping[str, str], bytes] | None]


@contextmanager
def server(answers: Answers) -> Iterator[str]:
    """A server whose answers are made up from the path; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = answers(self.path) or (404, {}, b"")
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - the name that the server looks for

        def log_message(self, *_: Any) -> None:
            pass

    with web.running(Handler) as address:
        yield address


def ok(document: Any) -> tuple[int, Mapping[str, str], bytes]:
    return 200, {}, document if isinstance(document, bytes) else json.dumps(document).encode()


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_numbers_without_end_are_refused(number: bytes) -> None:
    """Python's own reader takes them all, and int() of them is no ValueError."""
    release = {
        "version": "go1.22.0",
        "files": [
            {
                "filename": "go1.22.0.linux-amd64.tar.gz",
                "os": "linux",
                "arch": "amd64",
                "kind": "archive",
                "sha256": "0" * 64,
                "size": 12345,
            }
        ],
    }
    body = json.dumps([release]).encode().replace(b"12345", number)
    with server(lambda path: ok(body)) as address:
        found = get(address + "/", HERE)
        assert found is not None
        with pytest.raises(ValueError, match="is not finite"):
            found.json()


# -- galleries --------------------------------------------------------------------------------


def _about(**changed: Any) -> dict[str, Any]:
    sound = {
        "namespace": "a",
        "name": "b",
        "version": "1.0.0",
        "targetPlatform": "universal",
        "files": {"download": "http://HOST/b.vsix", "sha256": "http://HOST/b.sha256"},
    }
    return {**sound, **changed}


GALLERIES: dict[str, Any] = {
    "another extension": _about(name="c"),
    "name that climbs": _about(name="../../../../victim8"),
    "version that climbs": _about(version="1/../../../../../../victim8"),
    "version with a new line": _about(version="1.0\nx"),
    "target that climbs": _about(targetPlatform="../../x"),
    "name that is a number": _about(name=5),
    "download from a file": _about(files={"download": "file:///etc/passwd"}),
    "download from a scheme that is only ever ours": _about(
        files={"download": "https+unchecked://HOST/b.vsix"}
    ),
    "checksum from a file": _about(files={"download": "http://HOST/b.vsix", "sha256": "file:///etc/passwd"}),
    "file name that is dots": _about(
        files={"download": "http://HOST/x/..", "sha256": "http://HOST/b.sha256"}
    ),
    "file name that climbs": _about(
        files={"download": "http://HOST/..%2f..%2fx%00", "sha256": "http://HOST/nothing"}
    ),
    "files that are a text": _about(files="http://HOST/b.vsix"),
    "no files": _about(files={}),
    "dependencies that are a number": _about(dependencies=5),
    "dependencies that are texts": _about(dependencies=["c.d"]),
    "dependencies that are numbers": _about(dependencies=[{"namespace": 1, "extension": 2}]),
    "dependency that climbs": _about(dependencies=[{"namespace": "../..", "extension": "x"}]),
    "a list": [],
    "a number": 5,
    "nothing": b"",
    "no JSON": b"<html>",
    "nested": b"[" * 100_000,
    "not UTF-8": b"\xff\xfe\xfd",
}


@pytest.mark.parametrize("case", sorted(GALLERIES))
def test_a_gallery_is_one_error(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(path: str) -> tuple[int, Mapping[str, str], bytes] | None:
        if path == "/b.sha256":
            return ok(b"a" * 64)
        if path.startswith("/api/a/b/linux-x64"):
            status, headers, body = ok(GALLERIES[case])
            return status, headers, body.replace(b"HOST", address.encode())
        return None

    with server(answers) as address:
        monkeypatch.setenv("ENVD_VSCODE_GALLERY", f"http://{address}")
        with pytest.raises(ResolveError, match=r"build\.envd:2:5: |vsix ") as caught:
            lock_rows.check(vscode.resolve([Request("a.b", HERE)], lambda _: None), ResolveError)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_gallery_without_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each extension needs another, which has never been heard of."""

    def answers(path: str) -> tuple[int, Mapping[str, str], bytes] | None:
        parts = path.split("/")
        if path == "/b.sha256":
            return ok(b"a" * 64)
        name = parts[3]
        text = json.dumps(
            _about(name=name, dependencies=[{"namespace": "a", "extension": f"{name[0]}{int(name[1:]) + 1}"}])
        )
        return ok(text.replace("HOST", address).encode())

    with server(answers) as address:
        monkeypatch.setenv("ENVD_VSCODE_GALLERY", f"http://{address}")
        monkeypatch.setattr(vscode, "_MOST", 20)
        with pytest.raises(ResolveError, match="more than 20 extensions"):
            vscode.resolve([Request("a.b1", HERE)], lambda _: None)


# -- registries -------------------------------------------------------------------------------

AMD64 = {"os": "linux", "architecture": "amd64"}
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
GZIP = "sha256:" + "a" * 64


def digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _config(**changed: Any) -> dict[str, Any]:
    return {**AMD64, "rootfs": {"type": "layers", "diff_ids": [GZIP]}, "config": {}, **changed}


def _manifest(body: bytes, **changed: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": pull.OCI_MANIFEST,
        "config": {"digest": digest(body), "size": len(body), "mediaType": "x"},
        "layers": [{"digest": GZIP, "size": 5, "mediaType": LAYER}],
        **changed,
    }


CONFIGS: dict[str, Any] = {
    "a list": [],
    "a text": "x",
    "nested": b"[" * 100_000,
    "no JSON": b"\x1f\x8b",
    "null": None,
    "of another machine": _config(architecture="arm64"),
    "of a system that is a list": _config(os=["linux"]),
    "without rootfs": {**AMD64},
    "with rootfs as a list": _config(rootfs=[]),
    "with more layers": _config(rootfs={"diff_ids": [GZIP, GZIP]}),
    "with diff_ids that are a text": _config(rootfs={"diff_ids": "x"}),
    "with diff_ids that are numbers": _config(rootfs={"diff_ids": [5]}),
    "with a diff_id that climbs": _config(rootfs={"diff_ids": ["sha256:../../x"]}),
    "with a config as a list": _config(config=[1]),
    "with variables that are a text": _config(config={"Env": "PATH=/bin"}),
    "with variables that are numbers": _config(config={"Env": [1]}),
    "with a zero byte": _config(config={"Env": ["A=\0"]}),
    "with half a character": _config(config={"Env": ["A=\ud800"]}),
    "with labels that are a list": _config(config={"Labels": ["a"]}),
    "with labels of numbers": _config(config={"Labels": {"a": 1}}),
    "with ports that are numbers": _config(config={"ExposedPorts": 80}),
    "with a user that is a number": _config(config={"User": 0}),
    "with a history of texts": _config(history=["x"]),
    "with a history as a table": _config(history={"a": 1}),
}

CONFIG = json.dumps(_config()).encode()
MANIFESTS: dict[str, Any] = {
    "a list": [],
    "nested": b"[" * 100_000,
    "no JSON": b"<html>",
    "of schema 1": {"schemaVersion": 1},
    "without layers": _manifest(CONFIG, layers=None),
    "with layers as a text": _manifest(CONFIG, layers="x"),
    "with layers as texts": _manifest(CONFIG, layers=["x"]),
    "with a layer of an unknown kind": _manifest(
        CONFIG, layers=[{"digest": GZIP, "size": 5, "mediaType": "application/x-sh"}]
    ),
    "with a layer's digest that climbs": _manifest(
        CONFIG, layers=[{"digest": "sha256:../../../x", "size": 5, "mediaType": LAYER}]
    ),
    "with a layer's digest of slashes": _manifest(
        CONFIG, layers=[{"digest": "sha256:" + "/" * 64, "size": 5, "mediaType": LAYER}]
    ),
    "with a weaker digest": _manifest(
        CONFIG, layers=[{"digest": "md5:" + "a" * 32, "size": 5, "mediaType": LAYER}]
    ),
    "with a size below zero": _manifest(CONFIG, layers=[{"digest": GZIP, "size": -5, "mediaType": LAYER}]),
    "with a size without end": _manifest(
        CONFIG, layers=[{"digest": GZIP, "size": float("inf"), "mediaType": LAYER}]
    ),
    "with a size that is no number": _manifest(
        CONFIG, layers=[{"digest": GZIP, "size": float("nan"), "mediaType": LAYER}]
    ),
    "with a size larger than any disk": _manifest(
        CONFIG, layers=[{"digest": GZIP, "size": 1 << 80, "mediaType": LAYER}]
    ),
    "with a config as a text": _manifest(CONFIG, config="x"),
    "with a config's digest that climbs": _manifest(CONFIG, config={"digest": "sha256:../../x"}),
    "an index that is a table": {"schemaVersion": 2, "manifests": {"a": 1}},
    "an index of texts": {"schemaVersion": 2, "manifests": ["x"]},
    "an index of nothing": {"schemaVersion": 2, "manifests": []},
    "an index with a platform as a text": {
        "schemaVersion": 2,
        "manifests": [{"digest": GZIP, "platform": "linux/amd64"}],
    },
    "an index with a system that is a number": {
        "schemaVersion": 2,
        "manifests": [{"platform": {"os": 5, "architecture": "x"}}],
    },
    "an index with a digest that climbs": {
        "schemaVersion": 2,
        "manifests": [{"digest": "sha256:../../x", "platform": AMD64}],
    },
    "an index of itself": {"schemaVersion": 2, "manifests": [{"digest": "SELF", "platform": AMD64}]},
}


def look_up(registry: str) -> None:
    pinned = image.pin(f"{registry}/team/env:v1", HERE, lambda _: None)
    lock_rows.check(pinned.packages, ResolveError)


@pytest.mark.parametrize("case", sorted(MANIFESTS))
def test_a_manifest_is_one_error(case: str) -> None:
    body = ok(MANIFESTS[case])[2]

    def answers(path: str) -> tuple[int, Mapping[str, str], bytes] | None:
        if path == "/v2/":
            return ok({})
        if "/manifests/" in path:
            return ok(body)
        return ok(CONFIG) if path.endswith(digest(CONFIG)) else None

    with server(answers) as address, pytest.raises(EnvdError) as caught:
        look_up(address)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("case", sorted(CONFIGS))
def test_a_config_is_one_error(case: str) -> None:
    config = ok(CONFIGS[case])[2]

    def answers(path: str) -> tuple[int, Mapping[str, str], bytes] | None:
        if path == "/v2/":
            return ok({})
        if "/manifests/" in path:
            return ok(_manifest(config))
        return ok(config) if path.endswith(digest(config)) else None

    with server(answers) as address, pytest.raises(EnvdError) as caught:
        look_up(address)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1500


def test_a_sound_image_is_taken() -> None:
    def answers(path: str) -> tuple[int, Mapping[str, str], bytes] | None:
        if path == "/v2/":
            return ok({})
        return ok(_manifest(CONFIG)) if "/manifests/" in path else ok(CONFIG)

    with server(answers) as address:
        look_up(address)


CHALLENGES = {
    "no realm": 'Bearer service="s"',
    "a file": 'Bearer realm="file:///etc/passwd",service="s"',
    "no URL": 'Bearer realm="http://[",service="s"',
    "nothing": "Bearer ",
}
TOKENS: dict[str, Any] = {
    "a list": ["t"],
    "a list of tokens": {"token": ["t"]},
    "a number": {"token": 5},
    "nested": b"[" * 100_000,
    "with a new line": {"token": "t\r\nX-Evil: 1"},
    "not ASCII": {"token": "é"},
}


@pytest.mark.parametrize("case", sorted(CHALLENGES.keys() | TOKENS.keys()))
def test_a_token_server_is_one_error(case: str) -> None:
    def answers(path: str) -> tuple[int, Mapping[str, str], bytes] | None:
        challenge = CHALLENGES.get(case, f'Bearer realm="http://{address}/token",service="s"')
        if path.startswith("/token"):
            return ok(TOKENS[case])
        return 401, {"WWW-Authenticate": challenge}, b"{}"

    with server(answers) as address, pytest.raises(EnvdError) as caught:
        look_up(address)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b'{"errors": [{"message": "\\u001b[2J\\u0007evil\\nline"}]}',
        b'{"errors": 5}',
        b"[" * 100_000,
        b"\x1b[2J" * 1000,
        b'{"errors": [{"message": 5}]}',
        b"\xff" * 100,
    ],
    ids=range(6),
)
def test_what_a_registry_says_is_one_line(body: bytes) -> None:
    def answers(path: str) -> tuple[int, Mapping[str, str], bytes] | None:
        return ok({}) if path == "/v2/" else (418, {}, body)

    with server(answers) as address, pytest.raises(EnvdError) as caught:
        look_up(address)
    assert not [c for c in str(caught.value) if not c.isprintable()]
    assert len(str(caught.value)) < 1000


def test_no_answer_reads_a_file_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A redirect, too, leads to http and https only."""
    secret = tmp_path / "secret"
    secret.write_text('{"namespace": "a"}')

    def answers(path: str) -> tuple[int, Mapping[str, str], bytes] | None:
        return 302, {"Location": secret.as_uri()}, b""

    with server(answers) as address:
        monkeypatch.setenv("ENVD_VSCODE_GALLERY", f"http://{address}")
        with pytest.raises(ResolveError) as caught:
            vscode.resolve([Request("a.b", HERE)], lambda _: None)
    assert "namespace" not in str(caught.value)
