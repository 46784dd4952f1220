"""The table's rows, which the modules beside this one enter, and what their trials share."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.server import Bad, running
from tests.faults.world import Trial, World

Do = Callable[[World], Iterator[Trial]]
ROWS: dict[str, Do] = {}
DEBIAN: set[str] = set()  # rows that want a base of Debian's
BUILD = ("build", "--no-load", "--locked", "--progress", "plain")


def row(name: str, *, debian: bool = False) -> Callable[[Do], Do]:
    """Enter a row in the table; `debian`: with a base of Debian's, instead of a small one."""

    def enter(function: Do) -> Do:
        ROWS[name] = function
        if debian:
            DEBIAN.add(name)
        return function

    return enter


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


@contextmanager
def disk(world: World, name: str, *options: str) -> Iterator[Path]:
    """A small file system of its own, with mount(8)'s options for a tmpfs."""
    mount = world.directory / name
    mount.mkdir()
    given = ",".join(("mode=755", *options))
    subprocess.run(["mount", "-t", "tmpfs", "-o", given, "tmpfs", str(mount)], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=False)


def resize(mount: Path, *, spare: int | None = None, inodes: int | None = None) -> None:
    """Leave so many bytes (and inodes) free on a `disk`; None: plenty."""
    found = os.statvfs(mount)
    used = (found.f_blocks - found.f_bfree) * found.f_frsize
    size = used + (1 << 34 if spare is None else spare)
    nodes = found.f_files - found.f_ffree + (1_000_000 if inodes is None else inodes)
    # 0 would be no limit at all, which cannot be taken back.
    options = f"remount,size={max(1, -(-size // 4096)) * 4}k,nr_inodes={nodes}"
    subprocess.run(["mount", "-o", options, str(mount)], check=True)


def processes(store: Path) -> list[str]:
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
