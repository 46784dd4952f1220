"""Locks between processes and threads: flock on one file per name.

Each acquisition opens the file anew, so two threads of one process cannot be used together too
(flock belongs to the open file description). A lock's file goes away with its last holder, or
there would be one for ever for everything that was ever built; so whoever gets a lock looks whether
the file is still the one of that name.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from store import notices

_PATIENCE = 1.0  # seconds after which waiting is said
_POLL = (0.005, 0.1)  # seconds between two tries: the first, the longest


@contextmanager
def locked(
    path: Path,
    *,
    shared: bool = False,
    lasting: bool = False,
    doing: str = "",
    check: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Hold the lock at `path`; waits for it, which is said after a second.

    `doing` says what the holder does with it ("builds numpy"), and `check` is called now and then
    while this waits: what it raises ends the waiting. The file goes away afterwards, unless the
    lock is `shared` or `lasting` (one that others share). Raises OSError.
    """
    descriptor = _acquired(path, shared, doing, check)
    try:
        yield
    finally:
        if not (shared or lasting):
            # While it is held: whoever opened it already will see that it is gone.
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquired(path: Path, shared: bool, doing: str, check: Callable[[], None] | None) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    begin, pause, told = time.monotonic(), _POLL[0], False
    while True:
        descriptor = _opened(path, shared)
        try:
            fcntl.flock(descriptor, kind)
            if _is_still(path, descriptor):
                return descriptor
        except BlockingIOError:
            if not told and time.monotonic() - begin >= _PATIENCE:
                told = True
                notices.say("store", _waiting(descriptor, doing))
            if check is not None:
                check()
            time.sleep(pause)
            pause = min(pause * 2, _POLL[1])
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _opened(path: Path, shared: bool) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        # In a store that may only be read, whoever reads it keeps others from collecting garbage.
        if not shared or error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


@contextmanager
def attempt(path: Path) -> Iterator[bool]:
    """Hold the lock at `path` if nobody does; whether it was got. The file goes away with it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            got = _is_still(path, descriptor)
        except BlockingIOError:
            got = False
        yield got
        if got:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock at `path` just now."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


# -- who holds it -----------------------------------------------------------------------------


def _waiting(descriptor: int, doing: str) -> str:
    names = [_named(pid) for pid in _holders(descriptor)]
    who = " and ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
    what = f", which {doing}" if doing and len(names) < 2 else ""
    return f"waiting for {who or 'another process'}{what}"


def _holders(descriptor: int) -> list[int]:
    """The processes that hold a lock on an open file, as /proc/locks (proc(5)) has them."""
    mine = os.fstat(descriptor).st_ino
    try:
        rows = [line.split() for line in Path("/proc/locks").read_text("ascii").splitlines()]
    except OSError:
        return []
    found = {
        int(row[4])
        for row in rows
        if len(row) >= 8 and row[1] == "FLOCK" and row[5].rpartition(":")[2] == str(mine)
    }
    # 0 or less: a process that this one cannot see, in another container.
    return sorted(pid for pid in found if pid > 0)


def _named(pid: int) -> str:
    if pid == os.getpid():
        return "another part of this command"
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
    except OSError:
        return f"process {pid}"
    return f"process {pid} ({_shown(words.split(chr(0)))})"


def _shown(words: list[str]) -> str:
    """A command line as it was typed, without the interpreter and the script's directory."""
    for position, word in enumerate(words[:6]):
        if word == "engine.cli.entry" or word.rpartition("/")[2] == "envd":
            words = ["envd", *words[position + 1 :]]
            break
    text = " ".join(words)
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 80 else f"{text[:79]}…"
