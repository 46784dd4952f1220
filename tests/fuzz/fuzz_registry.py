"""Fuzzing of what registries and galleries answer: indexes, manifests, configs, tokens, errors, labels,
metadata of extensions. Only the transport is ours: what came is given to what reads it."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))
with atheris.instrument_imports(include=["engine", "store", "json"]):
    from engine.ecosystems.images import resolver as image
    from engine.ecosystems.vscode import resolver as vscode
    from engine.errors import EnvdError, ResolveError
    from engine.lock import rows as lock_rows
    from engine.net.answers import Answer
    from engine.oci import kept
    from engine.runtime import labels
    from engine.runtime.container import runtime_of
    from store import access, exchange, pull, references, retry
    from store.errors import RegistryError, StoreError
import requests
from oras.auth.token import TokenAuth
from oras.auth.utils import authHeader, parse_auth_header

from grammar.environment import Position
from tests.fuzz import harness
from tests.fuzz.harness import Bits

HERE = Position("build.envd", 1, 1)
SHA = "sha256:" + "a" * 64
INDEX: Any = {
    "schemaVersion": 2,
    "mediaType": pull.OCI_INDEX,
    "manifests": [
        {
            "digest": SHA,
            "size": 10,
            "mediaType": pull.OCI_MANIFEST,
            "platform": {"os": "linux", "architecture": "amd64"},
        },
        {"digest": SHA, "size": 10, "platform": {"os": "linux", "architecture": "arm64"}},
    ],
}
MANIFEST: Any = {
    "schemaVersion": 2,
    "mediaType": pull.OCI_MANIFEST,
    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": SHA, "size": 5},
    "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": SHA, "size": 100}],
}
CONFIG: Any = {
    "os": "linux",
    "architecture": "amd64",
    "rootfs": {"type": "layers", "diff_ids": [SHA]},
    "config": {
        "Env": ["PATH=/bin", "A=b=c"],
        "Entrypoint": ["sh"],
        "Cmd": None,
        "User": "0",
        "WorkingDir": "/",
        "Labels": {"a": "b"},
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/x": {}},
        "StopSignal": "9",
    },
    "history": [{"created_by": "x", "empty_layer": True}, {"created_by": "y"}],
}
LABEL: Any = {
    "shell": "zsh",
    "jupyter": [8888, ""],
    "owner": [1000, 1000],
    "gpu": 1,
    "shm_size": 64,
    "mounts": [["a", "/a", True]],
    "expose": [[80, 80, "w", ""]],
    "init": 1,
    "commands": {"a": "b"},
    "apt": ["git"],
}
GALLERY: Any = {
    "namespace": "a",
    "name": "b",
    "version": "1.0.0",
    "targetPlatform": "linux-x64",
    "files": {"download": "https://h/b.vsix", "sha256": "https://h/b.sha256"},
    "dependencies": [{"namespace": "c", "extension": "d"}],
    "bundledExtensions": [],
    "extensions": [{"namespace": "a", "name": "b"}],
}
ERRORS: Any = {"errors": [{"code": "X", "message": "no", "detail": None}], "token": "t", "access_token": "t"}
NASTY: list[Any] = [
    None,
    True,
    0,
    -1,
    1 << 70,
    1.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "../..",
    "/",
    "\0",
    "\n",
    "\x1b[2J",
    "\ud800",
    SHA,
    "sha256:" + "/" * 64,
    "sha512:" + "a" * 128,
    [],
    {},
    [[]],
    [1],
    ["x"],
    {"a": 1},
    {"os": 1, "architecture": 2},
    "linux",
    "x" * 5000,
    "file:///etc/passwd",
    "1e999",
]


def edited(bits: Bits, document: Any) -> bytes:
    """A sound answer with some of its values replaced or taken away."""
    document = json.loads(json.dumps(document))
    for _ in range(bits.byte() % 5):
        node, above = document, None
        last: Any = None
        while isinstance(node, dict | list) and node and (above is None or bits.byte() % 8):
            above, last = node, bits.one(sorted(node) if isinstance(node, dict) else range(len(node)))
            node = node[last]
        if above is None:
            break
        match bits.byte() % 4:
            case 0:
                del above[last]
            case 1:
                above[last] = bits.text()
            case _:
                above[last] = deepcopy(bits.one(NASTY))
    return json.dumps(document).encode()


def answers(data: bytes) -> list[bytes]:
    """The index, the manifest, the config, a label, a gallery's answer, a refusal."""
    if data[:1] == b"\1":
        bits = Bits(data[1:])
        return [edited(bits, d) for d in (INDEX, MANIFEST, CONFIG, LABEL, GALLERY, ERRORS)]
    parts = data.split(b"\xff\xfe")
    return [parts[n] if n < len(parts) else parts[-1] for n in range(6)]


def one_input(data: bytes, inside: Path) -> None:
    index, manifest, config, label, gallery, refusal = answers(data)
    with suppress(RecursionError):  # of json.dumps, in this file
        _image(index, manifest, config, inside)
    _label(label)
    _gallery(gallery, refusal)
    _refusal(refusal)


def _image(index: bytes, manifest: bytes, config: bytes, inside: Path) -> None:
    bodies = iter([index, manifest])

    @contextmanager
    def blob(*_: Any) -> Iterator[tuple[int, Iterator[bytes]]]:
        yield 0, iter([config])

    pull.manifest = lambda name: next(bodies, manifest)  # type: ignore[assignment]
    pull.blob = blob  # type: ignore[assignment]
    # A digest that fits is for whoever makes the answers to write.
    manifest = manifest.replace(SHA.encode(), _digest(config).encode(), 1)
    bodies = iter([index, manifest])
    try:
        pinned = image.look_up(pull.parse_image("h.example/a/b:c"), lambda _: None)
    except (ResolveError, RegistryError) as error:
        harness.said(error)
        return
    path = inside / "config"
    path.write_bytes(config)
    fetched, image._fetched = image._fetched, lambda packages, cache: [path]
    try:
        image.config_of(pinned, inside)
    except EnvdError as error:
        harness.said(error)
    finally:
        image._fetched = fetched
        path.unlink()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _label(text: bytes) -> None:
    try:
        runtime_of({"io.envd.runtime": text.decode("utf-8", "surrogateescape")}, "image:1")
    except EnvdError as error:
        harness.said(error)
    with suppress(ValueError, RecursionError):
        labels_of = json.loads(text)
        with suppress(ValueError):
            labels.checked(labels_of)


def _gallery(body: bytes, checksum: bytes) -> None:
    vscode.get = lambda url, position: Answer(  # type: ignore[attr-defined]
        checksum if url.endswith("sha256") else body, url
    )
    try:
        data = vscode._metadata("a.b", "", HERE) or {}
        package = vscode._locked(data, "a.b", HERE)
        list(vscode._needed(data, "a.b", HERE))
        lock_rows.check([package], ResolveError)
    except ResolveError as error:
        harness.said(error)
    vscode._search("a", HERE)


class _Session:
    """What sends nothing: each answer is the same."""

    def __init__(self, answer: requests.Response) -> None:
        self._answer = answer

    def get(self, *_: Any, **__: Any) -> requests.Response:
        return self._answer

    request = get


def _refusal(body: bytes) -> None:
    answer = requests.Response()
    answer.status_code, answer._content = 500, body
    answer.headers["Retry-After"] = body[:40].decode("latin-1")
    given = exchange.Answer(500, {}, "https://h/", body)
    exchange.problems(given)
    exchange.codes(given)
    error = retry.refused(503, answer.headers)
    retry.wait(1, error)
    retry.tried(1, error)
    auth = TokenAuth()
    auth.session = _Session(answer)
    auth.prefix = "https"
    answer.status_code = 200
    for wanted in (authHeader({"realm": "https://h/t"}), parse_auth_header(body.decode("latin-1"))):
        try:
            access.ask_token(auth, wanted, "h.example")
        except StoreError as error:
            harness.said(error)
    with suppress(ValueError):
        pull.parse_image(body[:100].decode("utf-8", "replace"))
    with suppress(ValueError):
        references.parse_reference(body[:100].decode("utf-8", "replace"))


if __name__ == "__main__":
    assert kept
    harness.run("registry", one_input)
