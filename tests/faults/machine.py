"""Rows of a machine that lacks something: room, files, a writable disk, the right time."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.faults.rows import BUILD, disk, resize, row
from tests.faults.world import Trial, World

# Each stage wants room: a wheel is fetched and unpacked, a step writes a lot, which is captured.
_STEPS = (
    '    run(["mkdir /opt/copy", "cat /opt/noise /opt/noise > /opt/copy/noise", '
    '"for f in /opt/many/*; do cat $f > /opt/copy/${{f##*/}}; done", "echo {word} > /etc/word"])\n'
)
_REPAIR = ("store", "verify", "--repair")


def _small(world: World, mount: Path, what: str) -> tuple[Path, str, int, int]:
    """A store on a small disk; what the build of `_STEPS` gives there, and the bytes and inodes that
    it takes."""
    kept = mount / "kept"
    subprocess.run(["cp", "-a", str(world.prepared), str(kept)], check=True)
    store = world.store(what, of=kept, at=mount)
    before = os.statvfs(mount)
    project = world.copy(body=world.spec(steps=_STEPS))
    done = world.run(*BUILD, store=store, project=project)
    assert done.code == 0, done.err[-2000:]
    after = os.statvfs(mount)
    world.drop(store)
    size = (before.f_bfree - after.f_bfree) * after.f_frsize
    return kept, done.out.strip(), size, before.f_ffree - after.f_ffree


@row("disk full (ENOSPC, tmpfs) at 0 to 90 % of what a build needs")
def _full(world: World) -> Iterator[Trial]:
    with disk(world, "full") as mount:
        kept, image, size, _ = _small(world, mount, "full")
        for spare in (0, 16 << 10, 100 << 10, size // 10, size // 3, size * 2 // 3, size * 9 // 10):
            store = world.store("full", of=kept, at=mount)
            project = world.copy(body=world.spec(steps=_STEPS))
            resize(mount, spare=spare)
            done = world.run(*BUILD, store=store, project=project)
            resize(mount)
            yield world.judge(done, store, project, image=image, remark=f"{spare >> 10} kB")
            world.drop(store)


@row("disk full (ENOSPC) while the base is unpacked and installed anew", debian=True)
def _full_cold(world: World) -> Iterator[Trial]:
    with disk(world, "full-cold") as mount:
        kept = mount / "kept"
        subprocess.run(["cp", "-a", str(world.prepared), str(kept)], check=True)
        for megabytes in (world.random.randint(5, 60), world.random.randint(100, 250)):
            store, project = world.store("full", of=kept, at=mount), world.copy()
            resize(mount, spare=megabytes << 20)
            done = world.run(*BUILD, "--force", store=store, project=project)
            resize(mount)
            yield world.judge(done, store, project, remark=f"{megabytes} MB")
            world.drop(store)


@row("no inodes left at 0 to 90 % of what a build needs")
def _inodes(world: World) -> Iterator[Trial]:
    with disk(world, "inodes") as mount:
        kept, image, _, nodes = _small(world, mount, "inodes")
        for spare in (0, 3, 12, nodes // 3, nodes * 9 // 10):
            store = world.store("inodes", of=kept, at=mount)
            project = world.copy(body=world.spec(steps=_STEPS))
            resize(mount, inodes=spare)
            done = world.run(*BUILD, store=store, project=project)
            resize(mount)
            yield world.judge(done, store, project, image=image, remark=f"{spare} inodes")
            world.drop(store)


@row("disk full when a store is made, and its database written (16 kB to 300 kB)")
def _new_store(world: World) -> Iterator[Trial]:
    for kilobytes in (0, 16, 40, 100, 300):
        with disk(world, f"new-{kilobytes}") as mount:
            resize(mount, spare=kilobytes << 10)
            ends = [
                world.run(*arguments, store=mount / "store")
                for arguments in (("store", "gc"), ("store", "ls"), ("images", "ls"), BUILD)
            ]
            resize(mount)
            again = world.run("store", "verify", store=mount / "store")
        for done in ends[:-1]:
            if done.ended == "unclear":
                yield done.trial(f"{kilobytes} kB")
        yield ends[-1].trial(f"{kilobytes} kB", lost=again.code != 0)


@row("disk full: gc, prune, ls, images, verify, verify --repair, which make or want no room")
def _relief(world: World) -> Iterator[Trial]:
    with disk(world, "relief") as mount:
        kept = mount / "kept"
        subprocess.run(["cp", "-a", str(world.directory / "pushed"), str(kept)], check=True)
        for arguments in (
            ("store", "gc"),
            ("prune",),
            ("prune", "--all"),
            ("store", "ls"),
            ("images", "ls"),
            ("store", "verify"),
            _REPAIR,
        ):
            store, project = world.store("relief", of=kept, at=mount), world.copy()
            world.write(project, word="garbage")
            assert world.run(*BUILD, store=store, project=project).code == 0
            world.write(project)
            assert world.run(*BUILD, store=store, project=project).code == 0
            before = _used(store)
            resize(mount, spare=0)
            done = world.run(*arguments, store=store, project=project)
            after = _used(store)
            resize(mount)
            what = " ".join(arguments)
            trial = world.judge(done, store, project, remark=what if done.code else "")
            if arguments[-1] in ("gc", "prune", "--all") and (done.code or after >= before):
                trial.ended = "unclear"
                trial.remark = f"{what} gives no room on a full disk: {done.err[-200:]}"
            world.drop(store)
            yield trial


def _used(store: Path) -> int:
    done = subprocess.run(["du", "-sk", str(store)], capture_output=True, text=True, check=False)
    return int(done.stdout.split()[0])


@row("disk of the project or of the output full: lock, -o oci, -o docker")
def _full_project(world: World) -> Iterator[Trial]:
    store = world.store("full-project", of=world.directory / "reference")
    with disk(world, "full-project") as mount:
        project = mount / "p"
        world.write(project)
        resize(mount, spare=0)
        done = world.run("lock", store=store, project=project)
        half = [p.name for p in project.iterdir() if "lock" in p.name]
        yield done.trial("lock", lost=bool(half))
        for kind in ("oci", "docker"):
            resize(mount, spare=1 << 20)
            out = mount / f"{kind}.tar"
            done = world.run(*BUILD, "-o", f"{kind}:{out}", store=store, project=world.copy())
            yield done.trial(f"-o {kind}", lost=bool([p for p in mount.iterdir() if p != project]))
        resize(mount)
        done = world.run("lock", store=store, project=project)
        yield world.judge(done, store, project)
    world.drop(store)


@row("too few open files allowed (EMFILE: 64, 32, 20, 12)")
def _files(world: World) -> Iterator[Trial]:
    for limit in (64, 32, 20, 12):
        yield _built(world, f"--nofile={limit}:{limit}", str(limit))


@row("too little address space allowed (ulimit -v: 1 GB, 400, 200, 100 MB)")
def _memory(world: World) -> Iterator[Trial]:
    for megabytes in (1000, 400, 200, 100):
        yield _built(world, f"--as={megabytes << 20}", f"{megabytes} MB")


def _built(world: World, limit: str, remark: str) -> Trial:
    """A build with one of prlimit(1)'s limits."""
    store, project = world.store("limit"), world.copy()
    done = world.run(*BUILD, store=store, project=project, prefix=("prlimit", limit))
    trial = world.judge(done, store, project, remark=remark)
    world.drop(store)
    return trial


@row("store on a read-only file system: build, lock, ls, images, verify, gc, prune, push, pull, load")
def _read_only(world: World) -> Iterator[Trial]:
    store = world.store("ro", of=world.directory / "pushed")
    project = world.copy()
    subprocess.run(["mount", "--rbind", str(store), str(store)], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", str(store)], check=True)
    there = f"{world.registry}/read-only/x:1"
    try:
        for arguments in (
            BUILD,
            ("lock", "--update"),
            ("store", "ls"),
            ("images", "ls"),
            ("store", "verify"),
            _REPAIR,
            ("store", "gc"),
            ("store", "gc", "--dry-run"),
            ("prune",),
            ("store", "roots"),
            ("push", "-t", "s:1", there),
            ("pull", there),
            ("images", "load", "s:1"),
        ):
            before = (project / "envd.lock").read_bytes()
            done = world.run(*arguments, store=store, project=project)
            changed = (project / "envd.lock").read_bytes() != before
            yield done.trial(" ".join(arguments[:2]), lost=changed)
    finally:
        subprocess.run(["umount", "-l", str(store)], check=False)
    yield world.judge(world.run(*BUILD, store=store, project=project), store, project)
    world.drop(store)


@row("store on overlayfs")
def _overlay(world: World) -> Iterator[Trial]:
    with disk(world, "overlay") as place:
        for name in ("l", "u", "w", "m"):
            (place / name).mkdir()
        options = f"lowerdir={place}/l,upperdir={place}/u,workdir={place}/w"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(place / "m")], check=True)
        try:
            done = world.run(*BUILD, store=place / "m/store", project=world.copy())
            fast = "building" not in done.err
            yield Trial("clear" if done.clear and fast else "unclear", remark=done.said)
        finally:
            subprocess.run(["umount", "-l", str(place / "m")], check=False)


@row("clock in 1971, 2001, 2045 (faketime) while building and while locking", debian=True)
def _clock(world: World) -> Iterator[Trial]:
    for year in (1971, 2001, 2045):
        store, project = world.store("clock"), world.copy()
        prefix = ("faketime", "-f", f"@{year}-03-01 12:00:00")
        done = world.run(*BUILD, store=store, project=project, prefix=prefix)
        yield world.judge(done, store, project, remark=str(year) if done.code else "")
        # What that clock has left behind, and a lock by it.
        lock = project / "envd.lock"
        wanted = lock.read_text()
        lock.unlink()
        done = world.run("lock", store=store, project=project, prefix=prefix)
        if done.code:
            again = world.run("lock", store=store, project=project)
            yield done.trial(f"lock in {year}", lost=again.code != 0)
        trial = world.judge(done, store, project, remark=f"lock in {year}" if done.code else "")
        if lock.read_text() != wanted:
            trial.lost, trial.remark = True, f"lock in {year}: another lock"
        if not done.code:
            yield trial
        world.drop(store)
