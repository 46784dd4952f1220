"""apt archives that replay what they signed long ago, sources that want no signature at all, and what
an apt that an answer takes over could reach."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from engine.ecosystems.debian import apt, apt_directory
from engine.ecosystems.debian import releases as debian
from engine.errors import ResolveError
from grammar.environment import Base, Environment, Position
from tests.faults.server import running
from tests.hostile import canary
from tests.integration import archive, web

AT = Position("build.envd", 3, 2)


@pytest.fixture(scope="module")
def expired(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A signed archive whose Release was good for a week of 2001, and its key."""
    place = tmp_path_factory.mktemp("archive")
    top = place / "debian"
    top.mkdir()
    archive.make_deb(top, "small", "1.0", {"opt/small": b"small\n"})
    signer = archive.make_signer(place / "gpg")
    signer.sign(top)
    release = (top / "Release").read_text()
    (top / "Release").write_text(f"{release}Valid-Until: Thu, 08 Mar 2001 12:00:00 UTC\n")
    signer.clearsign(top)
    for name in ("20010302", "2001-03-02", "20010302T120000Z", "1234567890"):
        (place / name).symlink_to(top)
    return place, str(signer.public)


def names(place: Path, key: str, cache: Path, path: str) -> list[str]:
    with running(directory=place) as server:
        line = f"deb http://{server.address}/{path}/ ./"
        with apt.open_apt([line], key, cache, lambda _: None) as opened:
            return opened.names


@pytest.mark.parametrize("path", ["debian", "1234567890"])
def test_an_expired_release_is_refused(path: str, expired: tuple[Path, str], tmp_path: Path) -> None:
    with pytest.raises(ResolveError, match="--allow-expired-apt") as caught:
        names(*expired, tmp_path / "cache", path)
    assert "is expired" in str(caught.value)


@pytest.mark.parametrize("path", ["20010302", "2001-03-02", "20010302T120000Z"])
def test_a_snapshot_asked_for_by_its_date_is_taken(
    path: str, expired: tuple[Path, str], tmp_path: Path
) -> None:
    assert names(*expired, tmp_path / "cache", path) == ["small"]


def test_it_is_accepted_on_the_command_line(
    expired: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(apt_directory.ALLOW_EXPIRED, "1")
    assert names(*expired, tmp_path / "cache", "debian") == ["small"]


def environment(source: str) -> Environment:
    return replace(Environment(base=Base(os="debian12")), apt_source=source, apt_source_position=AT)


@pytest.mark.parametrize(
    "options",
    [
        "trusted=yes",
        "arch=amd64 trusted=yes",
        "trusted=1",
        "Trusted=true",
        "allow-insecure=yes",
        "allow-weak=yes",
        "allow-downgrade-to-insecure=yes",
        "trusted+=yes",
        "lang=en  trusted=yes",
    ],
)
def test_a_source_without_signatures_needs_a_flag(options: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = environment(f"# a comment\ndeb [{options}] http://127.0.0.1:9/ x main\n")
    with pytest.raises(ResolveError, match=r"build.envd:3:2: .*--allow-unsigned-apt"):
        debian.sources(wanted, debian.RELEASES["debian12"])
    monkeypatch.setenv(debian.ALLOW_UNSIGNED, "1")
    assert options in debian.sources(wanted, debian.RELEASES["debian12"])[0]


@pytest.mark.parametrize("options", ["trusted=no", "arch=amd64", "signed-by=/x.gpg"])
def test_other_options_do_not(options: str) -> None:
    wanted = environment(f"deb [{options}] http://127.0.0.1:9/ x main\n")
    assert len(debian.sources(wanted, debian.RELEASES["debian12"])) == 1


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A signed archive, flat and not, with one .deb, and its key."""
    place = tmp_path_factory.mktemp("signed")
    flat, suite = place / "flat", place / "tree/dists/x"
    (suite / "main/binary-amd64").mkdir(parents=True)
    flat.mkdir()
    archive.make_deb(flat, "small", "1.0", {"opt/small": b"small\n"})
    signer = archive.make_signer(place / "gpg")
    signer.sign(flat)
    (suite / "main/binary-amd64/Packages").write_bytes((flat / "Packages").read_bytes())
    done = subprocess.run(
        [
            "apt-ftparchive",
            "-o",
            "APT::FTPArchive::Release::Components=main",
            "-o",
            "APT::FTPArchive::Release::Architectures=amd64",
            "release",
            ".",
        ],
        cwd=suite,
        check=True,
        capture_output=True,
    )
    (suite / "Release").write_bytes(done.stdout)
    signer.clearsign(suite)
    return place, signer.public


def opened(line: str, key: str, cache: Path) -> list[str]:
    with apt.open_apt([line], key, cache, lambda _: None) as found:
        assert found.solve(["small"], "") == [("small", "1.0")]
        assert found.locked("small", "1.0").file.size > 0
        return found.names


@pytest.mark.parametrize(
    "source",
    [
        "file:{0}/flat ./",
        "copy:{0}/flat ./",
        "file://{0}/flat/ ./",
        "file:{0} flat/",
        "file:{0}/tree x main",
        "copy:{0}/tree x main",
        "mirror+file:{0}/mirrors ./",
    ],
)
def test_archives_of_this_machine_are_read(source: str, signed: tuple[Path, Path], tmp_path: Path) -> None:
    place, key = signed
    (place / "mirrors").write_text(f"copy:{place}/flat/\n")
    line = f"deb [signed-by={key}] {source.format(place)}"
    if source.startswith("mirror"):
        with running(directory=place) as server:
            (place / "mirrors").write_text(f"http://{server.address}/flat/\n")
            assert opened(line, "", tmp_path / "cache") == ["small"]
        return
    assert opened(line, "", tmp_path / "cache") == ["small"]


@contextmanager
def proxy(directory: Path) -> Iterator[str]:
    """A proxy, to which every server has the files of `directory`."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.path = urlsplit(self.path).path
            super().do_GET()

    with web.running(partial(Handler, directory=str(directory))) as address:
        yield f"http://{address}/"


@pytest.mark.parametrize("way", ["http_proxy", "apt.conf", "a program"])
def test_proxies_of_this_machine_are_used(
    way: str, signed: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, key = signed
    for name in ("http_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    settings = tmp_path / "apt.conf"
    monkeypatch.setenv("APT_CONFIG", str(settings))
    settings.write_text("")
    with proxy(place) as url:
        if way == "http_proxy":
            monkeypatch.setenv(way, url)
        elif way == "apt.conf":
            settings.write_text(f'Acquire::http::Proxy "{url}";\n')
        else:
            program = tmp_path / "find"
            program.write_text(f"#!/bin/sh\necho {url}\n")
            program.chmod(0o755)
            settings.write_text(f'Acquire::http::Proxy-Auto-Detect "{program}";\n')
        line = "deb http://nowhere.invalid/flat ./"
        assert opened(line, str(key), tmp_path / "cache") == ["small"]


def test_apt_sees_nothing_of_the_machine(
    signed: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program that finds a proxy looks: it runs where a method does."""
    place, key = signed
    victim = canary.make(tmp_path)
    store = tmp_path / "db.sqlite"  # beside the cache, as in a store
    store.write_text("x")
    (tmp_path / "cache").mkdir()
    looks = tmp_path / "looks"
    seen = (
        victim.directory,
        store,
        "/etc/shadow",
        "/root/.bashrc",
        "/home",
        "/var/lib",
        __file__,
        place / "flat",
        "/etc/ssl/private",
        f"/proc/{os.getpid()}/exe",
    )
    written = (victim.directory / "new", tmp_path / "new")
    # What it says is the proxy's name, which nobody knows; what is written is what was there.
    looks.write_text(
        "\n".join(
            [
                "#!/bin/sh",
                "found=looked",
                *(f"test -e {path} && found=$found-saw{number}" for number, path in enumerate(seen)),
                *(
                    f'old=$(cat {path}) && {{ echo "$old" >{path}; }} 2>&- && found=$found-wrote'
                    for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory")
                ),
                *(f"{{ printf '' >{path}; }} 2>&-" for path in written),
                f"for path in {tmp_path}/cache/apt-*; do test -w $path && found=$found-cache; done",
                f"for path in {tmp_path}/cache/apt-*/lists; do test -w $path || found=$found-nolists; done",
                "test -w /usr && found=$found-usr",
                'test -n "$MY_SECRET" && found=$found-environment',
                "echo http://$found.invalid:1/",
            ]
        )
        + "\n"
    )
    looks.chmod(0o755)
    (tmp_path / "apt.conf").write_text(f'Acquire::http::Proxy-Auto-Detect "{looks}";\n')
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    monkeypatch.setenv("MY_SECRET", "hunter2")
    with pytest.raises(ResolveError) as caught:
        opened("deb http://nowhere.invalid/flat ./", str(key), tmp_path / "cache")
    assert "looked.invalid" in str(caught.value)
    assert victim.unharmed() and not any(path.exists() for path in written)


@pytest.mark.parametrize("source", ["file:/ etc/", "file:/etc ./", "file:/root x main", "copy:/ root/"])
def test_directories_that_are_no_archives_are_not_shown(source: str) -> None:
    found = list(apt_directory.archives([f"deb [trusted=yes] {source}"]))
    assert not [path for path in found if os.path.exists(path)]  # noqa: PTH110 - may be unreadable


def test_a_list_that_is_a_link_of_the_hosts_is_not_read(signed: tuple[Path, Path], tmp_path: Path) -> None:
    """As an apt that was taken over might leave it."""
    place, key = signed
    secret = tmp_path / "secret"
    secret.write_text("Package: hosts-own\nVersion: 1\n\n")
    with apt.open_apt([f"deb copy:{place}/flat ./"], str(key), tmp_path / "cache", lambda _: None) as found:
        (found.directory / "lists/x_Packages").symlink_to(secret)
        (found.directory / "lists/x_Release").symlink_to(secret)
        before = found.state
        assert found.names == ["small"]
        (found.directory / "lists/x_Release").unlink()
        assert apt.Apt(found.directory).state == before
