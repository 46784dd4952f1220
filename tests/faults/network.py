"""Rows of bad web servers: of a wheel's file, and of an index."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from tests.faults.rows import BUILD, row, site
from tests.faults.server import Fault
from tests.faults.world import Trial, World
from tests.integration import servers


def _wheel(world: World, kinds: list[tuple[str, int]]) -> Iterator[Trial]:
    def one(given: tuple[str, int]) -> Trial:
        kind, times = given
        with site(world) as (bad, store, project):
            if kind in ("dies-on-range", "wrong-range"):
                first = Fault("close", ".whl", times=1)
                bad.faults[:] = [first, Fault(kind, ".whl")]
            else:
                bad.faults[:] = [Fault(kind, ".whl", times=times)]
            done = world.run(*BUILD, store=store, project=project)
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


@row("wheel, always: drop, 500, 403, 404, wrong bytes, html, empty, redirected in a circle")
def _wheel_always(world: World) -> Iterator[Trial]:
    kinds = ("drop", "500", "403", "404", "wrong", "html", "empty", "loop")
    yield from _wheel(world, [(kind, 99) for kind in kinds])


@row("wheel, always: black hole, stall in the middle")
def _wheel_silent(world: World) -> Iterator[Trial]:
    yield from _wheel(world, [("hole", 99), ("stall", 99)])


@row("wheel, index, registry: nobody listens (connection refused), no such host")
def _nobody(world: World) -> Iterator[Trial]:
    for host in (f"127.0.0.1:{servers.free_port()}", "no-such-host.invalid"):
        store, project = world.store("nobody"), world.copy()
        kept = {}
        for name in ("build.envd", "envd.lock"):
            kept[name] = (project / name).read_text()
            (project / name).write_text(kept[name].replace(world.bad.address, host))
        done = world.run(*BUILD, store=store, project=project)
        yield done.trial(f"build, {host.partition(':')[0]}")
        (project / "envd.lock").unlink()
        done = world.run("lock", store=store, project=project)
        yield done.trial("lock", lost=(project / "envd.lock").exists())
        for name, text in kept.items():
            (project / name).write_text(text)
        yield world.judge(world.run(*BUILD, store=store, project=project), store, project)
        world.drop(store)
        pushed = world.store("nobody", of=world.directory / "pushed")
        name = f"{host}/nobody/x:1"
        for arguments in (("push", "-t", "s:1", name), ("pull", name)):
            yield world.run(*arguments, store=pushed).trial(arguments[0])
        world.drop(pushed)


@row("index while locking: 503, 429, drop once; 500, drop, html, circle, black hole, stall always")
def _index(world: World) -> Iterator[Trial]:
    def one(given: tuple[str, int]) -> Trial:
        kind, times = given
        with site(world) as (bad, store, project):
            (project / "envd.lock").unlink()
            bad.faults[:] = [Fault(kind, "/simple/", times=times)]
            done = world.run("lock", store=store, project=project)
            return done.trial(kind, lost=(project / "envd.lock").exists() and done.code != 0)

    with ThreadPoolExecutor(4) as pool:
        yield from pool.map(one, [
            ("503", 1), ("429", 1), ("drop", 1), ("500", 99), ("drop", 99), ("html", 99),
            ("loop", 99), ("hole", 99), ("stall", 99),
        ])  # fmt: skip
