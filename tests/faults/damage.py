"""Rows of what damages a store's files."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.faults.rows import BUILD, row
from tests.faults.world import Trial, World


def _damage(path: Path, how: str, at: float) -> None:
    """In a new file: the old one is linked to the prepared store's."""
    mode, data = path.stat().st_mode, bytearray(path.read_bytes())
    path.unlink()
    if how == "flipped" and data:
        data[int(at * (len(data) - 1))] ^= 0xFF
    if how == "truncated":
        del data[len(data) // 2 :]
    if how != "deleted":
        path.write_bytes(data)
        path.chmod(mode & 0o777)


def _used(world: World, word: str) -> tuple[Path, Path, str]:
    """A store with unpacked trees, a project that has a step to build on them, and its image."""
    project = world.copy(word=word)
    sound = world.store(word, of=world.directory / "reference")
    image = world.run(*BUILD, store=sound, project=project).out.strip()
    assert image
    world.drop(sound)
    return world.store(word, of=world.directory / "reference"), project, image


def _mend_and_judge(world: World, store: Path, project: Path, code: int) -> Trial:
    """`verify --repair` is what every message of damage names."""
    found = world.run("store", "verify", store=store, project=project)
    repaired = world.run("store", "verify", "--repair", store=store, project=project)
    said = world.run(*BUILD, "-o", f"oci:{project}/x.tar", store=store, project=project)
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
        assert world.run(*BUILD, store=store, project=project).code == 0
        blobs = sorted((store / "blobs/sha256").iterdir(), key=lambda p: -p.stat().st_size)
        _damage(blobs[0], how, world.random.random())
        out = project / "image.tar"
        done = world.run(*BUILD, "-o", f"oci:{out}", store=store, project=project)
        if done.code == 0 and how != "deleted":
            checked = subprocess.run(
                ["skopeo", "copy", "-q", f"oci-archive:{out}", f"oci-archive:{out}2"],
                check=False,
                capture_output=True,
            )
            if checked.returncode:
                yield Trial("unclear", lost=True, remark="a damaged archive was written, status 0")
                return
        ended = "survived" if done.code == 0 else "clear" if done.clear else "unclear"
        trial = _mend_and_judge(world, store, project, done.code or 1)
        yield Trial(
            ended if trial.ended != "unclear" else "unclear",
            trial.lost,
            f"{done.said if done.code else ''} {trial.remark}".strip(),
        )
        world.drop(store)

    if _how == "truncated":
        continue

    @row(f"unpacked tree: a file {_how}")
    def _tree(world: World, how: str = _how) -> Iterator[Trial]:
        store, project, image = _used(world, "tree")
        names = [p / "etc/debian_version" for p in (store / "trees").iterdir()]
        found = [p for p in names if p.exists()]
        assert found
        for file in found:
            _damage(file, how, world.random.random())
        done = world.run(*BUILD, store=store, project=project)
        if done.code == 0 and done.out.strip() != image:
            yield Trial("unclear", lost=True, remark="the damaged file is in the image")
        else:
            if done.code:
                world.run("store", "verify", "--repair", store=store, project=project)
            yield world.judge(done, store, project, image=image)
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
        done = world.run(*BUILD, store=store, project=project)
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


for _how in ("flipped", "truncated", "deleted"):

    @row(f"fetched file {_how}")
    def _fetched(world: World, how: str = _how) -> Iterator[Trial]:
        store = world.store("fetched", of=world.directory / "reference")
        project = world.copy()
        wheel = next((world.directory / "index/simple/six").glob("*.whl")).read_bytes()
        found = [
            p
            for p in (store / "blobs/sha256").iterdir()
            if p.stat().st_size == len(wheel) and p.read_bytes() == wheel
        ]
        assert len(found) == 1
        _damage(found[0], how, world.random.random())
        # Built anew from it; --force does not fetch what is there.
        done = world.run(*BUILD, "--force", store=store, project=project)
        yield world.judge(done, store, project)
        world.drop(store)


@row("unpacked tree of a layer, and of the base, deleted")
def _trees_deleted(world: World) -> Iterator[Trial]:
    for base in (True, False):
        store, project, image = _used(world, "trees")
        found = [
            tree for tree in (store / "trees").iterdir() if (tree / "etc/debian_version").exists() == base
        ]
        assert found
        for tree in found:
            shutil.rmtree(tree)
        done = world.run(*BUILD, store=store, project=project)
        yield world.judge(done, store, project, image=image)
        world.drop(store)


@row("directories of a store deleted (blobs, trees, tmp, locks)")
def _directories(world: World) -> Iterator[Trial]:
    for name in ("blobs", "trees", "tmp", "locks"):
        store, project = world.store("gone", of=world.directory / "reference"), world.copy()
        shutil.rmtree(store / name)
        done = world.run(*BUILD, store=store, project=project)
        swept = world.run("store", "gc", store=store, project=project)
        if name == "blobs":
            world.run("store", "verify", "--repair", store=store, project=project)
        trial = world.judge(done, store, project, remark=name if done.code else "")
        if swept.ended == "unclear":
            trial.ended, trial.remark = "unclear", f"{name}: gc: {swept.err[-200:]}"
        world.drop(store)
        yield trial
