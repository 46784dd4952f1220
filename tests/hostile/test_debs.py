"""Essential .debs that lead out of the base: they are unpacked before anything of it can run."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from engine.ecosystems.debian import base
from engine.ecosystems.r import rstudio
from engine.errors import BuildError, ResolveError
from engine.lock.packages import LockedPackage
from engine.realise.context import BuildContext
from grammar.environment import Base, Environment, Position
from tests.integration import web

Member = tuple[str, str, str]  # name, kind ("dir", "file", "link", "hard"), target or content


_CONTROL: Sequence[Member] = [("./control", "file", "Package: x\nVersion: 1\nArchitecture: all\n")]


def deb(path: Path, members: Sequence[Member], about: Sequence[Member] = _CONTROL) -> Path:
    """A .deb (deb(5)) of files, and what its control archive holds."""
    data = _tar(members)
    control = _tar(about)
    parts = {"debian-binary": b"2.0\n", "control.tar": control, "data.tar": data}
    with path.open("wb") as file:
        file.write(b"!<arch>\n")
        for name, content in parts.items():
            head = f"{name:<16}{int(time.time()):<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n"
            file.write(head.encode() + content + b"\n" * (len(content) % 2))
    return path


def _tar(members: Sequence[Member]) -> bytes:
    kinds = {
        "dir": tarfile.DIRTYPE,
        "file": tarfile.REGTYPE,
        "link": tarfile.SYMTYPE,
        "hard": tarfile.LNKTYPE,
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind, text in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kinds[kind], 0o755
            if kind == "file":
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text.encode()))
            else:
                info.linkname = text
                tar.addfile(info)
    return buffer.getvalue()


ARCHIVES: dict[str, Sequence[Sequence[Member]]] = {
    "a directory's link of an earlier one": [
        [("./hostdir", "link", "{victim}/dir")],
        [("./hostdir/pwned", "file", "x")],
    ],
    "a relative link that climbs": [
        [("./up", "link", "../../../../../../../../../../../../{victim}/dir")],
        [("./up/pwned", "file", "x")],
    ],
    "a link to a file, then the file": [[("./conf", "link", "{victim}/file")], [("./conf", "file", "x")]],
    "a link of links": [
        [("./a", "link", "/{victim}"), ("./b", "link", "a/dir")],
        [("./b/pwned", "file", "x")],
    ],
    "a hard link to a file of the host": [[("./steal", "hard", "{victim}/file")], [("./steal", "file", "x")]],
    "a hard link through a link": [[("./d", "link", "{victim}")], [("./steal", "hard", "./d/file")]],
    "names that climb": [[("../" * 20 + "{victim}/dir/pwned", "file", "x")]],
    "absolute names": [[("{victim}/dir/pwned", "file", "x")]],
    "a link in the place of usr": [[("./usr", "link", "{victim}/dir")], [("./usr/pwned", "file", "x")]],
    "where the host writes afterwards": [
        [("./etc/apt", "link", "{victim}/dir"), ("./etc/hostname", "link", "{victim}/file")],
        [("./etc/apt/sources.list", "file", "x")],
    ],
    "the host's programs": [[("./x", "link", "/usr/share")], [("./x/envd-was-here", "file", "x")]],
    "the host's /etc": [[("./x", "link", "/etc")], [("./x/envd-was-here", "file", "x")]],
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_it_stays_in_the_base(name: str, tmp_path: Path) -> None:
    victim, scratch = tmp_path / "victim", tmp_path / "scratch"
    (victim / "dir").mkdir(parents=True)
    (victim / "file").write_text("the host's own\n")
    (victim / "file").chmod(0o666)
    for place in (victim, victim / "dir"):
        place.chmod(0o777)
    scratch.mkdir()
    files = [
        (
            f"{number}.deb",
            deb(
                tmp_path / f"{number}.deb",
                [(n.format(victim=victim), k, t.format(victim=victim)) for n, k, t in members],
            ),
        )
        for number, members in enumerate(ARCHIVES[name])
    ]
    parameters = {"essential": [n for n, _ in files], "sources": ["deb file:/x y main"]}
    said: list[str] = []
    # Such a base has no dpkg to go on with: whatever the archives did, they have done it by then.
    with pytest.raises(BuildError):
        base.build(BuildContext("base", parameters, (), tuple(files), scratch, said.append))
    assert sorted(p.relative_to(victim).as_posix() for p in victim.rglob("*")) == ["dir", "file"]
    assert (victim / "file").read_text() == "the host's own\n"
    assert (victim / "file").stat().st_nlink == 1
    assert not Path("/usr/share/envd-was-here").exists()
    assert not Path("/etc/envd-was-here").exists()


def test_a_broken_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.deb").write_bytes(b"!<arch>\nno such thing")
    (tmp_path / "scratch").mkdir()
    parameters = {"essential": ["bad.deb"], "sources": []}
    context = BuildContext(
        "base", parameters, (), (("bad.deb", tmp_path / "bad.deb"),), tmp_path / "scratch", print
    )
    with pytest.raises(BuildError) as caught:
        base.build(context)
    assert "bad.deb: cannot be unpacked" in caught.value.log


def test_honest_ones_keep_owner_mode_and_links(tmp_path: Path) -> None:
    root, place = tmp_path / "upper", tmp_path / "debs"
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    place.mkdir()
    deb(
        place / "a.deb",
        [
            ("./lib/a", "file", "x"),
            ("./lib/b", "hard", "./lib/a"),
            ("./etc", "dir", ""),
            ("./etc/c", "link", "/lib/a"),
        ],
    )
    context = BuildContext("base", {}, (), (), tmp_path, print)
    base._extract(["a.deb"], place, root, context)
    assert (root / "usr/lib/a").read_text() == "x"
    assert (root / "usr/lib/a").stat().st_nlink == 2
    assert (root / "lib").is_symlink()
    assert (root / "etc/c").readlink() == Path("/lib/a")
    assert not (tmp_path / "unpack").exists()
    info = (root / "usr/lib/a").stat()
    assert (info.st_uid, info.st_gid, info.st_mode & 0o7777) == (0, 0, 0o755)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    """A directory that a server serves; ENVD_RSTUDIO_SERVER_DEB is its x.deb."""
    place = tmp_path / "served"
    place.mkdir()
    with web.serve(place) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENVD_RSTUDIO_SERVER_DEB", f"{server.url}/x.deb")
        yield place


def pinned(tmp_path: Path) -> LockedPackage:
    wanted = Environment(base=Base(), rstudio_server=Position("build.envd", 3, 2))
    return rstudio.resolve(wanted, "debian12", tmp_path / "store", lambda _: None)


FIELDS = "Package: rstudio-server\nVersion: {}\nArchitecture: amd64\n"


def test_a_control_file_that_is_pinned_is_read(served: Path, tmp_path: Path) -> None:
    deb(served / "x.deb", [], [("./control", "file", FIELDS.format("1.5"))])
    assert pinned(tmp_path).version == "1.5"


def test_a_control_file_that_is_a_link_of_the_hosts(served: Path, tmp_path: Path) -> None:
    """dpkg-deb unpacks it, and reads what the link leads to."""
    secret = tmp_path / "status"
    secret.write_text(FIELDS.format("1.hosts-own"))
    deb(served / "x.deb", [], [("./control", "link", str(secret))])
    with pytest.raises(ResolveError, match=r"build\.envd:3:2: .* is no \.deb") as caught:
        pinned(tmp_path)
    assert "hosts-own" not in str(caught.value)


def test_what_steps_may_have_is_no_limit_of_what_reads(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control: list[Member] = [
        ("./control", "file", FIELDS.format("1.5")),
        ("./large", "file", "\0" * (24 << 20)),
    ]
    deb(served / "x.deb", [], control)
    monkeypatch.setenv("ENVD_LIMITS", "memory=16M,disk=1K,processes=1,time=0.01,silence=0.01,log=1")
    assert pinned(tmp_path).version == "1.5"


def test_a_version_that_is_long(served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deb(served / "x.deb", [], [("./control", "file", FIELDS.format("1" * (1 << 20)))])
    monkeypatch.setenv("ENVD_LIMITS", "answer=64K,download=8M")
    with pytest.raises(ResolveError, match=r"build\.envd:3:2: .*dpkg-deb: it says more than 64K"):
        pinned(tmp_path)
