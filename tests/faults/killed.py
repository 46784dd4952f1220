"""Rows of commands that are killed, interrupted and ended."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.rows import BUILD, processes, row, site
from tests.faults.server import Bad, Fault
from tests.faults.world import Done, Trial, World

_KILL, _TERM = signal.SIGKILL, signal.SIGTERM


def _builds(world: World, number: signal.Signals, trials: int, *, cold: bool) -> Iterator[Trial]:
    for _ in range(trials):
        store, project = world.store("killed"), world.copy()
        arguments = (*BUILD, "--force") if cold else BUILD
        process = world.start(*arguments, store=store, project=project)
        time.sleep(world.random.uniform(0.3, 12.0 if cold else 4.0))
        process.send_signal(number)
        done = world.end(process)
        time.sleep(0.5)
        left = processes(store)
        trial = world.judge(done, store, project, killed=number == _KILL)
        if left:
            trial.ended, trial.remark = "unclear", f"left running: {left[:2]}"
        if number != _KILL and done.seconds > 10:
            trial.ended, trial.remark = "unclear", f"took {done.seconds:.0f} s to end"
        world.drop(store)
        yield trial


for _number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    row(f"{_number.name} at a random moment of build, warm")(
        lambda world, number=_number: _builds(world, number, 3, cold=False)  # type: ignore[misc]
    )
    row(f"{_number.name} at a random moment of build, everything built anew", debian=True)(
        lambda world, number=_number: _builds(world, number, 1, cold=True)  # type: ignore[misc]
    )


@row("SIGKILL in the first moments of a step")
def _first_moments(world: World) -> Iterator[Trial]:
    for _ in range(6):
        store, project = world.store("moments"), world.copy(word=str(world.random.random()))
        process = world.start(*BUILD, store=store, project=project)
        end = time.monotonic() + 60
        while time.monotonic() < end and not any((store / "tmp").glob("run-*")):
            time.sleep(0.001)
        time.sleep(world.random.uniform(0, 0.04))
        process.kill()
        world.end(process)
        time.sleep(0.5)
        left = processes(store)
        yield Trial("unclear" if left else "survived", remark=str(left[:2]) if left else "")
        world.drop(store)


@row("SIGINT, SIGTERM and SIGHUP while downloading from a black hole, a stall, 0.5 kB/s")
def _downloads(world: World) -> Iterator[Trial]:
    for kind, number in (
        ("hole", signal.SIGINT),
        ("stall", signal.SIGTERM),
        ("slow", signal.SIGHUP),
        ("slow", signal.SIGINT),
    ):
        with site(world) as (bad, store, project):
            bad.faults[:] = [Fault(kind, ".whl")]
            process = world.start(*BUILD, store=store, project=project)
            _asked(bad)
            time.sleep(0.5)
            process.send_signal(number)
            done = world.end(process)
            bad.faults.clear()
            trial = world.judge(done, store, project, remark=f"ended after {done.seconds:.1f} s")
            if done.seconds > 5:
                trial.ended = "unclear"
            yield trial


def _asked(bad: Bad, times: int = 1) -> None:
    end = time.monotonic() + 60
    while len(bad.asked) < times and time.monotonic() < end:
        time.sleep(0.02)


# What else is killed: SIGKILL twice and SIGTERM once, at a random moment of the time that the
# command takes when it is left alone.


def _stopped(
    world: World, number: signal.Signals, longest: float, *arguments: str, store: Path, project: Path
) -> Done:
    process = world.start(*arguments, store=store, project=project)
    time.sleep(world.random.uniform(0.05, longest))
    process.send_signal(number)
    return world.end(process)


def _ended(trial: Trial, done: Done, number: signal.Signals, store: Path) -> Trial:
    time.sleep(0.3)
    if left := processes(store):
        return Trial("unclear", trial.lost, f"left running: {left[:2]}")
    if number == _TERM and done.seconds > 10:
        return Trial("unclear", trial.lost, f"took {done.seconds:.0f} s to end")
    return trial


@row("SIGKILL (3) and SIGTERM (1) at a random moment of lock")
def _locks(world: World) -> Iterator[Trial]:
    wanted = (world.project / "envd.lock").read_text()
    for number in (_KILL, _KILL, _KILL, _TERM):
        store, project = world.store("lock-killed"), world.copy()
        lock = project / "envd.lock"
        lock.unlink()
        done = _stopped(world, number, 4.0, "lock", store=store, project=project)
        half = lock.exists() and lock.read_text() != wanted
        again = world.run("lock", store=store, project=project)
        trial = world.judge(done, store, project, killed=number == _KILL)
        if half or again.code or lock.read_text() != wanted:
            trial.lost, trial.remark = True, f"half a lock: {half}; again: {again.err[-200:]}"
        world.drop(store)
        yield _ended(trial, done, number, store)


@row("SIGKILL (3) and SIGTERM (1) at a random moment of gc and of prune, with garbage")
def _sweeps(world: World) -> Iterator[Trial]:
    for number, command in (
        (_KILL, ("store", "gc")),
        (_KILL, ("prune",)),
        (_KILL, ("store", "gc")),
        (_TERM, ("store", "gc")),
    ):
        store = world.store("gc-killed", of=world.directory / "pushed")
        project = world.copy()
        kept = world.run("images", "ls", "-f", "json", store=store).out
        # Garbage: a step that nothing names any more.
        world.write(project, word=str(world.random.random()))
        assert world.run(*BUILD, store=store, project=project).code == 0
        world.write(project)
        assert world.run(*BUILD, store=store, project=project).code == 0
        done = _stopped(world, number, 1.5, *command, store=store, project=project)
        trial = world.judge(done, store, project, killed=number == _KILL)
        swept = world.run("store", "gc", store=store, project=project)
        there = world.run("images", "ls", "-f", "json", store=store).out
        if swept.code or ('"s:1"' in kept and '"s:1"' not in there):
            trial.lost, trial.remark = True, f"afterwards: {swept.err[-200:]} {there[-200:]}"
        world.drop(store)
        yield _ended(trial, done, number, store)


@row("SIGKILL (2) and SIGTERM (1) at a random moment of verify --repair of a damaged store")
def _repairs(world: World) -> Iterator[Trial]:
    for number in (_KILL, _KILL, _TERM):
        store = world.store("repair-killed", of=world.directory / "reference")
        project = world.copy()
        blobs = sorted((store / "blobs/sha256").iterdir(), key=lambda p: -p.stat().st_size)
        mode, data = blobs[0].stat().st_mode, blobs[0].read_bytes()
        blobs[0].unlink()
        blobs[0].write_bytes(data[: len(data) // 2])
        blobs[0].chmod(mode & 0o777)
        repair = ("store", "verify", "--repair")
        done = _stopped(world, number, 2.0, *repair, store=store, project=project)
        again = world.run(*repair, store=store, project=project)
        trial = world.judge(done, store, project, killed=number == _KILL)
        if again.code not in (0, 1):
            trial.lost, trial.remark = True, f"again: {again.err[-200:]}"
        world.drop(store)
        yield _ended(trial, done, number, store)


@row("SIGKILL (2) and SIGTERM (1) at a random moment of push and of pull")
def _transfers(world: World) -> Iterator[Trial]:
    for count, number in enumerate((_KILL, _KILL, _TERM)):
        for verb in ("push", "pull"):
            pushed = world.store("push-killed", of=world.directory / "pushed")
            project = world.copy()
            name = f"{world.registry}/killed-{count}-{verb}/x:1"
            push = ("push", "-t", "s:1", name)
            store, command = pushed, list(push)
            if verb == "pull":
                assert world.run(*push, store=pushed).code == 0
                store, command = world.store("pull", of=world.directory / "empty"), ["pull", name]
            done = _stopped(world, number, 2.5, *command, store=store, project=project)
            again = world.run(*command, store=store, project=project)
            verified = world.run("store", "verify", store=store)
            whole = subprocess.run(
                [
                    "skopeo",
                    "copy",
                    "-q",
                    "--src-tls-verify=false",
                    f"docker://{name}",
                    f"oci-archive:{project}/whole.tar",
                ],
                check=False,
                capture_output=True,
            )
            lost = bool(again.code or verified.code or whole.returncode)
            trial = done.trial(f"{number.name} of {verb}", lost=lost)
            if number == _KILL:
                trial.ended = "survived"
                trial.remark = again.err[-200:] + verified.out[-200:] if lost else ""
            world.drop(store)
            world.drop(pushed)
            yield _ended(trial, done, number, store)
