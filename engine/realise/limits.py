"""The limits of one build step: memory, processes, disk, time, silence and log.

Memory and processes are held by control groups where we may make them (`engine.realise.cgroups`). Elsewhere
they are counted a few times a second, and rlimits stand behind that (getrlimit(2)): RLIMIT_DATA holds
each process to the step's memory, RLIMIT_NPROC the processes of all steps together to twice as many
(not those of a root without a user namespace, whom the kernel excepts). Time, silence, log and disk are
watched, the disk by what its file system has lost and then by looking; RLIMIT_FSIZE holds each file to a
size that was given.

What goes too far is killed, and the error says which limit it was and how to raise it.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from engine.core.command import with_rlimits
from engine.errors import UsageError
from engine.realise import cgroups
from store import limits as settings
from store import notices
from store.limits import LimitError, Limits, Share, advice, shown_size, shown_span

PACE = 0.2  # seconds between two looks at a step
_SHARED = 0.5  # of its memory, that each of /tmp, /run and /dev/shm may take
_WIDTH = 80  # bytes that a line counts at least, so that empty ones count
_RARELY = 60.0  # seconds after which the disk is looked at whatever the file system says
_LITTLE = 1 << 30  # bytes of free disk: with less, no share of it is a limit
_ROOM = 256 << 20  # bytes: a disk with as much is not full
_NO_MEMORY = re.compile(
    r"out of memory|memory exhausted|cannot allocate memory|memoryerror|bad_alloc|oom", re.IGNORECASE
)
_NO_PROCESS = re.compile(r"resource temporarily unavailable|cannot fork|fork failed", re.IGNORECASE)


@dataclass(frozen=True)
class _Held:
    """Limits in numbers: bytes, and None for no limit. `swapped` is memory and swap together."""

    memory: int | None
    swapped: int | None
    processes: int | None


def in_force() -> Limits:
    """The limits that were asked for. Raises UsageError when they cannot be read."""
    try:
        return settings.current()
    except LimitError as error:
        raise UsageError(str(error), subject=settings.VARIABLE) from error


@cache
def _machine() -> tuple[int, int]:
    """The machine's memory (or what our control groups leave us), and its swap."""
    found = {"MemTotal": 0, "SwapTotal": 0}
    for line in Path("/proc/meminfo").read_text("ascii").splitlines():
        name, _, rest = line.partition(":")
        if name in found:
            found[name] = int(rest.split()[0]) * 1024
    allowed = cgroups.most_memory()
    if allowed < found["MemTotal"]:
        return int(allowed), 0
    return found["MemTotal"], found["SwapTotal"]


def _memory(wanted: float | Share) -> tuple[int | None, int | None]:
    """The memory, and memory and swap together, that a limit means here."""
    real, swap = _machine()
    most = int(real * 0.9)
    if isinstance(wanted, Share):
        memory = int(wanted.of(real))
        return memory, memory + swap
    if math.isinf(wanted):
        return None, None
    return min(int(wanted), most), int(wanted)


def _held(limits: Limits) -> _Held:
    memory, swapped = _memory(limits.memory)
    return _Held(memory, swapped, None if math.isinf(limits.processes) else int(limits.processes))


_guard = threading.Lock()


@cache
def _found_groups() -> cgroups.Groups | str:
    found = cgroups.find()
    if isinstance(found, cgroups.Groups):
        found.memory, found.swapped = _memory(Share(0.9))
    return found


def _groups() -> cgroups.Groups | str:
    with _guard:
        return _found_groups()


def described() -> str:
    """What is in force on this machine, in one line."""
    held = _held(in_force())
    groups = _groups()
    memory = "any" if held.swapped is None else shown_size(held.swapped)
    processes = "any number of" if held.processes is None else str(held.processes)
    if isinstance(groups, cgroups.Groups):
        by = f"held by control groups (version {groups.version})"
    else:
        by = f"counted a few times a second and held by rlimits (no control groups: {groups})"
    return f"each step may take {memory} of memory and {processes} processes, {by}"


def of_readers() -> Limits:
    """The limits of the machine's programs that read what others wrote (git, apt): a step's, but where
    these are lower than usual. What is allowed to steps says nothing of how long a package list is.
    Raises UsageError."""
    usual, asked = Limits(), in_force()
    memory = _larger(asked.memory, usual.memory, _machine()[0])
    return replace(
        asked,
        memory=memory,
        disk=_larger(asked.disk, usual.disk, math.inf),
        **{
            name: max(getattr(asked, name), getattr(usual, name))
            for name in ("processes", "time", "silence", "log")
        },
    )


def _larger(one: float | Share, other: float | Share, whole: float) -> float | Share:
    """The larger of two amounts, of which some may be shares of `whole`."""
    return max(one, other, key=lambda x: x.part * whole if isinstance(x, Share) else x)


def shared_memory(bounds: Limits) -> int | None:
    """How large each of a step's file systems in memory may become, in bytes; None: the kernel's
    own limit."""
    memory, _ = _memory(bounds.memory)
    return None if memory is None else max(1 << 20, int(memory * _SHARED))


class Step:
    """One command under limits. `places` is where it writes. Not for several threads at once."""

    def __init__(self, limits: Limits, places: Sequence[Path], group: cgroups.Group | None) -> None:
        self._limits, self._group = limits, group
        self._memory = _memory(limits.memory)[1]
        self._begin = self._heard = time.monotonic()
        self._next_look = 0.0
        self._written = 0
        self._process = 0
        self._left: tuple[int, ...] = ()  # processes that have been killed
        self._disk = _Disk(places, limits.disk)
        self._before = (group.killed(), group.refused()) if group is not None else (0, 0)

    @property
    def joining(self) -> tuple[str, ...]:
        """The control groups' files that the command has to write "0" to."""
        return self._group.joining if self._group is not None else ()

    def prefix(self) -> list[str]:
        """What to put before the command: its rlimits."""
        wanted: dict[str, float] = {}
        if not self._disk.is_share:
            wanted["fsize"] = self._disk.limit
        if self._group is None:
            # More than is counted up to: what is refused a process may ask for ever, and never be ended.
            wanted["nproc"] = 2 * self._limits.processes
            if self._memory is not None:
                wanted["data"] = self._memory
        return with_rlimits(wanted)

    def started(self, process: int) -> None:
        """Watch the step's process, whose id is `process`."""
        self._process = process

    def wrote(self, size: int, lines: int) -> None:
        """Count output: `size` bytes, which ended `lines` lines."""
        self._heard = time.monotonic()
        self._written += max(size, lines * _WIDTH)

    def exceeded(self) -> str | None:
        """Which limit the step has gone beyond, as the end of an error; None when none. It is to be
        killed then."""
        found = self._exceeded()
        if found is not None and self._group is None:
            self._left = tuple(_below(self._process))
        return found

    def _exceeded(self) -> str | None:
        limits, now = self._limits, time.monotonic()
        if self._written > limits.log:
            return self._told("log", f"it wrote more than {shown_size(limits.log)} of output")
        if now < self._next_look:
            return None
        if now - self._begin > limits.time:
            return self._too_long()
        if now - self._heard > limits.silence:
            return self._told("silence", f"it said nothing for {shown_span(limits.silence)}")
        self._next_look = now + PACE
        return self._used() or self._full()

    def _too_long(self) -> str:
        return self._told("time", f"it took longer than {shown_span(self._limits.time)}")

    def failed(self, log: str) -> str | None:
        """After it ended: which limit had a part in that. `log` is the end of what it said."""
        if time.monotonic() - self._begin > self._limits.time:  # since the last look
            return self._too_long()
        if (found := self._used() or self._full(at_end=True)) is not None:
            return found
        if os.strerror(errno.ENOSPC) in log and self._memory is not None and self._disk.has_room():
            size = shown_size(shared_memory(self._limits) or 0)
            return self._told(
                "memory", f"/tmp, /run and /dev/shm are in memory, and each may hold {size} (half of it)"
            )
        if self._group is None and self._memory is not None and _NO_MEMORY.search(log):
            return self._told("memory", f"each process may have {shown_size(self._memory)} of memory")
        if self._group is None and _NO_PROCESS.search(log):
            return self._told(
                "processes", f"all steps may have {2 * self._limits.processes:.0f} processes together"
            )
        return None

    def close(self) -> None:
        """Wait until all its processes are gone, and forget the group."""
        if self._group is not None:
            self._group.remove()
        end = time.monotonic() + cgroups.EMPTYING
        while any(Path("/proc", str(n)).exists() for n in self._left) and time.monotonic() < end:
            time.sleep(0.01)

    def _used(self) -> str | None:
        memory = self._told("memory", f"it needed more than {shown_size(self._memory or 0)} of memory")
        processes = self._told("processes", f"it started more than {self._limits.processes:.0f} processes")
        if self._group is not None:
            if self._group.killed() > self._before[0]:
                return memory
            return processes if self._group.refused() > self._before[1] else None
        if not self._process:
            return None
        begin = time.monotonic()
        used = _usage(self._process, math.inf if self._memory is None else self._memory)
        # A machine with many processes takes longer to look at: a tenth of the time, at most.
        self._next_look = max(self._next_look, begin + 10 * (time.monotonic() - begin))
        if self._memory is not None and used[0] > self._memory:
            return memory
        return processes if used[1] > self._limits.processes else None

    def _full(self, *, at_end: bool = False) -> str | None:
        if not self._disk.is_beyond(self._process, at_end=at_end):
            return None
        size = shown_size(self._disk.limit)
        if self._disk.is_share:
            return (
                f"it wrote more than {size} to disk, its limit, which is nearly all that was free; run "
                "`envd prune`, or choose another store with ENVD_STORE"
            )
        return self._told("disk", f"it wrote more than {size} to disk")

    def _told(self, name: str, what: str) -> str:
        value = {"memory": self._memory or 0, "disk": self._disk.limit}.get(name) or getattr(
            self._limits, name
        )
        return f"{what}, its limit; {advice(name, value)}"


class _Disk:
    """How much a step has written below `places`, of which the first one's file system counts."""

    def __init__(self, places: Sequence[Path], wanted: float | Share) -> None:
        self._places = places
        self._before = self._free()
        self.is_share = isinstance(wanted, Share)
        # A disk that is nearly full is told as such when it is.
        room = math.inf if self._before < _LITTLE else self._before
        self.limit = wanted.of(room) if isinstance(wanted, Share) else wanted
        self._soonest = 0.0  # looking at every file takes time: a twentieth of all, at most
        self._latest = time.monotonic() + _RARELY

    def _free(self) -> int:
        about = os.statvfs(self._places[0])
        return about.f_bavail * about.f_frsize

    def has_room(self) -> bool:
        """Whether it is not the disk that was full."""
        return self._free() > _ROOM

    def is_beyond(self, process: int, *, at_end: bool = False) -> bool:
        """Whether it is more than the limit. For a share of the disk, every file is looked at only when
        the file system has lost half as much, or now and then, since others may have given it back."""
        if math.isinf(self.limit):
            return False
        begin = time.monotonic()
        lost = self._before - self._free()
        if at_end:
            if self.is_share and lost < self.limit / 2:
                return False
        elif begin < self._soonest or (self.is_share and lost < self.limit / 2 and begin < self._latest):
            return False
        found = sum(map(written, self._places))
        if (lost >= self.limit or not self.is_share) and found < self.limit and not at_end:
            device = self._places[0].stat().st_dev
            found += sum(_deleted(number, device) for number in _below(process))
        end = time.monotonic()
        self._soonest = end + 20 * (end - begin)
        self._latest = end + _RARELY
        # a file that is held to the limit itself may end a little before it
        return found >= 0.99 * self.limit


def _processes() -> dict[int, tuple[int, int, int]]:
    """Every process: its parent, threads, and resident memory in bytes (proc_pid_stat(5))."""
    found = {}
    page = os.sysconf("SC_PAGE_SIZE")
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                text = (place / "stat").read_bytes()
            except OSError:
                continue
            words = text.rpartition(b")")[2].split()
            found[int(place.name)] = int(words[1]), int(words[17]), int(words[21]) * page
    return found


def _below(process: int) -> dict[int, tuple[int, int, int]]:
    """`process` and all that it has started: in a pid namespace of its own none gets away."""
    known = _processes()
    children: dict[int, list[int]] = {}
    for number, (parent, _, _) in known.items():
        children.setdefault(parent, []).append(number)
    todo, found = [process], {}
    while todo:
        number = todo.pop()
        if number in known:
            found[number] = known[number]
            todo += children.get(number, ())
    return found


def _usage(process: int, most: float) -> tuple[int, int]:
    """The memory and the threads of `process` and all below. What several share is counted once
    when it is `most` or more."""
    found = _below(process)
    threads = sum(row[1] for row in found.values())
    memory = sum(row[2] for row in found.values())
    if memory > most:
        memory = sum(_proportional(number, row[2]) for number, row in found.items())
    return memory, threads


def _proportional(process: int, resident: int) -> int:
    """Its memory, of what it shares its part (Documentation/ABI/testing/procfs-smaps_rollup)."""
    try:
        text = Path("/proc", str(process), "smaps_rollup").read_text("ascii")
    except FileNotFoundError:
        return 0
    except (OSError, ValueError):
        return resident
    match = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def _deleted(process: int, device: int) -> int:
    """The disk that files take which a process holds open and nothing names any more: those of the
    overlay that is its root, or of `device`, and none in memory."""
    total = 0
    with contextlib.suppress(OSError):
        disks = {device, Path("/proc", str(process), "root").stat().st_dev}
        for entry in os.scandir(f"/proc/{process}/fd"):
            with contextlib.suppress(OSError):
                info = Path(entry.path).stat()
                if info.st_nlink == 0 and stat.S_ISREG(info.st_mode) and info.st_dev in disks:
                    total += info.st_blocks * 512
    return total


def written(directory: Path) -> int:
    """The bytes of disk that the files below `directory` take."""
    total = 0
    seen: set[int] = set()
    todo = [os.fspath(directory)]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):
                        info = entry.stat(follow_symlinks=False)
                        if entry.is_dir(follow_symlinks=False):
                            todo.append(entry.path)
                        elif info.st_nlink > 1:
                            if info.st_ino in seen:
                                continue
                            seen.add(info.st_ino)
                        total += info.st_blocks * 512
        except OSError:  # taken away meanwhile
            continue
    return total


@contextlib.contextmanager
def step(limits: Limits, *places: Path) -> Iterator[Step]:
    """`limits` of one command that writes below `places`."""
    group = None
    groups = _groups()
    if os.environ.get("ENVD_DEBUG"):
        notices.once("limits", described())
    if isinstance(groups, cgroups.Groups):
        held = _held(limits)
        try:
            group = groups.make()
            group.hold(held.memory, held.swapped, held.processes)
        except OSError as error:
            notices.once(
                "limits", f"no control group can be made ({error.strerror}): processes are counted instead"
            )
            if group is not None:
                group.remove()
            group = None
    watched = Step(limits, places, group)
    try:
        yield watched
    finally:
        watched.close()
