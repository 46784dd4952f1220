"""Servers that send envd elsewhere: to files, into the clear, or with a login to somebody else."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engine.core.derivation import Fetch
from engine.ecosystems.includes import git
from engine.errors import EnvdError, FetchError, ResolveError
from engine.net import answers as http
from engine.net import client, fetch
from engine.oci import logins
from grammar.environment import Include, Position
from store import Store, notices, redirects
from store.errors import RegistryError
from store.references import Reference, parse_reference
from store.registry import Registry
from tests.integration import web

HERE = Position("build.envd", 1, 1)
LOGIN = base64.b64encode(b"corp:s3cret").decode()
Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Server:
    """A server that answers as it is told, and keeps what it was asked: (path, headers)."""

    url: str
    answer: Callable[[str, str], Answer] = lambda method, path: (404, {}, b"")
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def host(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def heard(self) -> str:
        """All that it was told, in one text."""
        return repr(self.asked)


@contextmanager
def serving(certificate: Path | None = None, address: str = "127.0.0.1") -> Iterator[Server]:
    made = Server("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            headers = {name.title(): value for name, value in self.headers.items()}
            made.asked.append((self.path, headers))
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, given, body = made.answer(self.command, self.path)
            self.send_response(status)
            for name, value in given.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_PUT = _serve  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer((address, 0), Handler)
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    made.url = f"{scheme}://{address}:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 and its key."""
    place = tmp_path_factory.mktemp("tls") / "both.pem"
    web.certify(place.with_suffix(".crt"), place)
    place.write_text(place.read_text() + place.with_suffix(".crt").read_text())
    return place


@dataclass(frozen=True)
class World:
    """A plain server, an encrypted one that is trusted, and one that must hear no login."""

    plain: Server
    secure: Server
    evil: Server
    said: list[str]


@pytest.fixture
def world(certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(certificate.with_suffix(".crt")))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    client._pool.cache_clear()
    said: list[str] = []
    with ExitStack() as stack:
        stack.enter_context(notices.heard(lambda subject, text: said.append(f"{subject}: {text}")))
        plain, evil = stack.enter_context(serving()), stack.enter_context(serving())
        secure = stack.enter_context(serving(certificate))
        (tmp_path / "docker").mkdir()
        (tmp_path / "docker/config.json").write_text(
            json.dumps({"auths": {server.host: {"auth": LOGIN} for server in (plain, secure)}})
        )
        yield World(plain, secure, evil, said)
    client._pool.cache_clear()


# -- redirections -------------------------------------------------------------------------------

NOWHERE = [
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "ftp://127.0.0.1/x",
    "data:text/plain,x",
    "gopher://127.0.0.1/",
    "javascript:1",
    "unix:///var/run/docker.sock",
    "https:///x",
    "http://",
    "http://[::1/",
    "https+unchecked://127.0.0.1/x",
    "\\\\127.0.0.1\\x:y",
    "oci://127.0.0.1/x",
]


def redirecting(location: str, status: int = 302) -> Callable[[str, str], Answer]:
    return lambda method, path: (status, {"Location": location}, b"")


def refused_at_once(world: World, call: Callable[[], object], *errors: type[Exception]) -> str:
    begin = time.monotonic()
    with pytest.raises(errors) as caught:
        call()
    assert world.said == []  # nothing is tried again
    assert time.monotonic() - begin < 30
    return str(caught.value)


def wanted(url: str, content: bytes = b"x") -> Fetch:
    return Fetch("thing", url, hashlib.sha256(content).hexdigest(), 0)


@pytest.mark.parametrize("location", NOWHERE)
def test_a_download_goes_to_http_alone(world: World, tmp_path: Path, location: str) -> None:
    store = Store.open(tmp_path / "store")
    for server in (world.plain, world.secure):
        server.answer = redirecting(location)
        url = f"{server.url}/thing"
        text = refused_at_once(world, partial(fetch.fetch, wanted(url), store), FetchError)
        assert "redirects" in text and url in text
        text = refused_at_once(world, partial(http.get, url, HERE), ResolveError)
        assert text.startswith("build.envd:1:1: ") and "redirects" in text
        registry = Registry(Reference(server.host, "x/y"), server.url)
        refused_at_once(world, partial(registry.manifest, "v1", ()), RegistryError)
        refused_at_once(world, partial(logins._ask, server.host, "corp", "s3cret"), EnvdError)


def test_what_began_encrypted_stays_so(world: World, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    world.secure.answer = redirecting(f"{world.evil.url}/thing")
    url = f"{world.secure.url}/thing"
    for call, error in (
        (lambda: fetch.fetch(wanted(url), store), FetchError),
        (lambda: http.get(url, HERE), ResolveError),
        (lambda: Registry(Reference("r.example", "x"), world.secure.url).manifest("v1", ()), RegistryError),
        (
            lambda: Registry(Reference("r.example", "x"), world.secure.url).has_blob("sha256:" + "0" * 64),
            RegistryError,
        ),
    ):
        assert "from https to http" in refused_at_once(world, call, error)
    assert world.evil.asked == []


def test_redirections_in_a_circle_end(world: World, tmp_path: Path) -> None:
    world.plain.answer = redirecting("/thing")
    url = f"{world.plain.url}/thing"
    text = refused_at_once(world, lambda: http.get(url, HERE), ResolveError)
    assert "more than 10 times" in text
    assert len(world.plain.asked) == 11


def test_good_redirections_are_followed_without_the_login(world: World, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    world.evil.answer = lambda method, path: (200, {}, b"x")
    first = {
        "/thing": (301, {"Location": "/here"}, b""),
        "/here": (302, {"Location": f"{world.evil.url}/there"}, b""),
    }
    world.plain.answer = lambda method, path: first[path]
    url = world.plain.url.replace("//", "//corp:s3cret@") + "/thing"
    path = fetch.fetch(wanted(url), store)
    assert path.read_bytes() == b"x"
    assert [(p, h["Authorization"].rpartition(" ")[2]) for p, h in world.plain.asked] == [
        ("/thing", LOGIN),
        ("/here", LOGIN),
    ]
    assert [p for p, _ in world.evil.asked] == ["/there"]
    assert "Authorization" not in world.evil.heard
    found = http.get(url, HERE)
    assert found is not None and (found.body, found.url) == (b"x", f"{world.evil.url}/there")


def test_trust_without_a_certificate_is_for_that_server_alone(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """trust=True of one index says nothing of where it redirects to, and gets no login of the
    machine's: nobody knows who is there."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.delenv("SSL_CERT_FILE")
    client._pool.cache_clear()
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login corp password s3cret\n")
    store = Store.open(tmp_path / "store")
    url = f"https+unchecked://{world.secure.host}/thing"
    world.secure.answer = lambda method, path: (401, {"WWW-Authenticate": "Basic"}, b"")
    refused_at_once(world, lambda: fetch.fetch(wanted(url), store), FetchError)
    assert "Authorization" not in world.secure.heard
    with serving(_other_certificate(tmp_path)) as other:
        world.secure.answer = redirecting(f"{other.url}/x")
        text = refused_at_once(world, lambda: fetch.fetch(wanted(url), store), FetchError)
        assert "certificate" in text
        assert other.asked == []


def _other_certificate(place: Path) -> Path:
    made = place / "other.pem"
    web.certify(made.with_suffix(".crt"), made, address=False)
    made.write_text(made.read_text() + made.with_suffix(".crt").read_text())
    return made


def test_git_is_not_redirected_into_the_clear(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificate: Path
) -> None:
    monkeypatch.setenv("GIT_SSL_CAINFO", str(certificate.with_suffix(".crt")))
    for location in (
        f"{world.evil.url}/x.git/info/refs?service=git-upload-pack",
        "file:///etc/passwd",
        "ext::sh -c id",
    ):
        world.secure.answer = redirecting(location)
        include = Include(f"{world.secure.url}/x.git", "", HERE)
        text = refused_at_once(world, partial(git.checkout, include, "", tmp_path / "cache"), ResolveError)
        assert text.startswith("build.envd:1:1: cannot include")
    assert world.secure.asked
    assert world.evil.asked == []


# -- logins -------------------------------------------------------------------------------------


def challenging(realm: str) -> Callable[[str, str], Answer]:
    challenge = f'Bearer realm="{realm}",service="s",scope="repository:x:pull"'
    return lambda method, path: (401, {"WWW-Authenticate": challenge}, b"")


def realms(world: World) -> list[tuple[Server, str]]:
    evil = world.evil.host
    return [
        (world.secure, f"http://{evil}/token"),  # of an encrypted registry, in the clear
        (world.secure, f"HTTP://{evil}/token"),
        (world.secure, f"http://user@{evil}/token"),
        (world.plain, f"http://127.evil.example:{evil.rpartition(':')[2]}/token"),
        (world.plain, f"http://localhost.evil.example:{evil.rpartition(':')[2]}/token"),
        (world.plain, f"http://0.0.0.0:{evil.rpartition(':')[2]}/token"),
        (world.plain, f"http://2130706433:{evil.rpartition(':')[2]}/token"),
        (world.plain, f"http://127.1:{evil.rpartition(':')[2]}/token"),
        (world.plain, f"ftp://{evil}/token"),
        (world.plain, "file:///etc/passwd"),
        (world.plain, "http:///token"),
    ]


@pytest.mark.parametrize("number", range(11))
def test_a_login_goes_where_the_registry_is(world: World, number: int) -> None:
    server, realm = realms(world)[number]
    world.evil.answer = lambda method, path: (200, {}, b'{"token": "t"}')
    server.answer = challenging(realm)
    registry = Registry(Reference(server.host, "x"), server.url)
    text = refused_at_once(world, lambda: registry.manifest("v1", ()), RegistryError)
    assert "asks for logins to be sent to" in text and "user@" not in text
    blob = "sha256:" + "0" * 64
    refused_at_once(world, lambda: registry.push_blob(blob, b""), RegistryError)
    assert LOGIN not in world.evil.heard and "s3cret" not in world.evil.heard
    assert world.evil.asked == []
    if server is world.plain:
        text = refused_at_once(world, lambda: logins._ask(server.host, "corp", "s3cret"), EnvdError)
        assert "asks for logins to be sent to" in text
        assert world.evil.asked == []


def test_a_realm_of_another_server_is_usual(world: World) -> None:
    """As Docker Hub's: auth.docker.io, by https."""
    world.secure.answer = lambda method, path: (200, {}, b'{"token": "t"}')
    answers = {"/v2/": challenging(f"{world.secure.url}/token")("GET", "")}
    world.plain.answer = lambda method, path: answers.get(path, (404, {}, b""))
    assert Registry(Reference(world.plain.host, "x")).manifest("v1", ()) is None
    assert LOGIN in world.secure.heard
    assert "Bearer t" in world.plain.heard
    logins._ask(world.plain.host, "corp", "s3cret")


def test_only_the_registry_asks_for_its_login(world: World) -> None:
    """A storage that it redirects to may not."""
    answers: dict[str, Answer] = {"/v2/": (200, {}, b"")}
    for header in (f'Bearer realm="{world.evil.url}/token"', "Basic"):
        refusal: Answer = (401, {"WWW-Authenticate": header}, b"")
        world.evil.answer = partial(lambda answer, method, path: answer, refusal)
        world.plain.answer = lambda method, path: answers.get(
            path, (307, {"Location": f"{world.evil.url}/blob"}, b"")
        )
        registry = Registry(Reference(world.plain.host, "x"))
        with pytest.raises(RegistryError):
            registry.has_blob("sha256:" + "0" * 64)
    assert {p for p, _ in world.evil.asked} == {"/blob"}
    assert "Authorization" not in world.evil.heard


@pytest.mark.parametrize("challenge", ["Basic", "Bearer"])
def test_uploads_elsewhere_are_sent_without_the_login(world: World, challenge: str) -> None:
    digest = f"sha256:{hashlib.sha256(b'x').hexdigest()}"
    header = "Basic realm=x" if challenge == "Basic" else f'Bearer realm="{world.plain.url}/token"'

    def answer(method: str, path: str) -> Answer:
        if path == "/v2/":
            return 401, {"WWW-Authenticate": header}, b""
        if path.startswith("/token"):
            return 200, {}, b'{"token": "t"}'
        return 202, {"Location": f"{world.evil.url}/upload?x=1"}, b""

    world.plain.answer = answer
    world.evil.answer = lambda method, path: (201, {}, b"")
    registry = Registry(Reference(world.plain.host, "x"))
    assert registry.push_blob(digest, b"x") is False
    assert world.evil.asked and "Authorization" not in world.evil.heard
    world.secure.answer = lambda method, path: (
        (200, {}, b"") if path == "/v2/" else (202, {"Location": f"{world.evil.url}/u"}, b"")
    )
    world.evil.asked.clear()
    registry = Registry(Reference("r.example", "x"), world.secure.url)
    text = refused_at_once(world, lambda: registry.push_blob(digest, b"x"), RegistryError)
    assert "from https to http" in text and world.evil.asked == []


# -- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("LOCALHOST:5000", True),
        ("127.0.0.1", True),
        ("127.0.0.1:5000", True),
        ("127.8.9.10", True),
        ("[::1]", True),
        ("[::1]:5000", True),
        ("127.evil.example", False),
        ("127.evil.example:5000", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("localhost.", False),
        ("0.0.0.0", False),
        ("2130706433", False),
        ("0x7f000001", False),
        ("0177.0.0.1", False),
        ("127.1", False),
        ("[::]", False),
        ("[::2]:5000", False),
        ("127.0.0.1@evil.example", False),
        ("[::1", False),
        ("evil.example:127", False),
        ("127.0.0.1x", False),
        ("", False),
    ],
)
def test_what_is_this_machine(host: str, here: bool) -> None:
    assert redirects.is_loopback(host) is here
    assert Reference(host, "x").loopback is here


def test_a_name_that_looks_like_this_machine_is_spoken_to_encrypted() -> None:
    for text in ("127.evil.example/x:1", "localhost.evil.example/x:1", "0.0.0.0/x:1"):
        registry = Registry(parse_reference(text))
        assert registry._root.startswith("https://")


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:../../../../x",
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 64 + "/../x",
        "sha512:" + "0" * 128,
        "../x",
        "",
        "sha256:" + "A" * 64,
        "sha256:" + "0" * 64 + "?x=1",
        "sha256:" + "0" * 64 + "\n",
    ],
)
def test_only_digests_become_urls(world: World, digest: str) -> None:
    world.plain.answer = lambda method, path: (200, {}, b"x")
    registry = Registry(Reference(world.plain.host, "x/y"))
    for call in (
        lambda: registry.has_blob(digest),
        lambda: registry.push_blob(digest, b"x"),
        lambda: registry.blob(digest).__enter__(),
        lambda: registry.manifest(digest or "/", ()),
    ):
        refused_at_once(world, call, RegistryError)
    assert {path for path, _ in world.plain.asked} <= {"/v2/"}
