"""uv, rattler and apt, which speak HTTP themselves: through the same proxies, with the same
certificates, and in front of servers that stumble. Servers and packages are real."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from engine.ecosystems.conda import resolver as conda
from engine.ecosystems.cuda import resolver as cuda
from engine.ecosystems.debian import apt
from engine.ecosystems.includes import git
from engine.ecosystems.python import pypi
from engine.ecosystems.python.requests import Wanted
from engine.ecosystems.python.target import Target
from engine.errors import ResolveError
from engine.net import machine, pip_settings
from engine.net.answers import get
from grammar.environment import Cuda, Include, PipIndex, Position, Request
from store import notices
from tests.faults.server import Bad, Fault
from tests.faults.server import running as failing
from tests.integration import archive, channel, index, proxy
from tests.integration.test_net import Quiet, plain, said

__all__ = ["plain", "said"]  # fixtures

AT = Position("build.envd", 2, 5)
TARGET = Target("3.11", "2.36")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python index with one real package, and a conda channel with one."""
    place = tmp_path_factory.mktemp("site")
    index.download(place, ["six==1.15.0"])
    index.lay_out(place)
    channel.make_package(place, "thing", "1.0", {"share/thing": b"thing\n"})
    (place / "linux-64").mkdir()
    channel.index(place)
    return place


@pytest.fixture
def bad(site: Path) -> Iterator[Bad]:
    with failing(directory=site) as server:
        yield server


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No settings of this machine's uv and pip."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    for name in ("PIP_FIND_LINKS", "PIP_CERT", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    forget()
    yield
    forget()


def forget() -> None:
    for known in (machine.current, machine.of_uv, pip_settings.current):
        known.cache_clear()


@pytest.fixture(scope="module")
def archive_of_one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A signed archive with one .deb, and its keyring."""
    place = tmp_path_factory.mktemp("archive")
    archive.make_deb(place, "small", "1.0", {"opt/small": b"small\n"})
    signer = archive.make_signer(tmp_path_factory.mktemp("gpg") / "home")
    signer.sign(place)
    return place, str(signer.public)


def debs(base: str, keyring: str, cache: Path) -> list[str]:
    cache.mkdir(parents=True)
    with apt.open_apt([f"deb {base} ./"], keyring, cache, lambda _: None) as opened:
        return list(opened.names)


def six(base: str, cache: Path) -> list[str]:
    wanted = Wanted((Request("six", AT),), index=PipIndex(f"{base}/simple"))
    return [f"{p.name} {p.version}" for p in pypi.resolve(wanted, TARGET, cache, lambda _: None)]


def thing(base: str, cache: Path) -> list[str]:
    found = conda.resolve([Request("thing", AT)], [base], "2.36", cache, lambda _: None)
    return [f"{p.name} {p.version}" for p in found]


PROGRAMS: dict[str, tuple[Callable[[str, Path], list[str]], str]] = {
    "uv": (six, "six 1.15.0"),
    "rattler": (thing, "thing 1.0"),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("kind", ["503", "drop"])
def test_one_stumble_is_survived(bad: Bad, tmp_path: Path, name: str, kind: str) -> None:
    ask, gives = PROGRAMS[name]
    bad.faults[:] = [Fault(kind, "simple/six" if name == "uv" else "repodata", times=1)]
    assert ask(f"http://{bad.address}", tmp_path) == [gives]
    assert bad.faults[0].seen > 1


def test_an_index_that_says_later_is_waited_for(
    bad: Bad, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    bad.faults[:] = [Fault("429after", "simple/six", times=2)]
    assert six(f"http://{bad.address}", tmp_path) == ["six 1.15.0"]
    assert said == ["retrying (2 of 3) in 3 s: HTTP status 429"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_they_go_through_the_proxy(
    bad: Bad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    ask, gives = PROGRAMS[name]
    with proxy.running("ann:s3cret/pass") as between:
        monkeypatch.setenv("http_proxy", f"http://ann:s3cret%2Fpass@{between.address}")
        assert ask(f"http://{bad.address}", tmp_path) == [gives]
        assert between.asked
        asked = len(between.asked)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert ask(f"http://{bad.address}", tmp_path / "again") == [gives]
        assert len(between.asked) == asked
        monkeypatch.delenv("http_proxy")
        monkeypatch.delenv("no_proxy")
        monkeypatch.setenv("PIP_PROXY", f"http://ann:s3cret%2Fpass@{between.address}")
        forget()
        assert ask(f"http://{bad.address}", tmp_path / "pip") == [gives]
        assert len(between.asked) > asked


@contextmanager
def encrypted(directory: Path, keys: Path) -> Iterator[tuple[str, Path]]:
    """An https server, and the authority that has signed its certificate."""
    authority, certificate = keys / "authority.pem", keys / "certificate.pem"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    for arguments in (
        ["-keyout", str(keys / "authority.key"), "-out", str(authority), "-subj", "/CN=tests"],
        [
            "-CA",
            str(authority),
            "-CAkey",
            str(keys / "authority.key"),
            "-keyout",
            str(keys / "key.pem"),
            "-out",
            str(certificate),
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ],
    ):
        subprocess.run(["openssl", "req", "-x509", *curve, *arguments], check=True, capture_output=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(directory)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, keys / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"https://127.0.0.1:{server.server_port}", authority
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT"])
def test_they_trust_whom_envd_trusts(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, variable: str
) -> None:
    ask, gives = PROGRAMS[name]
    with encrypted(site, tmp_path) as (url, authority):
        monkeypatch.setenv(variable, str(authority))
        forget()
        assert ask(url, tmp_path / "cache") == [gives]


def test_envds_own_requests_take_pips_proxy_and_certificates(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with encrypted(site, tmp_path) as (url, authority), proxy.running() as between:
        monkeypatch.setenv("PIP_CERT", str(authority))
        monkeypatch.setenv("PIP_PROXY", between.address)
        forget()
        assert get(f"{url}/noarch/repodata.json", AT) is not None
        assert between.asked == [f"CONNECT {url.rpartition('/')[2]}"]
        monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
        (tmp_path / "pip.conf").write_text("[global")
        forget()
        with heard_once() as told, pytest.raises(ResolveError, match="certificate"):
            get(f"{url}/noarch/repodata.json", AT)  # wants no Python package, so goes on without
        assert len(told) == 1 and "pip.conf: not a file of pip's settings" in told[0]


@contextmanager
def heard_once() -> Iterator[list[str]]:
    told: list[str] = []
    with notices.heard(lambda subject, text: told.append(text)):
        yield told


def test_the_versions_that_an_index_has(site: Path, tmp_path: Path) -> None:
    """What is said of a CUDA that the index has not: asked of the index itself, without pip."""
    place = site / "simple/cuda-toolkit"
    place.mkdir(exist_ok=True)
    rows = "".join(
        f'<a href="{name}"{rest}>{name}</a>\n'
        for name, rest in (
            ("cuda_toolkit-12.8.1-py2.py3-none-any.whl", ""),
            ("cuda_toolkit-12.9.0.tar.gz", ""),
            ("cuda_toolkit-12.9.1-py2.py3-none-any.whl", ' data-yanked="broken"'),
            ("cuda_toolkit-13.0.0rc1-py2.py3-none-any.whl", ""),
            ("README.txt", ""),
        )
    )
    (place / "index.html").write_text(f"<html><body>{rows}</body></html>")
    with failing(directory=site) as server:
        there = PipIndex(f"http://{server.address}/simple")
        wanted = Cuda("12.9.1", components=("cudart",), position=AT)
        assert cuda.lacks(wanted, there) == "CUDA 12.9.1 on the Python index; of 12.9 it has 12.9.0"
        assert cuda.lacks(Cuda("14.0", position=AT), there).endswith("; it has 12.8, 12.9")
        assert cuda.lacks(Cuda("12.8.1", position=AT), there) == ""
        assert cuda.lacks(wanted, PipIndex(f"http://{server.address}/none")).endswith("it has none")
        server.faults[:] = [Fault("403")]
        assert cuda.lacks(wanted, there) == ""


def test_apt_waits_as_long_as_an_archive_asks_for(
    archive_of_one: tuple[Path, str], tmp_path: Path, said: list[str]
) -> None:
    place, keyring = archive_of_one
    with failing(directory=place) as bad:
        bad.faults[:] = [Fault("503after", "Release", times=2)]  # apt's, and envd's own
        assert debs(f"http://{bad.address}", keyring, tmp_path / "store/cache") == ["small"]
    assert len(said) == 1 and said[0].startswith("retrying (2 of 3) in 3 s: Failed to fetch http://")


def test_apt_goes_through_the_proxy(
    archive_of_one: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, keyring = archive_of_one
    with failing(directory=place) as bad, proxy.running("ann:s3cret") as between:
        url = f"http://{bad.address}"
        monkeypatch.setenv("ALL_PROXY", f"http://ann:s3cret@{between.address}")
        assert debs(url, keyring, tmp_path / "one/cache") == ["small"]
        assert f"GET {url}/./InRelease" in between.asked
        asked = len(between.asked)
        monkeypatch.setenv("no_proxy", "10.0.0.0/8,127.0.0.0/8")
        assert debs(url, keyring, tmp_path / "two/cache") == ["small"]
        assert len(between.asked) == asked


def test_apt_trusts_whom_envd_trusts(
    archive_of_one: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, keyring = archive_of_one
    with encrypted(place, tmp_path) as (url, authority):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
        assert debs(url, keyring, tmp_path / "cache") == ["small"]


@pytest.mark.parametrize(
    ("kind", "times", "says"),
    [
        ("503", 1, "retrying (2 of 3) in 0.5 s: HTTP status 503"),
        ("429after", 2, "retrying (2 of 3) in 3 s: HTTP status 429"),
        ("drop", 1, "retrying (2 of 3) in 0.5 s: Empty reply from server"),
    ],
)
def test_an_include_survives_a_stumble(
    tmp_path: Path, said: list[str], kind: str, times: int, says: str
) -> None:
    work, bare = tmp_path / "work", tmp_path / "www/library.git"
    work.mkdir()
    (work / "tools.envd").write_text("def tools():\n    pass\n")
    author = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    for command in (
        ["init", "-q", "-b", "main", "."],
        ["add", "."],
        [*author, "commit", "-q", "-m", "tools"],
        ["clone", "-q", "--bare", ".", bare],
        ["-C", bare, "update-server-info"],
    ):
        subprocess.run(["git", *command], cwd=work, check=True, capture_output=True)
    with failing(directory=tmp_path / "www") as server:
        server.faults[:] = [Fault(kind, "info/refs", times=times)]
        wanted = Include(f"http://{server.address}/library.git", position=AT)
        found = git.checkout(wanted, "", tmp_path / "store/cache")
    assert [name for name, _ in found.files] == ["tools.envd"]
    assert said == [says]
