"""Networks, registries and machines that fail: what is tried again, and what is said. All servers
are real ones that misbehave as they are told (`tests.faults.server`); `make faults` does more."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.core.derivation import Fetch
from engine.core.events import Event
from engine.ecosystems.debian import apt
from engine.errors import FetchError, ResolveError
from engine.net import fetch
from store import Store
from tests.faults.server import Bad, Fault, running
from tests.integration import archive, servers
from tests.integration.envd import ENVD, Envd
from tests.integration.tiny import tiny_image

DATA = bytes(range(256)) * 2000
PATIENCE = 60.0  # seconds; a hang is what fails


@pytest.fixture
def bad(tmp_path: Path) -> Iterator[Bad]:
    """A server of a file "data"."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www/data").write_bytes(DATA)
    with running(directory=tmp_path / "www") as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "store")
    yield opened
    opened.close()


def _fetch(bad: Bad, store: Store, *faults: Fault) -> list[str]:
    """Fetch "data"; what was said."""
    said: list[str] = []

    def listen(event: Event) -> None:
        if event.kind == "message":
            said.append(event.text)

    bad.faults[:] = faults
    wanted = Fetch("data", f"http://{bad.address}/data", hashlib.sha256(DATA).hexdigest(), len(DATA))
    path = fetch.fetch(wanted, store, listen, pause=0.01)
    assert path.read_bytes() == DATA
    return said


def test_a_body_that_is_too_short_is_continued(bad: Bad, store: Store) -> None:
    said = _fetch(bad, store, Fault("short", times=1))
    assert said == [
        f"retrying (2 of 5) in 0.01 s: the body ended after {len(DATA) // 2} of {len(DATA)} bytes"
    ]
    assert len(bad.asked) == 2


@pytest.mark.parametrize("kind", ["dies-on-range", "wrong-range"])
def test_a_server_that_cannot_do_ranges_is_asked_for_everything(bad: Bad, store: Store, kind: str) -> None:
    said = _fetch(bad, store, Fault("close", times=1), Fault(kind, times=3))
    assert said


def test_retry_after_is_honoured_and_said(bad: Bad, store: Store) -> None:
    begin = time.monotonic()
    assert _fetch(bad, store, Fault("429after", times=1)) == ["retrying (2 of 5) in 3 s: HTTP status 429"]
    assert time.monotonic() - begin >= 3


def test_wrong_bytes_are_never_taken(bad: Bad, store: Store) -> None:
    with pytest.raises(FetchError, match="is not the file that the lock pins"):
        _fetch(bad, store, Fault("wrong"))
    assert not list((store.path / "blobs/sha256").iterdir())


@pytest.mark.parametrize(
    ("number", "kind", "says"),
    [
        (signal.SIGINT, "stall", "interrupted"),
        (signal.SIGTERM, "hole", "terminated"),
        (signal.SIGHUP, "slow", "hung up"),
    ],
)
def test_signals_end_a_download(
    tmp_path: Path, bad: Bad, number: signal.Signals, kind: str, says: str
) -> None:
    project = tmp_path / "p"
    envd = Envd(tmp_path / "store", project)
    envd.spec(f'def build():\n    base(os="debian12")\n    io.http("http://{bad.address}/data")\n')
    bad.faults[:] = [Fault(kind)]
    environment = {**os.environ, "ENVD_STORE": str(envd.store)}
    # What resolves before it is black-holed as well: no archive is needed.
    environment["ENVD_DEBIAN_MIRROR"] = f"http://{bad.address}"
    # Under nohup, SIGHUP is ignored, and rightly by envd, too: not what is asked here.
    process = subprocess.Popen(
        ["env", "--default-signal=HUP", str(ENVD), "lock"],
        cwd=project,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + PATIENCE
    while not bad.asked and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said.splitlines()[-1]) == (130, f"envd: {says}")
    assert not (project / "envd.lock").exists()


@pytest.mark.parametrize(
    "fault",
    [
        Fault("500", "uploads", "PUT", 1),
        Fault("drop", "uploads", "PUT", 1),
        Fault("429after", "manifests", "PUT", 1),
        Fault("502", "blobs", "POST", 1),
    ],
    ids=lambda f: f"{f.kind}-{f.method}",
)
def test_a_push_survives_a_stumble(
    tmp_path: Path, registry_server: servers.RegistryServer, fault: Fault
) -> None:
    envd = Envd(tmp_path / "store", tmp_path)
    store = Store.open(envd.store)
    tiny_image(store, "stumble:1")
    store.close()
    with running(behind=registry_server.address) as front:
        front.faults[:] = [Fault(fault.kind, fault.path, fault.method, 1)]
        done = envd.run("push", "-t", "stumble:1", f"{front.address}/stumble/{tmp_path.name[-8:]}")
        assert "retrying (2 of 5)" in done.stderr
        if fault.method == "PUT" and fault.path == "uploads":
            # each attempt in an upload of its own
            posts = [path for method, path in front.asked if method == "POST"]
            puts = [path for method, path in front.asked if method == "PUT" and "uploads" in path]
            assert len(posts) == len(puts) == 3


def test_a_registry_that_keeps_nothing_is_found_out(
    tmp_path: Path, registry_server: servers.RegistryServer
) -> None:
    envd = Envd(tmp_path / "store", tmp_path)
    store = Store.open(envd.store)
    tiny_image(store, "nothing:1")
    store.close()
    name = f"nothing/{tmp_path.name[-8:]}"
    with running(behind=registry_server.address) as front:
        front.faults[:] = [Fault("kept-nothing", "manifests", "PUT")]
        done = envd.run("push", "-t", "nothing:1", f"{front.address}/{name}", check=False)
        assert done.code == 1
        assert f"it has taken {name}:latest, and has it not (tried 5 times)" in done.stderr
        front.faults.clear()
        assert envd.run("push", "-t", "nothing:1", f"{front.address}/{name}").code == 0


def test_what_a_refused_release_left_is_not_continued(tmp_path: Path) -> None:
    place = tmp_path / "archive"
    place.mkdir()
    archive.make_deb(place, "small", "1.0", {"opt/small": b"small\n"})
    signer = archive.make_signer(tmp_path / "gpg")
    signer.sign(place)
    release = (place / "Release").read_text()
    future = re.sub(r"(?m)^Date: .*$", "Date: Sun, 01 Mar 2099 12:00:00 UTC", release)
    (place / "Release").write_text(future)
    signer.clearsign(place)
    body = (place / "InRelease").read_bytes()
    (place / "Release").write_text(f"{release}Comment: longer than the one before\n")
    signer.clearsign(place)
    with running(directory=place) as bad:
        bad.faults[:] = [Fault("body", "InRelease", body=body)]

        def names() -> list[str]:
            source = f"deb http://{bad.address} ./"
            with apt.open_apt([source], str(signer.public), tmp_path / "cache", print) as opened:
                return opened.names

        with pytest.raises(ResolveError, match="is not valid yet"):
            names()
        bad.faults.clear()
        assert names() == ["small"]


def test_a_store_on_overlayfs_is_found_before_anything_is_built(tmp_path: Path) -> None:
    for name in ("t", "p"):
        (tmp_path / name).mkdir()
    script = (
        f"mount -t tmpfs tmpfs {tmp_path}/t && cd {tmp_path}/t && mkdir l u w m && mount -t overlay "
        'overlay -o lowerdir=l,upperdir=u,workdir=w m && exec "$0" "$@"'
    )
    envd = Envd(
        tmp_path / "t/m/store",
        tmp_path / "p",
        prefix=(
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            f"cd {tmp_path}/p; d=$PWD; {script.replace('exec', 'cd $d && exec')}",
        ),
    )
    envd.spec('def build():\n    base(os="debian12")\n')
    other = Envd(tmp_path / "store", tmp_path / "p")
    other.run("lock")
    done = envd.run("build", "--no-load", "--locked", check=False)
    assert done.code == 2
    assert "the store is on overlay, which cannot carry another overlay" in done.stderr
    assert "fetch" not in done.stderr
    assert "building" not in done.stderr


def test_a_lock_that_cannot_be_written_is_found_before_it_is_resolved(tmp_path: Path) -> None:
    envd = Envd(
        tmp_path / "store",
        tmp_path / "p",
        prefix=(
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            'mount --bind . . && mount -o remount,ro,bind . && cd "$PWD" && exec "$0" "$@"',
        ),
    )
    envd.spec('def build():\n    base(os="debian12")\n')
    done = envd.run("lock", check=False)
    assert done.code == 2
    assert "the lock cannot be written: its file system is read-only" in done.stderr
    assert "resolve" not in done.stderr


@pytest.mark.parametrize(
    ("tag", "says"),
    [
        ("a/b:1.0+cpu", "a tag cannot hold '+'; did you mean 'a/b:1.0-cpu'?"),
        ("a/B:1", "did you mean 'a/b:1'?"),
        ("a:.x", "a tag cannot begin with '.'"),
        (f"a:{'x' * 129}", "129 characters"),
    ],
)
def test_a_wrong_tag_says_what_is_wrong(tmp_path: Path, tag: str, says: str) -> None:
    envd = Envd(tmp_path / "store", tmp_path / "p")
    envd.spec('def build():\n    base(os="debian12")\n')
    done = envd.run("build", "-t", tag, check=False)
    assert (done.code, says in done.stderr) == (2, True), done.stderr
