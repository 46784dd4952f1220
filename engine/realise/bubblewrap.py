"""bubblewrap's command line (bwrap(1)): what a step sees, may do and may not."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from engine.core import command
from engine.realise import limits
from store.limits import Limits
from store.model import SOURCE_DATE_EPOCH

# What dpkg, ldconfig, adduser and their like need, and no more.
CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SYS_CHROOT",
    "CAP_NET_BIND_SERVICE",
)

ENVIRONMENT: Mapping[str, str] = {
    "PATH": command.PATH,
    "HOME": "/root",
    "USER": "root",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "SOURCE_DATE_EPOCH": str(SOURCE_DATE_EPOCH),
    "FORCE_SOURCE_DATE": "1",  # for TeX, which takes no notice of it otherwise
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBCONF_NONINTERACTIVE_SEEN": "true",
    # Programs that go through their tables in an order by chance otherwise. TeX's fmtutil, in Perl,
    # makes its formats so, and what the first one finds is not what the others do.
    "PYTHONHASHSEED": "0",
    "PERL_HASH_SEED": "0",
    "PERL_PERTURB_KEYS": "0",
}

# The kernel's own settings and tables, which are the host's: without a user namespace of its own, a
# step as root could write the first (core_pattern is a program that the host runs) and read the rest.
# What container runtimes keep read-only and masked (OCI runtime-spec, config-linux.md).
_READ_ONLY = ("/proc/sys", "/proc/sysrq-trigger", "/proc/fs", "/proc/bus", "/proc/irq")
_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
)

_TEMPORARY = {"/tmp": "1777", "/run": "0755", "/dev/shm": "1777"}  # and their modes


@dataclass(frozen=True)
class Bind:
    """A file or directory of the host, shown at `target` (absolute) inside."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True)
class Inside:
    """A command, and what it has around it. `binds` are shown to it; where `read_only`, it can write
    to nothing else than those that are writable and to what is in memory."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    binds: Sequence[Bind]
    network: bool
    capabilities: Sequence[str]
    read_only: bool


def arguments(
    inside: Inside,
    root: str,
    binds: Sequence[tuple[str, str, str]],
    cwd: str,
    temporary: Sequence[str],
    bounds: Limits,
) -> list[str]:
    """bubblewrap's command line for what is `inside`, with `root` as its root directory. `binds` are
    option, source and target; `cwd`, `temporary` and the targets are free of symlinks."""
    inner = [
        "bwrap",
        "--bind",
        root,
        "/",
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
        *(() if inside.network else ("--unshare-net",)),
        "--hostname",
        "envd",
        "--die-with-parent",
        "--new-session",
        "--proc",
        "/proc",
        *_kernel_is_hidden(),
        "--dev",
        "/dev",
    ]
    room = _room(bounds)
    for place in (*temporary, "/dev/shm"):
        inner += [*room, "--perms", _TEMPORARY[place], "--tmpfs", place]
    inner += ["--perms", "1777", "--dir", "/run/lock"]  # what a system has there, and /var/lock is
    for words in binds:
        inner += words
    if cwd != "/":
        inner += ["--perms", "0755", "--dir", cwd]
    if inside.read_only:
        inner += ["--remount-ro", "/"]
    inner += ["--cap-drop", "ALL"]
    for capability in inside.capabilities:
        inner += ["--cap-add", capability]
    inner += ["--clearenv"]
    for key, value in {**ENVIRONMENT, **inside.environment}.items():
        inner += ["--setenv", key, value]
    return [*inner, "--chdir", cwd, "--", *inside.argv]


def _room(bounds: Limits) -> list[str]:
    """The option that limits a file system in memory (bubblewrap 0.7 or later)."""
    size = limits.shared_memory(bounds)
    return ["--size", str(size)] if size is not None and _knows_size() else []


@cache
def _knows_size() -> bool:
    try:
        return b"--size" in command.ask(["bwrap", "--help"]).stdout
    except OSError:  # what is lacking is said when it is to run
        return False


def _kernel_is_hidden() -> list[str]:
    """The arguments that keep the host's kernel from being set and looked at through /proc."""
    found = []
    for path in filter(os.path.exists, _READ_ONLY):
        found += ["--ro-bind", path, path]
    for path in filter(os.path.exists, _MASKED):
        if Path(path).is_dir():
            found += ["--tmpfs", path, "--remount-ro", path]
        else:
            found += ["--ro-bind", "/dev/null", path]
    return found
