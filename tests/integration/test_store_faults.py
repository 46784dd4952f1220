"""What happens to a store in the field: damage, full and read-only disks, kills, other users, `gc`
beside everything else. All with the real command, engine and registry."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.integration.envd import ENVD, Envd, docker
from tests.integration.scratch import push_scratch, skopeo

COMMANDS = ("sh", "ls", "cat", "sleep", "mkdir")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, registry: str) -> str:
    """A small image with a shell and some bytes that do not compress, in a registry."""
    # The same bytes in each of the fixture's workers, which share the registry.
    files = {"opt/noise": random.Random(1).randbytes(3_000_000), "etc/os-release": b"ID=tiny\n"}
    for command in COMMANDS:
        program = shutil.which(command)
        assert program is not None
        files[f"bin/{command}"] = Path(program).resolve().read_bytes()
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
        for word in listed.stdout.split():
            if word.startswith("/"):
                files[word.removeprefix("/")] = Path(word).read_bytes()
    name = f"{registry}/faults/tiny:{os.getpid()}"
    push_scratch(tmp_path_factory.mktemp("tiny") / "image", name, files)
    return name


@pytest.fixture
def envd(tmp_path: Path, base: str, docker_engine: str) -> Envd:
    """A project whose image lists /etc, and a store of its own."""
    made = Envd(tmp_path / "store", tmp_path / "p", {"DOCKER_HOST": docker_engine})
    spec(made, base)
    return made


LIST = '"ls /etc > /listing", "cat /opt/noise > /copy"'


def spec(envd: Envd, base: str, commands: str = LIST) -> None:
    envd.spec(f'def build():\n    base(image="{base}")\n    run([{commands}])\n')


def image(envd: Envd) -> str:
    return envd.run("build", "--no-load").stdout


def objects(envd: Envd) -> dict[str, dict[str, object]]:
    """Objects by name."""
    return {row["name"]: row for row in json.loads(envd.run("store", "ls", "-f", "json").stdout)}


def blob(envd: Envd, row: dict[str, object]) -> Path:
    return envd.store / "blobs" / str(row["digest"]).replace(":", "/")


def step(envd: Envd) -> Path:
    """The blob of the run step's layer, which no registry has."""
    return next(blob(envd, row) for name, row in objects(envd).items() if name.startswith("run-"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def refused(envd: Envd, *arguments: str, says: str) -> None:
    """The command ends with 1 and one line, which says `says`."""
    done = envd.run(*arguments, check=False)
    assert done.code == 1, (arguments, done)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and re.search(says, errors[0]), (arguments, done.stderr)
    assert "internal error" not in done.stderr


def test_an_altered_tree_is_in_no_image(envd: Envd, base: str) -> None:
    first = image(envd)
    layer = next(row for name, row in objects(envd).items() if not name.startswith("run-"))
    etc = envd.store / "trees" / str(layer["id"]) / "etc"
    (etc / "evil").write_text("evil")
    refused(envd, "store", "verify", says="1 problem; run `envd store verify --repair`")
    done = envd.run("build", "--no-load", "--force")
    assert done.stdout == first
    assert "somebody has changed its files" in done.stderr
    assert not (etc / "evil").exists()
    assert envd.run("store", "verify").stdout == "store is clean"


@pytest.mark.parametrize("damage", [flip, lambda path: os.truncate(path, 1_000_000)])
def test_a_damaged_layer_leaves_the_store_by_no_way(
    envd: Envd, tmp_path: Path, registry: str, damage: Callable[[Path], None]
) -> None:
    first = image(envd)
    flipped = step(envd)
    kept = flipped.read_bytes()
    damage(flipped)
    cut = len(kept) != flipped.stat().st_size  # seen by the build: the layer is made again
    says = r"the stored layer is damaged; run `envd store verify --repair`"
    out = tmp_path / "out"
    out.mkdir()
    push = f"{registry}/faults/out{os.getpid()}:{int(cut)}"
    ways = [("push", push, "-t", "p:dev"), ("images", "load", "p:dev")]
    if not cut:
        ways += [
            ("build", "--locked", "-o", o)
            for o in (f"oci:{out}/a.tar", f"oci-dir:{out}/a", f"docker:{out}/b.tar")
        ]
    for way in ways:
        refused(envd, *way, says=says)
    assert list(out.iterdir()) == []
    with pytest.raises(AssertionError):
        skopeo("inspect", "--tls-verify=false", f"docker://{push}")
    if not cut:
        assert envd.run("store", "verify", "--repair").code == 0
    assert envd.run("build", "--locked", "-o", f"oci:{out}/a.tar").stdout == first
    skopeo("copy", f"oci-archive:{out}/a.tar", f"oci:{out}/copy:x")
    assert flipped.read_bytes() == kept


def test_a_missing_layer_is_built_again(envd: Envd) -> None:
    first = image(envd)
    assert "up to date" in envd.run("build", "--no-load").stderr
    for row in objects(envd).values():
        path = blob(envd, row)
        path.unlink()
        assert image(envd) == first
        assert path.exists()
    assert envd.run("store", "verify").stdout == "store is clean"


@pytest.mark.parametrize("damage", ["torn", "garbage", "gone"])
def test_a_damaged_database_loses_nothing_that_can_be_found(envd: Envd, damage: str) -> None:
    first = image(envd)
    database = envd.store / "db.sqlite"
    files = set((envd.store / "blobs/sha256").iterdir())
    if damage == "gone":
        database.unlink()
    else:
        size = database.stat().st_size
        database.write_bytes(
            database.read_bytes()[:9000] if damage == "torn" else random.Random(2).randbytes(size)
        )
        for command in ("store ls", "store roots", "store gc", "prune", "images ls", "build --force"):
            refused(envd, *command.split(), says=r"db\.sqlite.*damaged.*envd store verify --repair")
        refused(envd, "store", "verify", says="problem")
    envd.run("store", "verify", "--repair")
    envd.run("store", "gc")
    assert files <= set((envd.store / "blobs/sha256").iterdir())
    assert image(envd) == first
    recovered = next(
        r["name"]
        for r in json.loads(envd.run("store", "roots", "-f", "json").stdout)
        if r["name"].startswith("recovered:")
    )
    assert recovered in envd.run("store", "gc").stderr
    envd.run("store", "roots", "--remove", recovered)
    envd.run("store", "gc")
    assert envd.run("store", "verify").stdout == "store is clean"
    assert "up to date" not in envd.run("build", "--no-load", "--force").stderr


@contextmanager
def mounted(place: Path, *arguments: str) -> Iterator[None]:
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", *arguments, place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_read_only_store_is_read(envd: Envd, tmp_path: Path) -> None:
    first = image(envd)
    place = tmp_path / "ro"
    with mounted(place, "--bind", str(envd.store)):
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
        there = Envd(place, envd.project, envd.environment)
        for command in (
            "store ls",
            "store roots",
            "store verify",
            "store gc --dry-run",
            "images ls",
            "images describe p:dev",
            "prune --dry-run",
            "version",
            "lock --check",
        ):
            there.run(*command.split())
        assert there.run("build", "--no-load").stdout == first
        says = f"{place}: cannot write the store: .*read-only.*ENVD_STORE"
        for command in (
            "store gc",
            "store verify --repair",
            "prune",
            "build --force",
            "images remove p:dev",
            "push 127.0.0.1:1/x:y",
            "store roots --remove image:p:dev",
        ):
            refused(there, *command.split(), says=says)


def test_a_full_disk_is_told_with_the_store_and_what_to_do(envd: Envd, tmp_path: Path) -> None:
    first = image(envd)
    place = tmp_path / "disk"
    with mounted(place, "-t", "tmpfs", "-o", "size=4m", "tmpfs"):
        there = Envd(place / "store", envd.project, envd.environment)
        refused(there, "build", "--no-load", says=f"{place}/store: no space left .*`envd prune`")
        subprocess.run(["mount", "-o", "remount,size=200m", place], check=True)
        assert there.run("build", "--no-load").stdout == first
        assert there.run("store", "verify").stdout == "store is clean"


def test_a_step_that_fills_the_disk_is_told_at_its_place(envd: Envd, base: str, tmp_path: Path) -> None:
    first = image(envd)
    place = tmp_path / "disk"
    with mounted(place, "-t", "tmpfs", "-o", "size=200m", "tmpfs"):
        there = Envd(place / "store", envd.project, envd.environment)
        assert there.run("build", "--no-load").stdout == first
        used = shutil.disk_usage(place).used
        subprocess.run(["mount", "-o", f"remount,size={used + 2_000_000}", place], check=True)
        spec(envd, base, '"cat /opt/noise /opt/noise > /big"')
        done = there.run("build", "--no-load", check=False)
        says = rf"build.envd:3:5: error: run-\w+: failed .*{place}/store: no space left .*`envd prune`"
        assert done.code == 1 and re.search(says, done.stderr), done.stderr
        assert "I/O error" not in done.stderr
        spec(envd, base)
        assert there.run("build", "--no-load").stdout == first


def test_gc_and_prune_make_room_on_a_full_disk(envd: Envd, tmp_path: Path) -> None:
    first = image(envd)
    place = tmp_path / "disk"
    with mounted(place, "-t", "tmpfs", "-o", "size=200m", "tmpfs"):
        there = Envd(place / "store", envd.project, envd.environment)
        assert there.run("build", "--no-load").stdout == first
        for command in ("store gc", "prune"):
            assert (there.store / "trees").exists()
            with (place / "filler").open("wb", buffering=0) as file, suppress(OSError):
                while file.write(b"x" * 4096):
                    pass
            refused(there, "build", "--no-load", "--force", says="no space left .*`envd prune`")
            done = there.run(*command.split())
            assert "its disk is full" in done.stderr and "unpacked again" in done.stderr
            # There is room now for what has to be unpacked: nothing was lost.
            (place / "filler").unlink()
            assert there.run("build", "--no-load", "--force").stdout == first
            assert there.run("store", "verify").stdout == "store is clean"


def started(envd: Envd, *arguments: str, until: str) -> subprocess.Popen[str]:
    """Start the command, and come back when it has said `until` on standard error."""
    process = subprocess.Popen(
        [str(ENVD), *arguments],
        cwd=envd.project,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "ENVD_STORE": str(envd.store), **envd.environment},
        text=True,
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if until in line:
            return process
    raise AssertionError("".join(said))


def test_the_next_build_removes_what_a_killed_one_left(envd: Envd, base: str) -> None:
    spec(envd, base, '"sleep 1000"')
    process = started(envd, "build", "--no-load", "--progress=plain", until="building run-")
    temporary = envd.store / "tmp"
    while not any((entry / "upper").exists() for entry in temporary.iterdir()):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(temporary.iterdir())
    spec(envd, base)
    image(envd)
    assert list(temporary.iterdir()) == []
    assert [p.name for p in (envd.store / "locks").iterdir()] == ["gc"]
    assert envd.run("store", "verify").stdout == "store is clean"


class Gate:
    """A way to a registry that is shut until it is opened."""

    def __init__(self, to: str) -> None:
        self._to = to
        self._open = threading.Event()
        self.reached = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def open(self) -> None:
        self._open.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        first = client.recv(1 << 16)
        if b"/blobs/" in first:
            self.reached.set()
            self._open.wait()
        host, _, port = self._to.rpartition(":")
        server = socket.create_connection((host, int(port)))
        server.sendall(first)
        threading.Thread(target=self._pump, args=(server, client), daemon=True).start()
        self._pump(client, server)

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._open.set()
        self._server.close()


@pytest.mark.parametrize("name", [(), ("-t", "p:dev")])
def test_gc_keeps_what_is_being_pushed_and_says_for_whom_it_waits(
    envd: Envd, base: str, registry: str, tmp_path: Path, name: tuple[str, ...]
) -> None:
    image(envd)
    gate = Gate(registry)
    target = f"{gate.address}/faults/gated{os.getpid()}{len(name)}:1"
    pushing = subprocess.Popen(
        [str(ENVD), "push", target, *name],
        cwd=envd.project,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ENVD_STORE": str(envd.store), **envd.environment},
        stdout=subprocess.PIPE,
    )
    try:
        assert gate.reached.wait(60)
        # Its root goes to another image meanwhile.
        other = Envd(envd.store, tmp_path / "other", envd.environment)
        spec(other, base, '"mkdir /other"')
        other.run("build", "--no-load", "-t", "p:dev")
        collecting = started(envd, "store", "gc", until="waiting for process")
        assert collecting.poll() is None and pushing.poll() is None
        gate.open()
        out, errors = pushing.communicate()
        assert pushing.returncode == 0, errors
        assert "@sha256:" in out
        assert collecting.wait() == 0
    finally:
        gate.close()
        pushing.kill()


def test_gc_names_the_command_that_it_waits_for(envd: Envd, base: str) -> None:
    spec(envd, base, '"sleep 1000"')
    building = started(envd, "build", "--no-load", "--progress=plain", until="building run-")
    try:
        done = subprocess.Popen(
            [str(ENVD), "store", "gc"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "ENVD_STORE": str(envd.store)},
        )
        assert done.stderr is not None
        line = done.stderr.readline()
        assert re.search(rf"waiting for process {building.pid} \(envd build --no-load", line), line
        second = started(envd, "build", "--no-load", "--progress=plain", until="which builds run-")
        second.send_signal(signal.SIGINT)
        assert second.wait() == 130
        building.send_signal(signal.SIGINT)
        assert building.wait() == 130
        assert done.wait() == 0
    finally:
        building.kill()


def test_images_of_the_engine_are_what_the_store_has(envd: Envd, docker_engine: str) -> None:
    """The healthy way through the checks: archive, push and load give the same image."""
    tag = f"faults-{os.getpid()}:dev"
    first = envd.run("build", "-t", tag).stdout
    try:
        assert docker("inspect", "-f", "{{.Id}}", tag, host=docker_engine) == first
    finally:
        docker("rmi", "-f", tag, host=docker_engine)
