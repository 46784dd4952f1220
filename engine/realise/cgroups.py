"""Control groups: the kernel counts and holds what a build step uses, however it hides.

Version 2 (Linux, Documentation/admin-guide/cgroup-v2.rst) where the memory and pids controllers are
handed on to us, else version 1 (cgroup-v1/memory.rst, pids.rst) where its directories may be
written: as root, and where a service manager has delegated a subtree. One directory per process of
ours, in it one per step: `memory` is held for all of them together too.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

_NEEDED = ("memory", "pids")
EMPTYING = 10.0  # seconds that killed processes may take to be gone
_NAME = re.compile(r"envd-(\d+)")


@dataclass(frozen=True)
class Group:
    """The control group of one step. `places` is controller -> directory."""

    places: Mapping[str, Path]
    unified: bool

    @property
    def joining(self) -> tuple[str, ...]:
        """The files that a process writes "0" to, to be in the group."""
        return tuple(dict.fromkeys(f"{place}/cgroup.procs" for place in self.places.values()))

    def hold(self, memory: int | None, swapped: int | None, processes: int | None) -> None:
        """Set the limits: bytes of memory, bytes of memory and swap, processes. Raises OSError."""
        _hold_memory(self.places["memory"], self.unified, memory, swapped)
        if processes is not None:
            _write(self.places["pids"] / "pids.max", str(processes))
        if self.unified:
            with contextlib.suppress(OSError):
                _write(self.places["memory"] / "memory.oom.group", "1")

    def killed(self) -> int:
        """How many processes were killed because memory ran out."""
        name = "memory.events" if self.unified else "memory.oom_control"
        return _value(self.places["memory"] / name, "oom_kill")

    def refused(self) -> int:
        """How often a new process was refused."""
        return _value(self.places["pids"] / "pids.events", "max")

    def remove(self) -> bool:
        """Wait until no process is left, and remove the group; whether that came about."""
        end = time.monotonic() + EMPTYING
        for place in dict.fromkeys(self.places.values()):
            while True:
                with contextlib.suppress(OSError):
                    _write(place / "cgroup.kill", "1")  # version 2, since Linux 5.14
                try:
                    place.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    if time.monotonic() > end:
                        return False
                    time.sleep(0.01)
        return True


class Groups:
    """Makes the groups of this process's steps. `memory` and `swapped` as for Group.hold: of all
    steps together."""

    def __init__(self, parents: Mapping[str, Path], unified: bool) -> None:
        self._parents, self._unified = parents, unified
        self._lock = threading.Lock()
        self._numbers = count()
        self.memory: int | None = None
        self.swapped: int | None = None
        atexit.register(self._remove)

    @property
    def version(self) -> int:
        """The version of control groups in use: 1 or 2."""
        return 2 if self._unified else 1

    def _own(self) -> dict[str, Path]:
        return {name: place / f"envd-{os.getpid()}" for name, place in self._parents.items()}

    def make(self) -> Group:
        """A new group. Raises OSError."""
        with self._lock:
            own = self._own()
            for place in dict.fromkeys(own.values()):
                if not place.is_dir():
                    _sweep(place.parent)
                    place.mkdir()
                    if self._unified:
                        _write(place / "cgroup.subtree_control", "+memory +pids")
            _hold_memory(own["memory"], self._unified, self.memory, self.swapped)
        number = next(self._numbers)
        places = {name: place / f"step-{number}" for name, place in own.items()}
        for place in dict.fromkeys(places.values()):
            place.mkdir()
        return Group(places, self._unified)

    def _remove(self) -> None:
        for place in dict.fromkeys(self._own().values()):
            _remove_below(place)


def find() -> Groups | str:
    """How to make groups here, or why that cannot be done. Tries it."""
    reasons = []
    for unified in (True, False):
        places = _unified() if unified else _separate()
        if isinstance(places, str):
            reasons.append(places)
            continue
        groups = Groups(places, unified)
        try:
            group = groups.make()
            group.hold(1 << 40, None, 1 << 20)
            group.remove()
        except OSError as error:
            reasons.append(f"version {groups.version}: {error.strerror}")
            continue
        return groups
    return "; ".join(reasons)


def most_memory() -> float:
    """What the groups that this process is in allow it, in bytes; infinity when nothing."""
    found = float("inf")
    for unified, name in ((True, "memory.max"), (False, "memory.limit_in_bytes")):
        place = _mine(None if unified else "memory")
        while place is not None and place != place.parent:
            with contextlib.suppress(OSError, ValueError):
                found = min(found, int((place / name).read_text("ascii")))
            if not (place / "cgroup.procs").exists():
                break
            place = place.parent
    return found


def _unified() -> dict[str, Path] | str:
    own = _mine(None)
    if own is None:
        return "version 2: not mounted"
    place = own
    while (place / "cgroup.procs").exists():
        if place == own and not (place.parent / "cgroup.procs").exists():
            with contextlib.suppress(OSError):  # the first of all: it may hold processes and groups
                _write(place / "cgroup.subtree_control", "+memory +pids")
        given = _words(place / "cgroup.subtree_control")
        if all(name in given for name in _NEEDED):
            if os.access(place, os.W_OK) and os.access(place / "cgroup.procs", os.W_OK):
                return dict.fromkeys(_NEEDED, place)
            return "version 2: not delegated to this user"
        place = place.parent
    return "version 2: its memory and pids controllers are not handed on"


def _separate() -> dict[str, Path] | str:
    places = {}
    for name in _NEEDED:
        place = _mine(name)
        if place is None:
            return f"version 1: no {name} controller"
        if not os.access(place, os.W_OK):
            return "version 1: not writable for this user"
        places[name] = place
    return places


def _mine(controller: str | None) -> Path | None:
    """Our own directory of a controller of version 1, or (None) of version 2; None when there is
    none (cgroups(7), proc_pid_mountinfo(5))."""
    try:
        lines = Path("/proc/self/cgroup").read_text("utf-8").splitlines()
        mounts = Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    own = None
    for line in lines:
        _, names, path = line.split(":", 2)
        if names == "" if controller is None else controller in names.split(","):
            own = path
    if own is None:
        return None
    for mount in mounts:
        before, _, after = mount.partition(" - ")
        kind, _, options = after.split(" ", 2)
        fits = (
            kind == "cgroup2"
            if controller is None
            else (kind == "cgroup" and controller in options.split(","))
        )
        if not fits:
            continue
        root, point = before.split()[3:5]
        if own == root or own.startswith(f"{root.rstrip('/')}/"):
            found = Path(point + own[len(root.rstrip("/")) :])
        else:  # of another namespace: what is mounted is what we may have
            found = Path(point)
        if (found / "cgroup.procs").exists():
            return found
    return None


def _hold_memory(place: Path, unified: bool, memory: int | None, swapped: int | None) -> None:
    if memory is None:
        return
    if unified:
        _write(place / "memory.max", str(memory))
        if swapped is not None:
            with contextlib.suppress(OSError):  # a kernel without swap
                _write(place / "memory.swap.max", str(max(0, swapped - memory)))
        return
    both = place / "memory.memsw.limit_in_bytes"
    try:
        _write(place / "memory.limit_in_bytes", str(memory))
    except OSError as error:
        if error.errno != errno.EINVAL or swapped is None:  # more than memory and swap may be now
            raise
        _write(both, str(swapped))
        _write(place / "memory.limit_in_bytes", str(memory))
    if swapped is not None:
        with contextlib.suppress(OSError):  # a kernel that does not count swap
            _write(both, str(swapped))


def _sweep(parent: Path) -> None:
    """Remove what processes that were killed have left."""
    with contextlib.suppress(OSError):
        for place in parent.iterdir():
            match = _NAME.fullmatch(place.name)
            if match and not Path("/proc", match[1]).exists():
                _remove_below(place)


def _remove_below(place: Path) -> None:
    with contextlib.suppress(OSError):
        for step in place.glob("step-*"):
            with contextlib.suppress(OSError):
                step.rmdir()
        place.rmdir()


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)  # never made: a kernel without it says so
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text("ascii").split()
    except OSError:
        return []


def _value(path: Path, name: str) -> int:
    words = _words(path)
    return int(words[words.index(name) + 1]) if name in words else 0
