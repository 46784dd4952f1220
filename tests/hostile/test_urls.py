"""URLs with secrets in the login, the path or the query: a marker put into every function that takes a
URL, and into every setting of the machine, is in nothing that envd prints, locks, keeps or builds."""

from __future__ import annotations

import stat
import subprocess
import time
import uuid
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from engine.core import redaction, urls
from tests.integration import channel, web
from tests.integration.envd import Envd

MARKER = f"M4rk{uuid.uuid4().hex[:16]}"
BEGIN = time.time() - 1
STYLES = {
    "login": "http://user:{marker}@{host}/place",
    "user": "http://{marker}@{host}/place",
    "query": "http://{host}/place?token={marker}",
    "signature": "http://{host}/place?X-Amz-Signature={marker}&X-Amz-Date=2&sig={marker}",
    "path": "http://{host}/t/{marker}/place",
    "looks": "http://{host}/xYz12{marker}/place",
}
CALLS = {
    "pip_index": 'config.pip_index("{url}")\n    install.python_packages(["six"])',
    "extra_index": 'config.pip_index("http://{host}/x", extra_url="{url}")\n'
    '    install.python_packages(["six"])',
    "an option": 'install.python_packages(["--index-url {url}", "six"])',
    "find-links": 'install.python_packages(["--no-index", "--find-links {url}", "six"])',
    "a requirement": 'install.python_packages(["six @ {url}/six-1.0-py3-none-any.whl"])',
    "a git requirement": 'install.python_packages(["six @ git+{url}/six.git"])',
    "apt_source": 'config.apt_source("{url}")',
    "an apt line": 'config.apt_source("deb {url} suite main")',
    "a channel": 'install.conda_packages(["zlib"], channel=["{url}"])',
    "a package's channel": 'install.conda_packages(["{url}::zlib"])',
    "cran": 'config.cran_mirror("{url}")\n    install.r_packages(["R6"])',
    "julia": 'config.julia_pkg_server("{url}")\n    install.julia_packages(["Example"])',
    "http": 'io.http("{url}/file.bin")',
    "repo": 'config.repo("{url}", "about")',
    "an image": 'io.copy("/a", "/b", image="{url}")',
    "a mistake": 'io.http("{url}", chekcsum="x")',
}
OF_SETTINGS = {
    "PIP_INDEX_URL": 'install.python_packages(["six"])',
    "UV_DEFAULT_INDEX": 'install.python_packages(["six"])',
    "UV_INDEX": 'install.python_packages(["six"])',
    "ENVD_CRAN_MIRROR": 'install.r_packages(["R6"])',
    "ENVD_JULIA_PKG_SERVER": 'install.julia_packages(["Example"])',
    "ENVD_VSCODE_GALLERY": 'install.vscode_extensions(["ms-python.python"])',
    "ENVD_DEBIAN_MIRROR": 'install.apt_packages(["hello"])',
    "http_proxy": 'io.http("http://other.example/file")',
    "HTTPS_PROXY": 'io.http("https://other.example/file")',
    "ENVD_RSTUDIO_SERVER_DEB": "config.rstudio_server()",
}


MISTAKES = {"a git requirement", "a mistake"}
EXITS = {"repo": 0, "UV_INDEX": 0, **dict.fromkeys(MISTAKES, 2)}
OF_LANGUAGE = {
    "cran": "r",
    "julia": "julia",
    "ENVD_CRAN_MIRROR": "r",
    "ENVD_JULIA_PKG_SERVER": "julia",
    "ENVD_RSTUDIO_SERVER_DEB": "r",
}


class _Nothing(BaseHTTPRequestHandler):
    """Has nothing of what is asked for."""

    def do_GET(self) -> None:
        self.send_error(404)

    do_HEAD = do_POST = do_CONNECT = do_GET  # noqa: N815 - as http.server calls them

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def nothing() -> Iterator[str]:
    with web.running(_Nothing) as host:
        yield host


class _Guarded(SimpleHTTPRequestHandler):
    """Has files for who shows the marker, in whatever way."""

    def do_GET(self) -> None:
        login = b64encode(f"user:{MARKER}".encode()).decode()
        if MARKER not in self.path and self.headers.get("Authorization") != f"Basic {login}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="files"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.path = self.path.replace(f"/t/{MARKER}", "")
        super().do_GET()

    def send_head(self) -> Any:
        # rattler asks conditionally without having the file, and refuses "not modified"
        del self.headers["If-Modified-Since"]
        return super().send_head()

    def log_message(self, *_: object) -> None:
        pass


def held_in(directory: Path) -> list[str]:
    """Which new files below it hold the marker, in their names or contents."""
    found = []
    for path in directory.rglob("*"):
        try:
            info = path.lstat()
            if info.st_ctime < BEGIN or path.name == "build.envd":
                continue
            if MARKER in path.name or (stat.S_ISREG(info.st_mode) and MARKER.encode() in path.read_bytes()):
                found.append(str(path))
        except OSError:  # another test's, gone by now
            continue
    return found


def check(envd: Envd, *command: str) -> int:
    """Run a command that says nothing of the marker; its exit status."""
    outcome = envd.run(*command, check=False)
    said = outcome.stdout + outcome.stderr
    assert MARKER not in said, said
    assert outcome.code in (0, 1, 2) and "internal error" not in said, said
    return outcome.code


def spec(call: str, name: str) -> str:
    language = OF_LANGUAGE.get(name, "python3")
    return f'def build():\n    base(os="debian12", language="{language}")\n    {call}\n'


@pytest.fixture(scope="module")
def envd(tmp_path_factory: pytest.TempPathFactory) -> Envd:
    """A project with a store of its own, which is looked through."""
    place = tmp_path_factory.mktemp("urls")
    found = Envd(place / "store", place / "p")
    found.spec('def build():\n    base(os="debian12", language="python3")\n')
    found.run("lock")
    return found


@pytest.mark.parametrize("name", CALLS)
def test_a_specs_url_is_shown_without_its_secret(name: str, nothing: str, envd: Envd) -> None:
    """Each function has one of the ways, and each way several of the functions."""
    style = list(STYLES)[list(CALLS).index(name) % len(STYLES)]
    url = STYLES[style].format(marker=MARKER, host=nothing)
    envd.spec(spec(CALLS[name].format(url=url, host=nothing), name))
    assert check(envd, "parse") == (0 if name not in MISTAKES else 2)
    # what cannot be found is told with a traceback, too
    assert check(envd, "--debug", "lock", "--progress=json") == EXITS.get(name, 1)
    assert held_in(envd.project) == [] and held_in(envd.store) == []


@pytest.mark.parametrize("name", OF_SETTINGS)
def test_a_setting_is_shown_without_its_secret(name: str, nothing: str, envd: Envd) -> None:
    url = STYLES["login"].format(marker=MARKER, host=nothing)
    own = Envd(envd.store, envd.project, {name: url})
    own.spec(spec(OF_SETTINGS[name], name))
    assert check(own, "--debug", "lock", "--progress=json") == EXITS.get(name, 1)
    assert held_in(own.project) == [] and held_in(own.store) == []


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    directory = tmp_path / "www"
    directory.mkdir()
    with web.running(partial(_Guarded, directory=str(directory))) as host:
        yield host, directory


def test_a_lock_without_the_secret_is_built_with_the_specs(
    site: tuple[str, Path], shared_store: Path, tmp_path: Path
) -> None:
    host, directory = site
    (directory / "file").write_text("content")
    for work in (directory / "channel/noarch", directory / "channel/linux-64"):
        work.mkdir(parents=True)
    channel.make_package(directory / "channel", "guarded", "1.0", {"share/guarded": b"here"})
    channel.index(directory / "channel")
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec(
        'def build():\n    base(os="debian12")\n'
        f'    io.http("http://{host}/file?token={MARKER}", filename="a")\n'
        f'    io.http("http://{host}/t/{MARKER}/file", filename="b")\n'
        f'    io.http("http://user:{MARKER}@{host}/file", filename="c")\n'
        f'    install.conda_packages(["guarded"], channel=["http://{host}/t/{MARKER}/channel"])\n'
        f'    config.repo("http://user:{MARKER}@{host}/repo?token={MARKER}")\n'
    )
    assert check(envd, "lock") == 0
    lock = (envd.project / "envd.lock").read_text()
    for url in ("/file?token=***", "/t/***/file", f"{host}/file", "/t/***/channel/"):
        assert f"{url}" in lock
    assert check(envd, "graph", "--files", "--format=json") == 0
    assert check(envd, "build", "--locked", "-o", f"oci-dir:{tmp_path}/out") == 0
    assert check(envd, "images", "describe", "p:dev", "-f", "json") == 0
    subprocess.run(
        ["umoci", "unpack", "--image", f"{tmp_path}/out:dev", f"{tmp_path}/bundle"],
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "bundle/rootfs/opt/conda/share/guarded").read_text() == "here"
    assert held_in(tmp_path) == []
    assert held_in(shared_store) == []


def test_an_include_is_shown_without_its_secret(
    site: tuple[str, Path], shared_store: Path, tmp_path: Path
) -> None:
    host, directory = site
    work = tmp_path / "work"
    work.mkdir()
    (work / "lib.envd").write_text('def tool():\n    run(["true"])\n')
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], cwd=work, check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(directory / "lib.git")], check=True)
    subprocess.run(["git", "update-server-info"], cwd=directory / "lib.git", check=True)
    envd = Envd(shared_store, tmp_path / "p")
    for url in (f"http://user:{MARKER}@{host}/lib.git", f"http://{host}/t/{MARKER}/lib.git"):
        text = f'lib = include("{url}")\ndef build():\n    base(os="debian12")\n    lib.tool()\n'
        envd.spec(text)
        assert check(envd, "lock") == 0
        assert "***/lib.git" in (envd.project / "envd.lock").read_text() or "/t/" not in url
        envd.spec(text.replace("lib.git", "none.git"))
        assert check(envd, "--debug", "lock") == 1
        envd.spec(text.replace("lib.tool()", "lib.tol()"))
        assert check(envd, "parse") == 2
    assert held_in(tmp_path / "p") == [] and held_in(shared_store) == []


SHOWN = {
    "https://user:word@host/a": "https://host/a",
    "https://host/t/tk-1234/main/x.conda": "https://host/t/***/main/x.conda",
    "https://host/a?X-Amz-Signature=ab&n=1": "https://host/a?X-Amz-Signature=***&n=1",
    "https://host/a?accessToken=ab": "https://host/a?accessToken=***",
    "https://host/a#access_token=ab": "https://host/a#access_token=***",
    "https://host/a1B2c3D4e5F6g7H8i9J0/x": f"https://host/{urls.redacted('https://h/a1B2c3D4e5F6g7H8i9J0/').split('/')[3]}/x",
    "https://host/priv/0123456789/x": "https://host/priv/***/x",
    # nothing of these is secret: not a byte of them changes
    **{
        u: u
        for u in (
            "git@host:a/b",
            "ssh://git@host/a",
            "https://host/t/file.tgz",
            "https://host/?",
            "oci://h/n",
            f"https://host/packages/ab/{'0a' * 30}/x-1-py3-none-any.whl#sha256={'0a' * 32}",
            "https://host/package/682c06a0-de6a-54ab-a142-c8b1cf79cde6/0a6c5b8ef5c0ae2cbb1bb2bc1f2cc1e5e95c",
            "http://host/debian/pool/updates/main/t/tzdata/tzdata_2026f-0+deb12u1_all.deb",
            "https://host/pool/main/n/npm/npm_9.2.0~ds1-1_all.deb",
            "https://host/simple/pypi-attestations/",
            "https://host/a/hf_transfer-0.1.9-cp38-abi3-manylinux_2_17_x86_64.whl",
            "https://host/packages/source/t/tokenizers/tokenizers-1.0.tar.gz",
            "https://host/org/Meta-Llama-3-8B-Instruct-GGUF/resolve/main/model.bin",
            "https://host/SomeCompanyPackages2024/x.whl?branch=Feature-Number12-of-TheTeam",
            "https://host/a%20b/c++?download=1&ref=v1.2",
            "relative/path?token",
            "file:///t/secret/x",
        )
    },
}


@pytest.mark.parametrize("url", SHOWN)
def test_what_is_secret_in_a_url(url: str) -> None:
    assert urls.redacted(url) == SHOWN[url]
    assert urls.redacted(urls.redacted(url)) == urls.redacted(url)
    assert urls.restored(urls.redacted(url), url) == url.partition("#access")[0] + (
        "#access_token=***" if "#access" in url else ""
    )
    assert redaction.visible(f"see {url} there").startswith("see ")


def test_two_values_that_only_look_like_secrets_differ() -> None:
    one, other = (f"https://host/uc?id={n}AbCdEfGhIjKlMnOpQrStUv" for n in (1, 2))
    assert urls.redacted(one) != urls.redacted(other)
    assert "AbCdEf" not in urls.redacted(one)
