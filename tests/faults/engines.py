"""Rows of a Docker engine that is absent, killed, stopped or full, and of environments in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.rows import disk, row
from tests.faults.world import Done, Trial, World
from tests.integration import servers


def _pid(host: str) -> int:
    return int((Path(host.removeprefix("unix://")).parent / "pid").read_text())


def _has(host: str, image: str) -> bool:
    """Whether an engine has the image, and can write it out whole."""
    done = subprocess.run(
        ["docker", "--host", host, "save", image],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode == 0


@row("Docker: absent (build, up, envs), 2 loads at once")
def _absent(world: World) -> Iterator[Trial]:
    store, project = world.store("docker", of=world.directory / "pushed"), world.copy()
    nowhere = {"DOCKER_HOST": f"unix://{world.directory}/nothing.sock"}
    for arguments in (("build", "--locked"), ("up", "--detach"), ("envs",), ("envs", "list")):
        done = world.run(*arguments, store=store, project=project, environment=nowhere)
        yield done.trial(arguments[0])
    with ThreadPoolExecutor(2) as pool:
        ends = list(
            pool.map(lambda _: world.run("build", "--locked", store=store, project=project), range(2))
        )
    good = all(d.code == 0 for d in ends) and _has(world.docker, world.image)
    yield Trial(
        "survived" if good else "unclear",
        lost=not good,
        remark="" if good else str([d.err[-200:] for d in ends]),
    )
    world.drop(store)


@row("Docker killed (SIGKILL) at three random moments of a load; the same load afterwards")
def _killed(world: World) -> Iterator[Trial]:
    for _ in range(3):
        store, project = world.store("docker", of=world.directory / "pushed"), world.copy()
        with servers.docker_engine() as host:
            process = world.start(
                "build", "--locked", store=store, project=project, environment={"DOCKER_HOST": host}
            )
            time.sleep(world.random.uniform(0.3, 2.5))
            os.kill(_pid(host), signal.SIGKILL)
            done = world.end(process)
        trial = world.judge(done, store, project)
        again = world.run("build", "--locked", store=store, project=project)
        if again.code or not _has(world.docker, world.image):
            trial.lost, trial.remark = True, f"loaded again: {again.err[-200:]}"
        world.drop(store)
        yield trial


@row("Docker stopped (SIGSTOP) in a load, which is interrupted; its disk full (ENOSPC), then not")
def _stopped(world: World) -> Iterator[Trial]:
    store, project = world.store("docker", of=world.directory / "pushed"), world.copy()
    with servers.docker_engine() as host:
        environment = {"DOCKER_HOST": host}
        process = world.start("build", "--locked", store=store, project=project, environment=environment)
        time.sleep(world.random.uniform(0.8, 2.0))
        os.kill(_pid(host), signal.SIGSTOP)
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        done = world.end(process)
        os.kill(_pid(host), signal.SIGCONT)
        trial = world.judge(done, store, project)
        again = world.run("build", "--locked", store=store, project=project, environment=environment)
        if again.code or not _has(host, world.image):
            trial.lost, trial.remark = True, f"loaded again: {again.err[-200:]}"
        yield trial
    with disk(world, "engine", "size=12m") as mount:
        with servers.docker_engine(data=mount / "data") as host:
            environment = {"DOCKER_HOST": host}
            load = ("build", "--locked")
            done = world.run(*load, store=store, project=project, environment=environment)
            subprocess.run(["mount", "-o", "remount,size=4g", str(mount)], check=True)
            again = world.run(*load, store=store, project=project, environment=environment)
            lost = bool(again.code) or not _has(host, world.image)
        yield done.trial("disk full", lost=lost)
    world.drop(store)


@row("two `envd up` of one project at once; up, exec and destroy with the engine killed", debian=True)
def _up(world: World) -> Iterator[Trial]:
    store, project = world.store("up"), world.copy()
    world.write(project, world.spec(steps='    shell("bash")\n'))
    home = project.parent / "home"
    home.mkdir()
    name = f"faults-{os.getpid()}"
    up = ("up", "--detach", "--name", name, "-t", "faults:up", "--timeout", "5m")
    with servers.docker_engine() as host:
        environment = {"DOCKER_HOST": host, "HOME": str(home)}

        def run(*arguments: str) -> Done:
            return world.run(*arguments, store=store, project=project, environment=environment)

        with ThreadPoolExecutor(2) as pool:
            ends = list(pool.map(lambda _: run(*up), range(2)))
        rows = json.loads(run("envs", "list", "-f", "json").out)
        inside = run("exec", "-n", name, "echo", "there")
        good = all(d.code == 0 for d in ends) and len(rows) == 1 and "there" in inside.out
        yield Trial(
            "survived" if good else "unclear",
            lost=not good,
            remark="" if good else f"{[d.err[-200:] for d in ends]} {rows} {inside.err[-200:]}",
        )
        config = home / ".ssh/config"
        entries = config.read_text().count(f"Host {name}.envd") if config.exists() else 0
        if entries != 1:
            yield Trial("unclear", remark=f"{entries} entries in ~/.ssh/config")
        os.kill(_pid(host), signal.SIGKILL)
        for arguments in (up, ("exec", "-n", name, "true"), ("envs", "list"), ("destroy", "--name", name)):
            yield run(*arguments).trial(arguments[0])
    verified = world.run("store", "verify", store=store)
    yield verified.trial("verify", lost=verified.code != 0)
    world.drop(store)
