"""Rows of bad registries."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from tests.faults.rows import BUILD, row
from tests.faults.server import Fault, Registry, running
from tests.faults.world import Trial, World


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
            again = world.run(*arguments, store=store, project=project)
        lost = again.code != 0
        if done.code == 0 and verb == "push":
            whole = subprocess.run(
                [
                    "skopeo",
                    "copy",
                    "-q",
                    "--src-tls-verify=false",
                    f"docker://{there}",
                    f"oci-archive:{project}/{number}.tar",
                ],
                check=False,
                capture_output=True,
            )
            lost = lost or whole.returncode != 0
        if verb == "pull":
            lost = lost or world.run("store", "verify", store=store).code != 0
        trial = done.trial(f"{fault.kind} {fault.method} {fault.path}", lost=lost)
        if lost:
            trial.remark += f"; again: {again.err[-200:]}"
        world.drop(store)
        return trial

    with ThreadPoolExecutor(6) as pool:
        yield from pool.map(one, range(len(cases)), cases)


@row("push, once: 500, 502, 429, drop in each kind of request")
def _push_once(world: World) -> Iterator[Trial]:
    yield from _registry(world, "push", [
        *(Fault(kind, "blobs", "PUT", 1) for kind in ("500", "drop", "429after")),
        Fault("500", "uploads", "PUT", 1), Fault("502", "blobs", "POST", 1),
        Fault("500", "blobs", "HEAD", 1), Fault("429", "blobs", "HEAD", 1),
        Fault("500", "manifests", "PUT", 1), Fault("429", "manifests", "PUT", 1),
    ])  # fmt: skip


@row("push, always: 500, drop, 404, 403, a circle, black holes, 201 and nothing kept, a lying HEAD")
def _push_always(world: World) -> Iterator[Trial]:
    yield from _registry(world, "push", [
        Fault("500", "uploads", "PUT"), Fault("drop", "uploads", "PUT"),
        Fault("404", "blobs", "POST"), Fault("403", "manifests", "PUT"),
        Fault("hole", "blobs", "HEAD"), Fault("hole", "uploads", "PUT"),
        Fault("hole", "manifests", "PUT"), Fault("loop", "blobs", "POST"),
        Fault("kept-nothing", "uploads", "PUT"), Fault("kept-nothing", "manifests", "PUT"),
        Fault("200", "blobs", "HEAD"),
    ])  # fmt: skip


@row("pull, once: drop, close, 500, 429 of a blob or the manifest")
def _pull_once(world: World) -> Iterator[Trial]:
    yield from _registry(world, "pull", [
        Fault("drop", "blobs", "GET", 1), Fault("close", "blobs", "GET", 1),
        Fault("500", "blobs", "GET", 1), Fault("429after", "blobs", "GET", 1),
        Fault("500", "manifests", "GET", 1), Fault("429", "manifests", "GET", 1),
    ])  # fmt: skip


@row("pull, always: drop, wrong bytes, 404, a circle, black hole, stall in the middle, html")
def _pull_always(world: World) -> Iterator[Trial]:
    yield from _registry(world, "pull", [
        Fault("drop", "blobs", "GET"), Fault("wrong", "blobs", "GET"),
        Fault("404", "blobs", "GET"), Fault("hole", "blobs", "GET"), Fault("loop", "blobs", "GET"),
        Fault("stall", "blobs", "GET"), Fault("wrong", "manifests", "GET"),
        Fault("html", "manifests", "GET"), Fault("html", "blobs", "GET"),
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
        yield Trial(
            "clear" if done.clear and quick else "unclear",
            remark=f"{verb}: {done.said} ({done.seconds:.1f} s)",
        )
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
        world.run(*BUILD[:2], store=store, project=project)
        swept = world.run("store", "gc", store=store, project=project)
        done = world.end(process)
    good = done.code == 0 and swept.code == 0
    yield Trial(
        "survived" if good else "unclear",
        lost=not good,
        remark="" if good else done.err[-200:] + swept.err[-200:],
    )
    world.drop(store)


@row("the registry is killed in the middle of a push and of a pull: back after 2 s; for ever")
def _killed(world: World) -> Iterator[Trial]:
    for verb in ("push", "pull"):
        for comes_back in (True, False):
            yield _one_killed(world, verb, comes_back)


def _one_killed(world: World, verb: str, comes_back: bool) -> Trial:
    place = world.directory / f"registry-{verb}-{comes_back}"
    place.mkdir()
    registry = Registry(place)
    pushed = world.store("registry", of=world.directory / "pushed")
    name = f"{registry.address}/x:1"
    push = ("push", "-t", "s:1", f"{registry.address}/x:1")
    registry.start()
    try:
        registry.wait()
        store = pushed
        if verb == "pull":
            assert world.run(*push, store=pushed).code == 0
            store = world.store("pull", of=world.directory / "empty")
        with running(behind=registry.address) as bad:
            seen = name.replace(registry.address, bad.address)
            stop = (lambda: registry.back(2)) if comes_back else registry.kill
            method = "PUT" if verb == "push" else "GET"
            bad.faults[:] = [Fault("drop", "blobs", method, times=1, call=stop)]
            arguments = ("push", "-t", "s:1", seen) if verb == "push" else ("pull", seen)
            done = world.run(*arguments, store=store)
            if not comes_back:
                registry.start()
            registry.wait()
            again = world.run(*arguments, store=store)
        verified = world.run("store", "verify", store=store)
        whole = subprocess.run(
            [
                "skopeo",
                "copy",
                "-q",
                "--src-tls-verify=false",
                f"docker://{name}",
                f"oci-archive:{place}/whole.tar",
            ],
            check=False,
            capture_output=True,
        )
    finally:
        registry.kill()
    world.drop(store)
    world.drop(pushed)
    lost = bool(again.code or verified.code or whole.returncode)
    trial = done.trial(f"{verb}, {'back' if comes_back else 'gone'}", lost=lost)
    if lost:
        trial.remark += f"; again: {again.err[-200:]} {verified.out[-100:]}"
    return trial
