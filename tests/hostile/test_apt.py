"""apt archives that replay what they signed long ago, and sources that want no signature at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import ResolveError
from engine.resolve import apt, debian
from grammar.environment import Base, Environment, Position
from tests.faults.server import running
from tests.integration import archive

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
    monkeypatch.setenv(apt.ALLOW_EXPIRED, "1")
    assert names(*expired, tmp_path / "cache", "debian") == ["small"]


def environment(source: str) -> Environment:
    return replace(
        Environment(base=Base(os="debian12")), apt_source=source, apt_source_position=AT
    )


@pytest.mark.parametrize("options", [
    "trusted=yes", "arch=amd64 trusted=yes", "trusted=1", "Trusted=true", "allow-insecure=yes",
    "allow-weak=yes", "allow-downgrade-to-insecure=yes", "trusted+=yes", "lang=en  trusted=yes",
])
def test_a_source_without_signatures_needs_a_flag(
    options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = environment(f"# a comment\ndeb [{options}] http://127.0.0.1:9/ x main\n")
    with pytest.raises(ResolveError, match=r"build.envd:3:2: .*--allow-unsigned-apt"):
        debian.sources(wanted, debian.RELEASES["debian12"])
    monkeypatch.setenv(debian.ALLOW_UNSIGNED, "1")
    assert options in debian.sources(wanted, debian.RELEASES["debian12"])[0]


@pytest.mark.parametrize("options", ["trusted=no", "arch=amd64", "signed-by=/x.gpg"])
def test_other_options_do_not(options: str) -> None:
    wanted = environment(f"deb [{options}] http://127.0.0.1:9/ x main\n")
    assert len(debian.sources(wanted, debian.RELEASES["debian12"])) == 1
