"""Rows of bad apt archives, while locking and while building, and of apt and dpkg killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tests.faults.rows import BUILD, processes, row
from tests.faults.server import Bad, Fault, running
from tests.faults.world import SUITE, Done, Trial, World

_MORE = '    install.apt_packages(["{package}"])\n'


def _project(world: World, address: str, package: str = "faulty") -> Path:
    """A project with one more package, of the archive at `address`, without a lock."""
    body = world.spec(more=_MORE.format(package=package))
    project = world.copy(body=body.replace(world.debs.address, address))
    (project / "envd.lock").unlink()
    return project


def _release(world: World, what: str) -> bytes:
    """An InRelease that does not go with the archive's lists: of another time, or one that says
    that it is (the key is the archive's own)."""
    text = (world.directory.parent / f"debs/dists/{SUITE}/Release").read_text()
    date = next(line for line in text.splitlines() if line.startswith("Date: "))
    if what == "newer":  # the lists' hashes are not those that the lists have
        text = "".join(
            line.replace(line.split()[0], "0" * len(line.split()[0]))
            if line.startswith(" ") and line.rstrip().endswith("/Packages")
            else line
            for line in text.splitlines(keepends=True)
        )
    if what == "future":
        text = text.replace(date, "Date: Sun, 01 Mar 2099 12:00:00 UTC")
    if what == "expired":
        text = text.replace(
            date, "Date: Thu, 01 Mar 2001 12:00:00 UTC\nValid-Until: Thu, 08 Mar 2001 12:00:00 UTC"
        )
    done = subprocess.run(
        ["gpg", "--batch", "--quiet", "--homedir", str(world.key.home), "--clearsign"],
        input=text.encode(),
        capture_output=True,
        check=True,
    )
    return done.stdout


def _locked(world: World, what: str, *faults: Fault) -> Trial:
    with running(behind=world.debs.address) as bad:
        store, project = world.store("apt"), _project(world, bad.address)
        bad.faults[:] = faults
        done = world.run("lock", store=store, project=project)
        bad.faults.clear()
        half = done.code != 0 and (project / "envd.lock").exists()
        again = world.run("lock", store=store, project=project)
        verified = world.run("store", "verify", store=store)
        world.drop(store)
    lost = half or bool(again.code or verified.code)
    trial = done.trial(what, lost=lost)
    if lost:
        trial.remark += f"; half a lock: {half}; again: {again.err[-200:]}"
    return trial


@row("apt archive while locking, once: 500, 503, drop, half of Packages, wrong Packages", debian=True)
def _once(world: World) -> Iterator[Trial]:
    with ThreadPoolExecutor(4) as pool:
        yield from pool.map(lambda given: _locked(world, *given), [
            ("500", Fault("500", times=1)), ("503", Fault("503", "Packages", times=1)),
            ("drop", Fault("drop", times=1)), ("half", Fault("close", "Packages", times=1)),
            ("wrong", Fault("wrong", "Packages", times=1)),
        ])  # fmt: skip


@row("apt archive while locking, always: 404, 500, drop, html, a circle, black hole", debian=True)
def _always(world: World) -> Iterator[Trial]:
    with ThreadPoolExecutor(6) as pool:
        yield from pool.map(
            lambda kind: _locked(world, kind, Fault(kind)), ["404", "500", "drop", "html", "loop", "hole"]
        )


@row("apt archive gone half way: Packages 404, 500, drop, stall, after its InRelease", debian=True)
def _half(world: World) -> Iterator[Trial]:
    with ThreadPoolExecutor(4) as pool:
        yield from pool.map(
            lambda kind: _locked(world, f"{kind} Packages", Fault(kind, "Packages")),
            ["404", "500", "drop", "stall"],
        )


@row(
    "apt archive: Hash Sum mismatch, InRelease damaged, of another time, of the future, expired", debian=True
)
def _mismatch(world: World) -> Iterator[Trial]:
    yield _locked(world, "Packages wrong", Fault("wrong", "Packages"))
    yield _locked(world, "Packages cut off", Fault("short", "Packages"))
    yield _locked(world, "InRelease damaged", Fault("wrong", "Release"))
    yield _locked(world, "InRelease empty", Fault("empty", "Release"))
    for what in ("newer", "future", "expired"):
        body = _release(world, what)
        yield _locked(
            world, f"InRelease {what}", Fault("body", "InRelease", body=body), Fault("404", "Release")
        )


def _of(store: Path, name: str) -> list[int]:
    """Processes with that program name that have to do with a store."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            environment = (path / "environ").read_bytes() + (path / "cmdline").read_bytes()
            if (path / "comm").read_text().strip() == name and str(store).encode() in environment:
                found.append(int(path.name))
    return found


def _while_stalled(world: World, bad: Bad, store: Path, project: Path, victim: str) -> Done:
    """Lock from an archive that stalls in its Packages, and SIGKILL apt, or envd, or interrupt it."""
    bad.faults[:] = [Fault("stall", "Packages", times=1 if victim == "apt-get" else 99)]
    process = world.start("lock", store=store, project=project)
    end = time.monotonic() + 60
    while not any("Packages" in path for _, path in bad.asked) and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.5)
    if victim == "apt-get":
        for pid in _of(store, victim):
            os.kill(pid, signal.SIGKILL)
    else:
        process.send_signal(signal.SIGKILL if victim == "envd" else signal.SIGINT)
    done = world.end(process)
    bad.faults.clear()
    return done


@row("apt killed in the middle of its update; envd killed and interrupted there", debian=True)
def _apt_killed(world: World) -> Iterator[Trial]:
    for victim in ("apt-get", "envd", "SIGINT"):
        with running(behind=world.debs.address) as bad:
            store, project = world.store("apt-killed"), _project(world, bad.address)
            done = _while_stalled(world, bad, store, project, victim)
            half = (project / "envd.lock").exists() and done.code != 0
            time.sleep(1)
            left = processes(store)
            again = world.run("lock", store=store, project=project)
            verified = world.run("store", "verify", store=store)
        lost = half or bool(again.code or verified.code)
        trial = done.trial(f"{victim} killed", lost=lost)
        if victim == "envd" and not lost:
            trial = Trial("survived")
        if left:
            trial.ended, trial.remark = "unclear", f"{victim}: left running: {left[:2]}"
        if lost:
            trial.remark += f"; again: {again.err[-200:]}"
        world.drop(store)
        yield trial


@row(".deb while building: once cut off; 404, drop, cut off, wrong, html, circle always", debian=True)
def _debs(world: World) -> Iterator[Trial]:
    # One archive, so that there is one base: the trials come one after the other.
    store, project = world.store("debs"), _project(world, world.debs.address)
    assert world.run("lock", store=store, project=project).code == 0
    reference = world.store("debs")
    image = world.run(*BUILD, store=reference, project=project).out.strip()
    world.drop(reference)
    for kind, times in (
        ("close", 1),
        ("404", 99),
        ("drop", 99),
        ("close", 99),
        ("short", 99),
        ("wrong", 99),
        ("html", 99),
        ("loop", 99),
    ):
        store = world.store("debs")
        world.debs.faults[:] = [Fault(kind, "/faulty_", times=times)]
        done = world.run(*BUILD, store=store, project=project)
        world.debs.faults.clear()
        yield world.judge(done, store, project, image=image, remark=kind if done.code else "")
        world.drop(store)


@row("dpkg killed in the middle of an installation; envd killed there", debian=True)
def _dpkg_killed(world: World) -> Iterator[Trial]:
    store, project = world.store("dpkg"), _project(world, world.debs.address, "sleepy")
    assert world.run("lock", store=store, project=project).code == 0
    image = world.run(*BUILD, store=store, project=project).out.strip()
    world.drop(store)
    for victim in ("dpkg", "envd"):
        store = world.store("dpkg-killed")
        process = world.start(*BUILD, store=store, project=project)
        found: list[int] = []
        end = time.monotonic() + 120
        while process.poll() is None and not found and time.monotonic() < end:
            found = _installing()
            time.sleep(0.02)
        time.sleep(world.random.uniform(0, 1))
        if victim == "dpkg":
            for pid in _installing():
                os.kill(pid, signal.SIGKILL)
        else:
            process.kill()
        done = world.end(process)
        trial = world.judge(
            done,
            store,
            project,
            image=image,
            killed=victim == "envd",
            remark=f"{victim} killed" if done.code else "",
        )
        if not found:
            trial.ended, trial.remark = "unclear", f"dpkg was never seen: {done.err[-200:]}"
        world.drop(store)
        yield trial


def _installing() -> list[int]:
    """The dpkgs that install "sleepy"."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (path / "comm").read_text().strip() == "dpkg" and b"/sleepy_1.0" in (
                path / "cmdline"
            ).read_bytes():
                found.append(int(path.name))
    return found
