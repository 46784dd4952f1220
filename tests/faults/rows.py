"""The rows of the table: each does one kind of fault, some times over."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.faults.server import Bad, Fault, running
from tests.faults.world import BASE, Trial, World
from tests.integration import servers

Do = Callable[[World], Iterator[Trial]]
ROWS: dict[str, Do] = {}
_BUILD = ("build", "--no-load", "--locked", "--progress", "plain")


def row(name: str) -> Callable[[Do], None]:
    """Enter a row in the table."""

    def enter(function: Do) -> None:
        ROWS[name] = function

    return enter


@contextmanager
def faults(bad: Bad, *given: Fault) -> Iterator[None]:
    """These and no others, while the block lasts."""
    bad.faults[:] = given
    try:
        yield
    finally:
        bad.faults.clear()


@contextmanager
def site(world: World) -> Iterator[tuple[Bad, Path, Path]]:
    """A web server of a trial's own in front of the shared index, a store and a project whose lock
    names that server: trials run side by side."""
    with running(behind=world.bad.address) as bad:
        store, project = world.store("site"), world.copy()
        for name in ("build.envd", "envd.lock"):
            path = project / name
            path.write_text(path.read_text().replace(world.bad.address, bad.address))
        try:
            yield bad, store, project
        finally:
            world.drop(store)


# -- killed -----------------------------------------------------------------------------------


def _processes(store: Path) -> list[str]:
    """Processes that have to do with a store."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if str(store) in text and path.parent.name != str(os.getpid()):
            found.append(text[:80])
    return found


def _killed(world: World, number: signal.Signals, trials: int, *, cold: bool) -> Iterator[Trial]:
    for _ in range(trials):
        store, project = world.store("killed"), world.copy()
        arguments = (*_BUILD, "--force") if cold else _BUILD
        process = world.start(*arguments, store=store, project=project)
        time.sleep(world.random.uniform(0.3, 12.0 if cold else 4.0))
        process.send_signal(number)
        done = world.end(process)
        time.sleep(0.5)
        left = _processes(store)
        trial = world.judge(done, store, project, killed=number == signal.SIGKILL)
        if left:
            trial.ended, trial.remark = "unclear", f"left running: {left[:2]}"
        if number != signal.SIGKILL and done.seconds > 10:
            trial.ended, trial.remark = "unclear", f"took {done.seconds:.0f} s to end"
        world.drop(store)
        yield trial


for _number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    row(f"{_number.name} at a random moment, warm")(
        lambda world, number=_number: _killed(world, number, 3, cold=False)  # type: ignore[misc]
    )
    row(f"{_number.name} at a random moment, everything built anew")(
        lambda world, number=_number: _killed(world, number, 1, cold=True)  # type: ignore[misc]
    )


@row("SIGKILL in the first moments of a step")
def _first_moments(world: World) -> Iterator[Trial]:
    for _ in range(6):
        store, project = world.store("moments"), world.copy(word=str(world.random.random()))
        process = world.start(*_BUILD, store=store, project=project)
        end = time.monotonic() + 60
        while time.monotonic() < end and not any((store / "tmp").glob("run-*")):
            time.sleep(0.001)
        time.sleep(world.random.uniform(0, 0.04))
        process.kill()
        world.end(process)
        time.sleep(0.5)
        left = _processes(store)
        yield Trial("unclear" if left else "survived", remark=str(left[:2]) if left else "")
        world.drop(store)


@row("SIGINT, SIGTERM and SIGHUP while downloading from a black hole, a stall, 0.5 kB/s")
def _interrupted_download(world: World) -> Iterator[Trial]:
    for kind, number in (
        ("hole", signal.SIGINT), ("stall", signal.SIGTERM), ("slow", signal.SIGHUP),
        ("slow", signal.SIGINT),
    ):
        with site(world) as (bad, store, project):
            with faults(bad, Fault(kind, ".whl")):
                process = world.start(*_BUILD, store=store, project=project)
                end = time.monotonic() + 60
                while not bad.asked and time.monotonic() < end:
                    time.sleep(0.02)
                time.sleep(0.5)
                process.send_signal(number)
                done = world.end(process)
            trial = world.judge(done, store, project, remark=f"ended after {done.seconds:.1f} s")
            if done.seconds > 5:
                trial.ended = "unclear"
            yield trial


# -- the machine ------------------------------------------------------------------------------


@row("disk full (tmpfs) in the middle of a build")
def _full(world: World) -> Iterator[Trial]:
    for spare in (1, 2):
        store = world.store("full")
        mount = world.directory / f"small-{spare}"
        mount.mkdir()
        size = int(subprocess.run(
            ["du", "-sm", str(store)], capture_output=True, text=True, check=True
        ).stdout.split()[0])
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size + spare + 40}m", "tmpfs", str(mount)],
            check=True,
        )
        try:
            subprocess.run(["cp", "-a", str(store), str(mount / "store")], check=True)
            project = world.copy()
            filler = mount / "filler"
            free = os.statvfs(mount)
            with filler.open("wb") as file:
                file.write(bytes(max(0, free.f_bavail * free.f_frsize - (spare << 14))))
            done = world.run(*_BUILD, store=mount / "store", project=project)
            filler.unlink()
            yield world.judge(done, mount / "store", project)
        finally:
            subprocess.run(["umount", "-l", str(mount)], check=False)
            world.drop(store)


@row("too few open files allowed (EMFILE: 64, 32, 20, 12)")
def _files(world: World) -> Iterator[Trial]:
    for limit in (64, 32, 20, 12):
        store, project = world.store("files"), world.copy()
        prefix = ("prlimit", f"--nofile={limit}:{limit}")
        yield world.judge(
            world.run(*_BUILD, store=store, project=project, prefix=prefix), store, project,
            remark=str(limit),
        )
        world.drop(store)


@row("store on a read-only file system: build, ls, images, verify, gc")
def _read_only(world: World) -> Iterator[Trial]:
    store = world.store("ro")
    subprocess.run(["mount", "--bind", str(store), str(store)], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", str(store)], check=True)
    try:
        for arguments in (
            _BUILD, ("store", "ls"), ("images", "ls"), ("store", "verify"), ("store", "gc"),
        ):
            done = world.run(*arguments, store=store, project=world.copy())
            yield Trial("survived" if done.code == 0 else "clear" if done.clear else "unclear",
                        remark=f"{arguments[0]}: {done.said}" if done.code else "")
    finally:
        subprocess.run(["umount", "-l", str(store)], check=False)
        world.drop(store)


@row("store on overlayfs")
def _overlay(world: World) -> Iterator[Trial]:
    place = world.directory / "overlay"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)
    for name in ("l", "u", "w", "m"):
        (place / name).mkdir()
    options = f"lowerdir={place}/l,upperdir={place}/u,workdir={place}/w"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(place / "m")], check=True)
    try:
        done = world.run(*_BUILD, store=place / "m/store", project=world.copy())
        fast = "building" not in done.err
        yield Trial("clear" if done.clear and fast else "unclear", remark=done.said)
    finally:
        subprocess.run(["umount", "-l", str(place / "m"), str(place)], check=False)


@row("clock in 1971, 2001, 2045 (faketime)")
def _clock(world: World) -> Iterator[Trial]:
    for year in (1971, 2001, 2045):
        store, project = world.store("clock"), world.copy()
        prefix = ("faketime", "-f", f"@{year}-03-01 12:00:00")
        done = world.run(*_BUILD, store=store, project=project, prefix=prefix)
        yield world.judge(done, store, project, remark=str(year) if done.code else "")
        world.drop(store)


# -- damage -----------------------------------------------------------------------------------


def _damage(path: Path, how: str, at: float) -> None:
    """In a new file: the old one is linked to the prepared store's."""
    data = bytearray(path.read_bytes())
    path.unlink()
    if how == "flipped" and data:
        data[int(at * (len(data) - 1))] ^= 0xFF
    if how == "truncated":
        del data[len(data) // 2 :]
    if how != "deleted":
        path.write_bytes(data)


def _mend_and_judge(world: World, store: Path, project: Path, code: int) -> Trial:
    """`verify --repair` is what every message of damage names."""
    found = world.run("store", "verify", store=store, project=project)
    repaired = world.run("store", "verify", "--repair", store=store, project=project)
    said = world.run(*_BUILD, "-o", f"oci:{project}/x.tar", store=store, project=project)
    trial = world.judge(said, store, project)
    if found.code == 0 and code == 0:
        trial.remark += "verify saw nothing"
        trial.ended = "unclear"
    if repaired.code not in (0, 1) or "internal error" in repaired.err:
        trial.ended = "unclear"
    return trial


for _how in ("flipped", "truncated", "deleted"):

    @row(f"blob of a layer {_how}")
    def _blob(world: World, how: str = _how) -> Iterator[Trial]:
        store, project = world.store("blob"), world.copy()
        assert world.run(*_BUILD, store=store, project=project).code == 0
        blobs = sorted((store / "blobs/sha256").iterdir(), key=lambda p: -p.stat().st_size)
        _damage(blobs[0], how, world.random.random())
        out = project / "image.tar"
        done = world.run(*_BUILD, "-o", f"oci:{out}", store=store, project=project)
        if done.code == 0 and how != "deleted":
            checked = subprocess.run(
                ["skopeo", "copy", "-q", f"oci-archive:{out}", f"oci-archive:{out}2"], check=False,
                capture_output=True,
            )
            if checked.returncode:
                yield Trial("unclear", lost=True, remark="a damaged archive was written, status 0")
                return
        ended = "survived" if done.code == 0 else "clear" if done.clear else "unclear"
        trial = _mend_and_judge(world, store, project, done.code or 1)
        yield Trial(
            ended if trial.ended != "unclear" else "unclear", trial.lost,
            f"{done.said if done.code else ''} {trial.remark}".strip(),
        )
        world.drop(store)

    if _how == "truncated":
        continue

    @row(f"unpacked tree: a file {_how}")
    def _tree(world: World, how: str = _how) -> Iterator[Trial]:
        store, project = world.store("tree"), world.copy()
        names = [p / "etc/debian_version" for p in (store / "trees").iterdir()]
        found = [p for p in names if p.exists()]
        assert found
        for file in found:
            _damage(file, how, world.random.random())
        done = world.run(*_BUILD, store=store, project=project)
        if done.code == 0 and done.out.strip() != world.image:
            yield Trial("unclear", lost=True, remark="the damaged file is in the image")
        else:
            if done.code:
                world.run("store", "verify", "--repair", store=store, project=project)
            yield world.judge(done, store, project)
        world.drop(store)


for _how in ("deleted", "truncated", "torn", "flipped"):

    @row(f"database {_how}")
    def _database(world: World, how: str = _how) -> Iterator[Trial]:
        store, project = world.store("db"), world.copy()
        for name in ("db.sqlite-wal", "db.sqlite-shm"):
            (store / name).unlink(missing_ok=True)
        db = store / "db.sqlite"
        data = bytearray(db.read_bytes())
        if how == "deleted":
            db.unlink()
        elif how == "truncated":
            db.write_bytes(b"")
        elif how == "torn":
            db.write_bytes(data[: len(data) // 2])
        else:
            for offset in range(len(data) // 2, len(data), 997):
                data[offset] ^= 0xFF
            db.write_bytes(data)
        before = sum(1 for _ in (store / "blobs/sha256").iterdir())
        swept = world.run("store", "gc", store=store, project=project)
        after = sum(1 for _ in (store / "blobs/sha256").iterdir())
        done = world.run(*_BUILD, store=store, project=project)
        repaired = world.run("store", "verify", "--repair", store=store, project=project)
        clear = all(d.code == 0 or d.clear for d in (swept, done))
        trial = world.judge(done, store, project)
        if not clear or "internal error" in repaired.err:
            trial.ended = "unclear"
            trial.remark += f"; gc: {swept.err[-200:]!r}"
        if after < before / 2:
            trial.lost, trial.remark = True, f"gc removed {before - after} of {before} files"
        yield trial
        world.drop(store)


# -- many at once -----------------------------------------------------------------------------


@row("8 builds at once of one spec and of 8, with gc and prune looping")
def _at_once(world: World) -> Iterator[Trial]:
    for same in (True, False):
        store = world.store("many")
        projects = [world.copy("hello" if same else f"w{n}") for n in range(8)]
        over = threading.Event()

        def sweep(over: threading.Event = over, store: Path = store) -> list[str]:
            unclear = []
            while not over.is_set():
                for arguments in (("store", "gc"), ("prune", "--force")):
                    done = world.run(*arguments, store=store)
                    if done.code and not done.clear:
                        unclear.append(done.err[-200:])
                over.wait(1)
            return unclear

        with ThreadPoolExecutor(10) as pool:
            sweeping = pool.submit(sweep)
            ends = list(pool.map(
                lambda p, store=store: world.run(*_BUILD, store=store, project=p),  # type: ignore[misc]
                projects,
            ))
            over.set()
            swept = sweeping.result()
        images = {d.out.strip() for d in ends}
        good = all(d.code == 0 for d in ends) and len(images) == (1 if same else 8) and not swept
        bad = next((d.err[-300:] for d in ends if d.code), str(swept or images))
        yield Trial("survived" if good else "unclear", lost=not good, remark="" if good else bad)
        world.drop(store)


@row("3 locks at once in one project; 2 resolutions of two projects at once in one store")
def _locks(world: World) -> Iterator[Trial]:
    store = world.store("locks")
    one, two = world.copy(), world.copy()
    for project in (one, two):
        (project / "envd.lock").unlink()
    with ThreadPoolExecutor(4) as pool:
        ends = list(pool.map(
            lambda p: world.run("lock", store=store, project=p), (one, one, one, two)
        ))
    texts = {(p / "envd.lock").read_text() for p in (one, two) if (p / "envd.lock").exists()}
    strays = [p.name for p in one.iterdir() if p.name.startswith(".envd.lock")]
    good = all(d.code == 0 for d in ends) and len(texts) == 1 and not strays
    yield Trial("survived" if good else "unclear", lost=not good,
                remark="" if good else f"{[d.err[-150:] for d in ends if d.code]} {strays}")
    world.drop(store)


# -- the network ------------------------------------------------------------------------------


def _wheel(world: World, kinds: list[tuple[str, int]]) -> Iterator[Trial]:
    def one(given: tuple[str, int]) -> Trial:
        kind, times = given
        with site(world) as (bad, store, project):
            if kind in ("dies-on-range", "wrong-range"):
                first = Fault("close", ".whl", times=1)
                bad.faults[:] = [first, Fault(kind, ".whl")]
            else:
                bad.faults[:] = [Fault(kind, ".whl", times=times)]
            done = world.run(*_BUILD, store=store, project=project)
            bad.faults.clear()
            trial = world.judge(done, store, project)
            if trial.ended != "survived":
                trial.remark = f"{kind}: {trial.remark}"
            return trial

    with ThreadPoolExecutor(4) as pool:
        yield from pool.map(one, kinds)


@row("wheel, once or twice: drop, close, 500, 503, 429 with Retry-After, body too short")
def _wheel_once(world: World) -> Iterator[Trial]:
    yield from _wheel(world, [
        ("drop", 1), ("close", 2), ("500", 2), ("503after", 1), ("429after", 1), ("short", 1),
    ])  # fmt: skip


@row("wheel: Content-Length too large; server dies on Range; wrong Content-Range")
def _wheel_range(world: World) -> Iterator[Trial]:
    yield from _wheel(world, [("too-large", 1), ("dies-on-range", 0), ("wrong-range", 0)])


@row("wheel, always: drop, 500, 403, 404, wrong bytes, html, empty")
def _wheel_always(world: World) -> Iterator[Trial]:
    kinds = ("drop", "500", "403", "404", "wrong", "html", "empty")
    yield from _wheel(world, [(kind, 99) for kind in kinds])


@row("wheel, always: black hole, stall in the middle")
def _wheel_silent(world: World) -> Iterator[Trial]:
    yield from _wheel(world, [("hole", 99), ("stall", 99)])


@row("index while locking: 503, 429, drop once; 500, drop, html, black hole, stall always")
def _index(world: World) -> Iterator[Trial]:
    def one(given: tuple[str, int]) -> Trial:
        kind, times = given
        with site(world) as (bad, store, project):
            (project / "envd.lock").unlink()
            bad.faults[:] = [Fault(kind, "/simple/", times=times)]
            done = world.run("lock", store=store, project=project)
            ended = "survived" if done.code == 0 else "clear" if done.clear else "unclear"
            remark = f"{kind}: {done.err[-200:] if ended == 'unclear' else done.said}" \
                f" ({done.seconds:.0f} s)"
            half = (project / "envd.lock").exists() and done.code != 0
            return Trial(ended, half, remark if done.code else "")

    with ThreadPoolExecutor(4) as pool:
        yield from pool.map(one, [
            ("503", 1), ("429", 1), ("drop", 1), ("500", 99), ("drop", 99), ("html", 99),
            ("hole", 99), ("stall", 99),
        ])  # fmt: skip


@row("apt archive while locking: 500 once; 404, 500, drop, black hole always")
def _apt(world: World) -> Iterator[Trial]:
    def one(given: tuple[str, int]) -> Trial:
        kind, times = given
        with running(directory=world.directory) as bad:
            bad.faults[:] = [Fault(kind, times=times)]
            store, project = world.store("apt"), world.copy()
            (project / "envd.lock").unlink()
            world.write(project, BASE + '    install.apt_packages(["hello"])\n    config.apt_source('
                        f'source="deb [trusted=yes] http://{bad.address}/nothing stable main")\n')
            done = world.run("lock", store=store, project=project)
            world.drop(store)
        # there is no archive behind it: what comes after a fault that passes is a plain 404
        ended = "clear" if done.clear else "unclear"
        if kind == "500" and times == 1 and "retrying" not in done.err:
            ended = "unclear"
        return Trial(ended, remark=f"{kind}: "
                     f"{done.said if ended == 'clear' else done.err[-300:]} ({done.seconds:.0f} s)")

    with ThreadPoolExecutor(4) as pool:
        yield from pool.map(one, [("500", 1), ("404", 99), ("500", 99), ("drop", 99), ("hole", 99)])


# -- registries -------------------------------------------------------------------------------


def _registry(world: World, verb: str, cases: list[Fault]) -> Iterator[Trial]:
    def one(number: int, fault: Fault) -> Trial:
        store, project = world.store("registry", of=world.directory / "pushed"), world.copy()
        with running(behind=world.registry) as bad:
            # a repository that has nothing yet
            name = f"{bad.address}/{project.parent.name}/x:1"
            there = f"{world.registry}/{project.parent.name}/x:1"
            if verb == "pull":
                assert world.run("push", "-t", "s:1", there, store=store).code == 0
                world.drop(store)
                store = world.store("pull", of=world.directory / "empty")
            bad.faults[:] = [fault]
            arguments = ("push", "-t", "s:1", name) if verb == "push" else ("pull", name)
            done = world.run(*arguments, store=store, project=project)
            bad.faults.clear()
            ended = "survived" if done.code == 0 else "clear" if done.clear else "unclear"
            again = world.run(*arguments, store=store, project=project)
        lost = again.code != 0
        if done.code == 0 and verb == "push":
            whole = subprocess.run(
                ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{there}",
                 f"oci-archive:{project}/{number}.tar"], check=False, capture_output=True,
            )
            lost = lost or whole.returncode != 0
        remark = f"{fault.kind} {fault.method} {fault.path}: " \
            f"{done.err[-300:] if ended == 'unclear' else done.said} ({done.seconds:.0f} s)"
        if lost:
            remark += f"; again: {again.err[-200:]}"
        world.drop(store)
        return Trial(ended, lost, remark if done.code or lost else "")

    with ThreadPoolExecutor(4) as pool:
        yield from pool.map(one, range(len(cases)), cases)


@row("push, once: 500, 502, 429, drop in each kind of request")
def _push_once(world: World) -> Iterator[Trial]:
    yield from _registry(world, "push", [
        *(Fault(kind, "blobs", "PUT", 1) for kind in ("500", "drop", "429after")),
        Fault("500", "uploads", "PUT", 1), Fault("502", "blobs", "POST", 1),
        Fault("500", "blobs", "HEAD", 1), Fault("429", "blobs", "HEAD", 1),
        Fault("500", "manifests", "PUT", 1), Fault("429", "manifests", "PUT", 1),
    ])  # fmt: skip


@row("push, always: 500, drop, 404, 403, black hole")
def _push_always(world: World) -> Iterator[Trial]:
    yield from _registry(world, "push", [
        Fault("500", "uploads", "PUT"), Fault("drop", "uploads", "PUT"),
        Fault("404", "blobs", "POST"), Fault("403", "manifests", "PUT"),
        Fault("hole", "blobs", "HEAD"),
    ])  # fmt: skip


@row("pull, once: drop, close, 500, 429 of a blob or the manifest")
def _pull_once(world: World) -> Iterator[Trial]:
    yield from _registry(world, "pull", [
        Fault("drop", "blobs", "GET", 1), Fault("close", "blobs", "GET", 1),
        Fault("500", "blobs", "GET", 1), Fault("429after", "blobs", "GET", 1),
        Fault("500", "manifests", "GET", 1), Fault("429", "manifests", "GET", 1),
    ])  # fmt: skip


@row("pull, always: drop, wrong bytes, 404, black hole")
def _pull_always(world: World) -> Iterator[Trial]:
    yield from _registry(world, "pull", [
        Fault("drop", "blobs", "GET"), Fault("wrong", "blobs", "GET"),
        Fault("404", "blobs", "GET"), Fault("hole", "blobs", "GET"),
    ])  # fmt: skip


@row("SIGINT and SIGTERM during push and pull into a black hole")
def _interrupted_registry(world: World) -> Iterator[Trial]:
    for verb, number in (("push", signal.SIGINT), ("pull", signal.SIGTERM)):
        store = world.store("interrupted", of=world.directory / "pushed")
        with running(behind=world.registry) as bad:
            bad.faults[:] = [Fault("hole", "x/")]
            name = f"{bad.address}/hole/x:1"
            arguments = ("push", "-t", "s:1", name) if verb == "push" else ("pull", name)
            process = world.start(*arguments, store=store, project=world.project)
            end = time.monotonic() + 60
            while len(bad.asked) < 2 and time.monotonic() < end:
                time.sleep(0.02)
            process.send_signal(number)
            done = world.end(process)
        quick = done.seconds < 5
        yield Trial("clear" if done.clear and quick else "unclear",
                    remark=f"{verb}: {done.said} ({done.seconds:.1f} s)")
        world.drop(store)


@row("gc while a push runs and its tag is built anew")
def _gc_during_push(world: World) -> Iterator[Trial]:
    store, project = world.store("gc-push"), world.copy()
    with running(behind=world.registry) as bad:
        process = world.start("push", f"{bad.address}/gc/x:1", store=store, project=project)
        end = time.monotonic() + 120
        while not bad.asked and time.monotonic() < end:
            time.sleep(0.02)
        world.write(project, word="other")
        world.run(*_BUILD[:2], store=store, project=project)
        swept = world.run("store", "gc", store=store, project=project)
        done = world.end(process)
    good = done.code == 0 and swept.code == 0
    yield Trial("survived" if good else "unclear", lost=not good,
                remark="" if good else done.err[-200:] + swept.err[-200:])
    world.drop(store)


# -- Docker -----------------------------------------------------------------------------------


@row("Docker: absent (build, up, envs), 2 loads at once, killed in the middle of a load, stopped")
def _docker(world: World) -> Iterator[Trial]:
    store, project = world.store("docker", of=world.directory / "pushed"), world.copy()
    nowhere = {"DOCKER_HOST": f"unix://{world.directory}/nothing.sock"}
    for arguments in (("build", "--locked"), ("up", "--detach"), ("envs",), ("envs", "list")):
        done = world.run(*arguments, store=store, project=project, environment=nowhere)
        yield Trial("survived" if done.code == 0 else "clear" if done.clear else "unclear",
                    remark=f"{arguments[0]}: {done.said}")
    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(
            lambda _: world.run("build", "--locked", store=store, project=project), range(2)
        ))
    good = all(d.code == 0 for d in ends)
    yield Trial("survived" if good else "unclear",
                remark="" if good else str([d.err[-200:] for d in ends]))
    for number in (signal.SIGKILL, signal.SIGSTOP):
        with servers.docker_engine() as host:
            pid = int((Path(host.removeprefix("unix://")).parent / "pid").read_text())
            process = world.start(
                "build", "--locked", store=store, project=project, environment={"DOCKER_HOST": host}
            )
            time.sleep(world.random.uniform(0.8, 2.0))
            os.kill(pid, number)
            if number == signal.SIGSTOP:
                time.sleep(3)
                process.send_signal(signal.SIGINT)
            done = world.end(process)
            if number == signal.SIGSTOP:
                os.kill(pid, signal.SIGCONT)
        trial = world.judge(done, store, project)
        trial.remark = f"{number.name}: {trial.remark}"
        yield trial
    world.drop(store)


def make_pushed(world: World) -> None:
    """A store that keeps the image as "s:1", and an empty one."""
    store = world.store("pushed")
    done = world.run("build", "--no-load", "--locked", "-t", "s:1", store=store)
    assert done.code == 0, done.err[-2000:]
    store.rename(world.directory / "pushed")
    (world.directory / "empty").mkdir()
    assert world.run("store", "ls", store=world.directory / "empty").code == 0


__all__ = ["ROWS", "make_pushed"]
