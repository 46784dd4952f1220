"""Rows of a store that is another user's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tests.faults.rows import BUILD, row
from tests.faults.world import ENVD, Trial, World

UID = 65534
_AS = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups")
_ALL = (
    BUILD,
    ("lock", "--update"),
    ("store", "ls"),
    ("images", "ls"),
    ("store", "roots"),
    ("store", "verify"),
    ("store", "verify", "--repair"),
    ("store", "gc"),
    ("prune",),
    ("push", "-t", "s:1", "127.0.0.1:9/x/y:1"),
    ("images", "load", "s:1"),
)


def _project(world: World) -> tuple[Path, dict[str, str]]:
    """A project of the other user's, and where he is at home."""
    assert os.access(ENVD, os.X_OK), ENVD
    project = world.copy()
    for path in (project.parent, project, *project.iterdir()):
        os.chown(path, UID, UID)
    home = project.parent / "home"
    home.mkdir()
    os.chown(home, UID, UID)
    return project, {"HOME": str(home)}


def _states(world: World, mode: int) -> Iterator[Trial]:
    store = world.store("foreign", of=world.directory / "pushed")
    store.chmod(mode)
    project, environment = _project(world)
    before = (store / "db.sqlite").read_bytes()
    for arguments in _ALL:
        done = world.run(*arguments, store=store, project=project, environment=environment, prefix=_AS)
        yield done.trial(" ".join(arguments[:2]))
    lost = (store / "db.sqlite").read_bytes() != before
    trial = world.judge(world.run(*BUILD, store=store, project=world.copy()), store, world.copy())
    trial.lost = trial.lost or lost
    world.drop(store)
    yield trial


@row("root's store that others may enter (0755), used by another user: 11 commands")
def _open(world: World) -> Iterator[Trial]:
    yield from _states(world, 0o755)


@row("root's store that others may not enter (0700), used by another user: 11 commands")
def _closed(world: World) -> Iterator[Trial]:
    yield from _states(world, 0o700)


@row("another user's store, used by root: build, ls, verify, gc")
def _by_root(world: World) -> Iterator[Trial]:
    store, project = world.store("of-user", of=world.directory / "pushed"), world.copy()
    owned = [store, *store.glob("*"), store / "blobs/sha256"]
    for path in owned:
        os.chown(path, UID, UID)
    for arguments in (BUILD, ("store", "ls"), ("store", "verify"), ("store", "gc")):
        yield world.run(*arguments, store=store, project=project).trial(" ".join(arguments[:2]))
    for path in owned:
        if path.exists():
            os.chown(path, 0, 0)
    yield world.judge(world.run(*BUILD, store=store, project=project), store, project)
    world.drop(store)


@row("a store that another user cannot make (its parent is root's) or is a file")
def _not_made(world: World) -> Iterator[Trial]:
    project, environment = _project(world)
    file = world.directory / "a-file"
    file.write_text("no store\n")
    for store in (world.directory / "new" / "store", file, file / "store"):
        for arguments in (BUILD, ("store", "ls"), ("store", "gc")):
            done = world.run(*arguments, store=store, project=project, environment=environment, prefix=_AS)
            yield done.trial(f"{arguments[0]} {arguments[1]}", lost=file.read_text() != "no store\n")
