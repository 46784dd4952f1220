"""Rows of many commands at once."""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from tests.faults.rows import BUILD, row
from tests.faults.world import Trial, World


@row("8 builds at once of one spec and of 8, with gc and prune looping")
def _at_once(world: World) -> Iterator[Trial]:
    for same in (True, False):
        store = world.store("many")
        projects = [world.copy("hello" if same else f"w{n}") for n in range(8)]
        over = threading.Event()

        def sweep(over: threading.Event = over, store: Path = store) -> list[str]:
            unclear = []
            while not over.is_set():
                for arguments in (("store", "gc"), ("prune",)):
                    done = world.run(*arguments, store=store)
                    if done.code and not done.clear:
                        unclear.append(done.err[-200:])
                over.wait(1)
            return unclear

        with ThreadPoolExecutor(10) as pool:
            sweeping = pool.submit(sweep)
            ends = list(pool.map(lambda p, store=store: world.run(*BUILD, store=store, project=p), projects))
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
        ends = list(pool.map(lambda p: world.run("lock", store=store, project=p), (one, one, one, two)))
    texts = {(p / "envd.lock").read_text() for p in (one, two) if (p / "envd.lock").exists()}
    strays = [p.name for p in one.iterdir() if p.name.startswith(".envd.lock")]
    good = all(d.code == 0 for d in ends) and len(texts) == 1 and not strays
    yield Trial(
        "survived" if good else "unclear",
        lost=not good,
        remark="" if good else f"{[d.err[-150:] for d in ends if d.code]} {strays}",
    )
    world.drop(store)


@row("the database's write lock held by another process until a build waits, and for ever")
def _database_held(world: World) -> Iterator[Trial]:
    reference = world.store("free")
    image = world.run(*BUILD, store=reference, project=world.copy("held")).out.strip()
    world.drop(reference)
    for ever in (False, True):
        store, project = world.store("held", of=world.directory / "pushed"), world.copy("held")
        with closing(
            sqlite3.connect(store / "db.sqlite", isolation_level=None, check_same_thread=False)
        ) as other:
            other.execute("BEGIN IMMEDIATE")
            process = world.start(*BUILD, store=store, project=project)
            told = world.told(process, "waiting for another process")
            for arguments in (("store", "ls"), ("images", "ls"), ("store", "roots")):
                if ever and process.poll() is None:
                    yield world.run(*arguments, store=store).trial(f"{arguments}")
            if not ever:
                other.execute("ROLLBACK")
            done = world.end(process)
            done = replace(done, err=told + done.err)
        trial = world.judge(done, store, project, image=image)
        if "waiting for another process" not in done.err:
            trial.ended, trial.remark = "unclear", f"waits in silence: {done.err[-200:]}"
        world.drop(store)
        yield trial


@row("a store's lock held by a process that is stopped (SIGSTOP): another build waits, and says so")
def _lock_held(world: World) -> Iterator[Trial]:
    store = world.store("stopped")
    slow = world.spec(steps='    run(["echo {word} > /etc/word", "sleep 3"])\n')
    one, two = world.copy(body=slow), world.copy(body=slow)
    first = world.start(*BUILD, store=store, project=one)
    end = time.monotonic() + 60
    while time.monotonic() < end and not any((store / "tmp").glob("run-*")):
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)
    second = world.start(*BUILD, store=store, project=two)
    told = world.told(second, "waiting for process")
    waits = second.poll() is None
    first.send_signal(signal.SIGCONT)
    ends = [world.end(first), world.end(second)]
    trial = world.judge(ends[1], store, two, image=ends[0].out.strip())
    if not waits or "waiting for process" not in told or ends[0].code:
        trial.ended, trial.remark = "unclear", f"{[done.err[-200:] for done in ends]}"
    world.drop(store)
    yield trial
