"""The network between envd and servers: proxies, certificates, and servers that stumble. All are real
servers on this machine."""

from __future__ import annotations

import hashlib
import os
import signal
import ssl
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from engine.core.derivation import Fetch
from engine.errors import EnvdError, FetchError, ResolveError, UsageError
from engine.net import fetch
from engine.net.answers import get
from engine.net.pin import pin
from grammar.environment import Position
from store import Store, notices, retry
from store.errors import RegistryError
from store.references import parse_reference
from store.registry import Registry
from tests.faults.server import Bad, Fault
from tests.faults.server import running as failing
from tests.integration import proxy, servers, web
from tests.integration.envd import ENVD

AT = Position("build.envd", 2, 5)
DATA = b'{"name": "thing"}'
SHA256 = hashlib.sha256(DATA).hexdigest()
VARIABLES = (
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
)


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment that says nothing of the network."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def said() -> Iterator[list[str]]:
    heard: list[str] = []
    with notices.heard(lambda subject, text: heard.append(text)):
        yield heard


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "www").mkdir()
    (tmp_path / "www/data").write_bytes(DATA)
    return tmp_path / "www"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "store")
    yield opened
    opened.close()


@pytest.fixture
def bad(files: Path) -> Iterator[Bad]:
    with failing(directory=files) as server:
        yield server


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def encrypted(tmp_path: Path, files: Path) -> Iterator[tuple[str, Path]]:
    """An https server of `files`, and the certificate that it has signed itself."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    web.certify(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(files)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}", certificate
    server.shutdown()
    server.server_close()


def got(url: str) -> bytes:
    answer = get(url, AT)
    assert answer is not None
    return answer.body


# -- a look-up at lock time, in front of servers that stumble -----------------------------------


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("503", "retrying (2 of 5) in 0.5 s: HTTP status 503"),
        ("429after", "retrying (2 of 5) in 3 s: HTTP status 429"),
        ("drop", "retrying (2 of 5) in 0.5 s: Remote end closed connection without response"),
    ],
)
def test_a_look_up_survives_a_stumble(bad: Bad, store: Store, said: list[str], kind: str, says: str) -> None:
    url = f"http://{bad.address}/data"
    bad.faults[:] = [Fault(kind, times=1)]
    assert got(url) == DATA
    bad.faults[:] = [Fault(kind, times=1)]
    assert pin("data", url, store, AT)[0].sha256 == SHA256
    assert said == [says, says]


def test_a_server_that_says_nothing_is_given_up(
    bad: Bad, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "SILENCE", 1.0)
    monkeypatch.setattr(retry, "ATTEMPTS", 2)
    bad.faults[:] = [Fault("hole")]
    with pytest.raises(ResolveError, match=r"build\.envd:2:5: cannot reach .*no answer for 1 s"):
        got(f"http://{bad.address}/data")
    assert said == ["retrying (2 of 2) in 0.5 s: no answer for 1 s"]


def test_a_server_that_asks_for_an_hour_is_not_waited_for(bad: Bad, said: list[str]) -> None:
    class Later(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.send_header("Retry-After", "3600")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with (
        web.running(Later) as address,
        pytest.raises(ResolveError, match="left alone for 3600 s; try again then"),
    ):
        got(f"http://{address}/x")
    assert said == []


@pytest.mark.parametrize(
    "arguments", [("login", "{}", "-u", "ann", "-p", "x"), ("pull", "{}/a/b:1")], ids=lambda a: a[0]
)
def test_ctrl_c_ends_a_wait_that_a_server_asks_for(tmp_path: Path, arguments: Sequence[str]) -> None:
    class Later(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.send_header("Retry-After", "110")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with web.running(Later) as address:
        process = subprocess.Popen(
            [ENVD, *(word.replace("{}", address) for word in arguments)],
            cwd=tmp_path,
            text=True,
            env={**os.environ, "ENVD_STORE": str(tmp_path / "store")},
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert process.stderr is not None
        said = next(line for line in process.stderr if "retrying" in line)
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)  # and not the 110 seconds
    assert "in 110 s: " in said and said.endswith("HTTP status 503\n")
    assert (process.returncode, rest.splitlines()[-1]) == (130, "envd: interrupted")


def test_an_answer_may_not_be_larger_than_its_limit(
    files: Path, bad: Bad, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVD_LIMITS", "answer=1K")
    (files / "large").write_bytes(b"x" * 2000)
    with pytest.raises(ResolveError, match=r"the answer is larger than 1K; .*--limit answer=2K"):
        got(f"http://{bad.address}/large")


def test_the_machines_login_is_given_to_who_asks_for_it(tmp_path: Path, files: Path, said: list[str]) -> None:
    """netrc's, at lock time as at build time."""
    heard: list[str] = []

    class Private(Quiet):
        def do_GET(self) -> None:
            heard.append(self.headers.get("Authorization", ""))
            if not heard[-1]:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="x"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            super().do_GET()

    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login ann password s3cret\n")
    with web.running(partial(Private, directory=str(files))) as address:
        with pytest.raises(ResolveError, match="HTTP status 401"):
            got(f"http://{address}/data")
        assert len(said) == 1 and "not taken: ~/.netrc access too permissive" in said[0]
        netrc.chmod(0o600)
        assert got(f"http://{address}/data") == DATA
    assert heard == ["", "", "Basic YW5uOnMzY3JldA=="]


# -- proxies ------------------------------------------------------------------------------------


def through(url: str, store: Store) -> list[Callable[[], object]]:
    wanted = Fetch("data", url, SHA256, len(DATA))
    return [lambda: got(url), lambda: pin("data", url, store, AT), lambda: fetch.fetch(wanted, store)]


@pytest.mark.parametrize("login", ["", "ann:s3cret/pass"])
def test_everything_goes_through_the_proxy(
    bad: Bad, encrypted: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    url, certificate = encrypted
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with proxy.running(login) as between:
        where = f"http://{'ann:s3cret%2Fpass@' * bool(login)}{between.address}"
        monkeypatch.setenv("http_proxy", where)
        monkeypatch.setenv("HTTPS_PROXY", where)
        for number, base in enumerate((f"http://{bad.address}", url)):
            for at in range(3):
                store = Store.open(tmp_path / f"store-{number}-{at}")
                through(f"{base}/data", store)[at]()
                store.close()
        gets = [f"GET http://{bad.address}/data"] * 3
        connects = [f"CONNECT {url.rpartition('/')[2]}"] * 3  # the server keeps no connection
        assert between.asked == gets + connects
        monkeypatch.setenv("no_proxy", "127.0.0.0/8")
        assert got(f"http://{bad.address}/data") == got(f"{url}/data") == DATA
        assert between.asked == gets + connects


def test_a_registry_is_asked_through_the_proxy(
    registry_server: servers.RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy.running() as between:
        monkeypatch.setenv("all_proxy", between.address)
        reference = parse_reference(f"{registry_server.address}/net/proxied:1")
        assert not Registry(reference).has_blob(f"sha256:{SHA256}")
        Registry(reference).push_blob(f"sha256:{SHA256}", DATA)
        assert Registry(reference).has_blob(f"sha256:{SHA256}")
        asked = len(between.asked)
        assert asked > 4
        monkeypatch.setenv("no_proxy", registry_server.address)
        assert Registry(reference).has_blob(f"sha256:{SHA256}")
        assert len(between.asked) == asked


def test_a_proxy_that_refuses_is_named_at_once(
    bad: Bad, encrypted: tuple[str, Path], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy.running("ann:s3cret") as between:
        monkeypatch.setenv("all_proxy", f"http://ann:wrong1@{between.address}")
        with pytest.raises(ResolveError, match=r"the proxy fails: .*407.*; check the proxy") as caught:
            got(f"{encrypted[0]}/data")
        assert "wrong1" not in str(caught.value)
        with pytest.raises(ResolveError, match="HTTP status 407"):
            got(f"http://{bad.address}/data")
    assert said == []


def test_a_proxy_that_is_not_there(bad: Bad, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "ATTEMPTS", 2)
    monkeypatch.setenv("http_proxy", f"127.0.0.1:{servers.free_port()}")
    with pytest.raises(ResolveError, match=r"cannot reach .*: the proxy fails: Connection refused"):
        got(f"http://{bad.address}/data")
    assert len(said) == 1
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1080")
    with pytest.raises(UsageError, match=r"http_proxy=socks5://127.0.0.1:1080: no proxy that"):
        got(f"http://{bad.address}/data")


# -- certificates -------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_that_the_environment_names(
    encrypted: tuple[str, Path],
    tmp_path: Path,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    url, certificate = encrypted
    store = Store.open(tmp_path / "store")
    wanted = Fetch("data", f"{url}/data", SHA256, len(DATA))
    registry = partial(Registry, parse_reference(f"{url.rpartition('/')[2]}/x/y:1"), endpoint=url)
    for call, kind in (
        (lambda: got(f"{url}/data"), ResolveError),
        (lambda: fetch.fetch(wanted, store), FetchError),
        (lambda: registry().has_blob(f"sha256:{SHA256}"), RegistryError),
    ):
        with pytest.raises(kind, match="certificate"):
            call()
    monkeypatch.setenv(variable, str(certificate))
    assert got(f"{url}/data") == DATA
    fetch.fetch(wanted, store)
    assert not registry().has_blob(f"sha256:{SHA256}")
    assert said == []  # a certificate is not asked for again
    monkeypatch.setenv(variable, str(tmp_path / "no.pem"))
    with pytest.raises(EnvdError, match=f"{variable}=.*no.pem: there is no such file"):
        got(f"{url}/data")
    store.close()


def test_a_registry_gets_nothing_of_netrc(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []

    class Listening(Quiet):
        def do_HEAD(self) -> None:
            heard.append(self.headers.get("Authorization", ""))
            super().do_HEAD()

    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login ann password s3cret\n")
    netrc.chmod(0o600)
    with web.running(partial(Listening, directory=str(files))) as address:
        assert not Registry(parse_reference(f"{address}/x/y:1")).has_blob(f"sha256:{SHA256}")
    assert heard == [""]
