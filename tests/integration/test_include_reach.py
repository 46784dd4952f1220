"""Remotes of include() that are reached by what only the user has: certificates, logins, keys, settings.

git runs in a sandbox, which shows it just these; real servers ask for each of them.
"""

from __future__ import annotations

import base64
import contextlib
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from engine.ecosystems.includes import git
from engine.errors import ResolveError
from grammar.environment import Include, Position
from tests.integration import servers, web

AT = Position("build.envd", 1, 1)
SPEC = b"def x():\n    pass\n"
LOGIN = "me", "s3cret/+ %x"


def run(*words: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        words,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GIT_CONFIG_NOSYSTEM": "1", **(env or {})},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A repository, with what a plain web server needs to serve it."""
    place = tmp_path / "web/library"
    place.mkdir(parents=True)
    (place / "a.envd").write_bytes(SPEC)
    run("git", "init", "-q", "-b", "main", cwd=place)
    run("git", "add", "-A", cwd=place)
    run("git", "-c", "user.name=t", "-c", "user.email=t@x", "commit", "-q", "-m", "x", cwd=place)
    run("git", "update-server-info", cwd=place)
    return place


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    monkeypatch.setenv("HOME", str(made))
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("GIT_", "SSH_", "XDG_")):
            monkeypatch.delenv(name)
    return made


def files(url: str, tmp_path: Path) -> dict[str, bytes]:
    return dict(git.checkout(Include(url, "", AT), "", tmp_path / "cache").files)


@dataclass
class Server:
    """A running web server. `asked` are the requests' lines, `logins` what they logged in with."""

    url: str = ""
    asked: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)


@contextlib.contextmanager
def serving(
    directory: Path, certificate: Path | None = None, login: tuple[str, str] | None = None
) -> Iterator[Server]:
    made = Server()
    wanted = "Basic " + base64.b64encode(":".join(login).encode()).decode() if login else ""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            made.asked.append(self.requestline)
            given = self.headers.get("Authorization", "")
            made.logins.append(given)
            if given != wanted and login:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="x"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.path = urlsplit(self.path).path  # whole addresses are what a proxy is asked for
            super().do_GET()

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(directory)))
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        server.socket = context.wrap_socket(server.socket, server_side=True)
    made.url = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tls") / "c.pem"
    web.certify(place, place.with_suffix(".key"))
    return place


@pytest.mark.parametrize("way", ["GIT_SSL_CAINFO", "SSL_CERT_FILE", "~/.gitconfig", "one server's"])
def test_certificates(
    way: str, library: Path, certificate: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = home / "ca.pem"
    trusted.write_bytes(certificate.read_bytes())
    with serving(library.parent, certificate) as server:
        url = f"{server.url}/library/.git"
        with pytest.raises(ResolveError, match=r"build\.envd:1:1: cannot include .*certificate"):
            files(url, tmp_path)
        if way == "~/.gitconfig":
            (home / ".gitconfig").write_text("[http]\n\tsslCAInfo = ~/ca.pem\n")
        elif way == "one server's":
            (home / ".gitconfig").write_text(f'[http "{server.url}/"]\n\tsslCAInfo = {trusted}\n')
        else:
            monkeypatch.setenv(way, str(trusted))
        assert files(url, tmp_path) == {"a.envd": SPEC}


@pytest.mark.parametrize("way", ["http_proxy", "~/.gitconfig"])
def test_proxies(
    way: str, library: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(library.parent) as proxy:
        if way == "http_proxy":
            monkeypatch.setenv(way, proxy.url)
        else:
            (home / ".gitconfig").write_text(f"[http]\n\tproxy = {proxy.url}\n")
        assert files("http://nowhere.invalid/library/.git", tmp_path) == {"a.envd": SPEC}
        assert proxy.asked[0].startswith("GET http://nowhere.invalid/library/.git/info/refs")
        with serving(library.parent) as server:
            monkeypatch.setenv("no_proxy", "127.0.0.1")
            before = len(proxy.asked)
            assert files(f"{server.url}/library/.git", tmp_path) == {"a.envd": SPEC}
            assert len(proxy.asked) == before


@pytest.mark.parametrize("way", ["URL", "netrc", "helper", "askpass", "insteadOf", "header"])
def test_logins(way: str, library: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user, password = LOGIN if way != "netrc" else ("me", "s3cret/+%x")  # which knows no spaces
    quoted = password.replace("%", "%25").replace("/", "%2F").replace(" ", "%20")
    told = tmp_path / "told"
    with serving(library.parent, login=(user, password)) as server:
        host = server.url.removeprefix("http://")
        url = f"{server.url}/library/.git"
        with pytest.raises(ResolveError, match="cannot include"):
            files(url, tmp_path)
        if way == "URL":
            url = f"http://{user}:{quoted}@{host}/library/.git"
        elif way == "netrc":
            (home / ".netrc").write_text(
                f"machine other.invalid login x password y\n"
                f"machine 127.0.0.1 login {user} password {password}\n"
            )
            (home / ".netrc").chmod(0o600)
        elif way == "helper":
            (home / "helper").write_text(
                f'#!/bin/sh\necho "$1" >>{told}; test "$1" = get || exit 0\n'
                f"grep -qx host={host} || exit 0\n"
                f"echo username={user}; echo 'password={password}'\n"
            )
            (home / "helper").chmod(0o755)
            (home / ".gitconfig").write_text(f"[credential]\n\thelper = {home}/helper\n")
        elif way == "askpass":
            (home / "ask").write_text(
                f"#!/bin/sh\ncase $1 in U*) echo {user};; *) echo '{password}';; esac\n"
            )
            (home / "ask").chmod(0o755)
            monkeypatch.setenv("GIT_ASKPASS", str(home / "ask"))
        elif way == "insteadOf":
            (home / ".gitconfig").write_text(
                f'[url "http://{user}:{quoted}@{host}/"]\n\tinsteadOf = git@work:\n'
            )
            url = "git@work:library/.git"
        else:
            header = "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
            (home / ".gitconfig").write_text(
                f'[http "http://other.invalid/"]\n\textraHeader = X: "y"\n'
                f'[http "http://127.0.0.1:*"]\n\tx = y\n[http "{server.url}"]\n'
                f"\textraHeader = {header}\n"
            )
        assert files(url, tmp_path) == {"a.envd": SPEC}
        if way == "helper":
            assert {"get", "store"} <= set(told.read_text().split())
            (home / "helper").write_text((home / "helper").read_text().replace("s3cret", "wrong"))
            with pytest.raises(ResolveError, match="Authentication failed"):
                files(f"{server.url}/library/.git?again", tmp_path)
            assert "erase" in told.read_text()


def test_a_password_of_an_address_that_stands_for_another_is_not_shown(
    library: Path, home: Path, tmp_path: Path
) -> None:
    with serving(library.parent, login=("me", "other")) as server:
        host = server.url.removeprefix("http://")
        (home / ".gitconfig").write_text(f'[url "http://me:hunter2@{host}/"]\n\tinsteadOf = work:\n')
        with pytest.raises(ResolveError) as caught:
            files("work:library/.git", tmp_path)
    assert "hunter2" not in str(caught.value)


def test_ssh(library: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a key file, and by an agent alone; the user's name is the remote's where none is given."""
    place = tmp_path / "ssh"
    place.mkdir()
    with servers.ssh(place) as port:
        host_key = (place / "host.pub").read_text()
        (home / "known").write_text(f"[127.0.0.1]:{port} {host_key}")
        options = f"ssh -F {home}/config -o BatchMode=yes"
        (home / "config").write_text(
            f"Host far\n HostName 127.0.0.1\n Port {port}\nUserKnownHostsFile {home}/known\n"
            f"IdentityFile {place}/key\nControlMaster auto\nControlPath {home}/master-%C\n"
        )
        monkeypatch.setenv("GIT_SSH_COMMAND", options)
        assert files(f"ssh://far{library}", tmp_path) == {"a.envd": SPEC}
        assert files(f"far:{library}", tmp_path) == {"a.envd": SPEC}
        (home / "config").write_text(
            f"Host far\n HostName 127.0.0.1\n Port {port}\nUserKnownHostsFile {home}/known\n"
            "IdentityFile none\n"
        )
        with pytest.raises(ResolveError, match="Permission denied"):
            files(f"far:{library}/.", tmp_path)
        agent = subprocess.Popen(["ssh-agent", "-D", "-a", home / "agent"], stdout=subprocess.DEVNULL)
        try:
            while not (home / "agent").exists():
                assert agent.poll() is None
                time.sleep(0.01)
            monkeypatch.setenv("SSH_AUTH_SOCK", str(home / "agent"))
            run("ssh-add", "-q", place / "key")
            assert files(f"far:{library}/.", tmp_path) == {"a.envd": SPEC}
            monkeypatch.setenv("GIT_SSH_COMMAND", "ssh-add -D; ssh-add -l >&2; exit 1;")
            with pytest.raises(ResolveError) as caught:
                files(f"far:{library}/./", tmp_path)
            assert "256 SHA256:" in str(caught.value)  # the key is still there: none may take it away
            assert "256 SHA256:" in run("ssh-add", "-l")
        finally:
            agent.terminate()
            agent.wait()


@pytest.mark.parametrize("kind", ["bare", "working tree", "worktree", "borrowing", "bundle"])
def test_repositories_of_this_machine(kind: str, library: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    url = f"file://{library}"
    if kind == "bare":
        run("git", "clone", "-q", "--bare", library, other)
        url = f"file://{other}"
    elif kind == "worktree":
        run("git", "worktree", "add", "-q", other, cwd=library)
        url = f"file://{other}"
    elif kind == "borrowing":
        run("git", "clone", "-q", "--shared", "--bare", library, tmp_path / "lender")
        run("git", "clone", "-q", "--reference", tmp_path / "lender", url, other)
        url = str(other)
    elif kind == "bundle":
        run("git", "bundle", "create", "-q", other, "HEAD", "main", cwd=library)
        url = str(other)
    assert files(url, tmp_path) == {"a.envd": SPEC}


_INCLUDE = """
import sys
from pathlib import Path
from engine.ecosystems.includes import git
from grammar.environment import Include, Position
found = git.checkout(Include(sys.argv[1], "", Position("build.envd", 1, 1)), "", Path(sys.argv[2]))
print([name for name, _ in found.files])
"""


def test_an_ordinary_user_needs_no_subordinate_ids(library: Path, readable_copy: Path) -> None:
    """include() is evaluated before there is a user namespace to build in."""
    place = readable_copy / "place"
    place.mkdir()
    os.chown(place, 65534, 65534)
    run("git", "clone", "-q", "--bare", library, readable_copy / "library")
    done = subprocess.run(
        [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            Path(sys.executable).resolve(),
            "-P",
            "-c",
            _INCLUDE,
            f"file://{readable_copy}/library",
            place / "cache",
        ],
        cwd="/",
        capture_output=True,
        text=True,
        env={
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PYTHONPATH": f"{readable_copy}:{readable_copy}/site-packages",
        },
    )
    assert (done.stdout, done.stderr) == ("['a.envd']\n", "")
    (readable_copy / "library").chmod(0o700)
    done = subprocess.run(
        [*done.args[:-2], f"file://{readable_copy}/library/x", place / "cache"],
        cwd="/",
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{readable_copy}:{readable_copy}/site-packages"},
    )
    assert done.stderr.splitlines()[-1].startswith("engine.errors.ResolveError: ")


def test_without_a_sandbox_git_runs_outside_and_says_so(library: Path, tmp_path: Path) -> None:
    """As in a container that may neither mount nor make a user namespace."""
    done = subprocess.run(
        [
            "unshare",
            "--user",
            "--map-root-user",
            "sh",
            "-c",
            'echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all "$@"',
            "sh",
            sys.executable,
            "-c",
            _INCLUDE,
            f"file://{library}",
            tmp_path / "cache",
        ],
        capture_output=True,
        text=True,
    )
    assert done.stdout == "['a.envd']\n", done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("git: runs outside of a sandbox, which this machine cannot make: ")
