"""Building without root: this process again, inside a user namespace.

All building code may assume that it is uid 0 with 65536 uids to give away. An ordinary user
gets that from `unshare --map-root-user --map-auto` (util-linux 2.38; newuidmap(1) and
subuid(5)): uid 0 inside is the user, 1..65535 are the user's subordinate uids. Supplementary
groups survive, so the Docker socket stays reachable.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from engine.core.command import which
from engine.errors import UsageError

MARK = "ENVD_USERNS"  # set inside, so that a failed entry does not loop
OUTER_UID = "ENVD_OUTER_UID"  # who runs envd really
_WANTED = 65536
_CAP_SYS_ADMIN = 21


def mapped_uids(uid_map: str) -> int:
    """How many uids a /proc/PID/uid_map gives (user_namespaces(7))."""
    return sum(int(line.split()[2]) for line in uid_map.splitlines() if line.split())


def is_root_like() -> bool:
    """Whether this process is uid 0, may mount, and has uids enough to build with."""
    if os.geteuid() != 0:
        return False
    if mapped_uids(Path("/proc/self/uid_map").read_text("ascii")) < _WANTED:
        return False
    return may_mount()


def may_mount() -> bool:
    """Whether this process has the capability to mount."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_ADMIN & 1)
    return False


def in_user_namespace() -> bool:
    """Whether uids are mapped: then overlayfs must keep its marks in user.* xattrs."""
    first = Path("/proc/self/uid_map").read_text("ascii").split()
    return first != ["0", "0", "4294967295"]


def _subordinate(path: Path, user: str, uid: int) -> int:
    """How many ids subuid(5) gives to a user: the widest of its ranges (--map-auto takes one)."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError:
        return 0
    rows = [line.split(":") for line in lines]
    return max(
        (int(r[2]) for r in rows if len(r) == 3 and r[0] in (user, str(uid)) and r[2].isdigit()), default=0
    )


def reason_unavailable() -> str | None:
    """Why this user cannot enter a user namespace, and what to do about it; None when it can."""
    if is_root_like():
        return None
    if os.environ.get(MARK):
        return (
            "the user namespace was entered but does not give 65536 uids and the right to "
            "mount; a security policy (AppArmor, seccomp, a container) forbids it"
        )
    uid = os.geteuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    if uid == 0:
        return (
            "this root may not mount (a container without CAP_SYS_ADMIN?); run the container "
            "with --privileged, or envd outside of it"
        )
    for command, package in (("unshare", "util-linux"), ("newuidmap", "uidmap"), ("newgidmap", "uidmap")):
        if which(command) is None:
            return f"building as an ordinary user needs {command}; run `apt-get install {package}` as root"
    for name in ("subuid", "subgid"):
        if _subordinate(Path("/etc") / name, user, uid) < _WANTED - 1:
            return (
                f"/etc/{name} gives '{user}' no range of 65536 ids; run "
                f"`usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}` as root"
            )
    if reason := _kernel_refuses():
        return reason
    return None


def _kernel_refuses() -> str | None:
    for setting, bad, advice in (
        ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=65536"),
    ):
        try:
            value = (Path("/proc/sys") / setting).read_text("ascii").strip()
        except OSError:
            continue
        if value == bad:
            return f"the kernel forbids user namespaces; run `{advice}` as root"
    # Asked for real: util-linux's --map-auto hangs where the kernel refuses.
    done = subprocess.run(["unshare", "--user", "true"], capture_output=True, check=False)
    if done.returncode != 0:
        return (
            "the kernel refuses a user namespace (inside a chroot or a container it may); build as "
            "root, or outside of it"
        )
    return None


def entry(argv: Sequence[str], environment: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The command line and environment that run `argv` inside. Pure."""
    inside = dict(environment)
    inside[MARK] = "1"
    inside.setdefault(OUTER_UID, str(os.getuid()))
    return ["unshare", "--user", "--map-root-user", "--map-auto", "--", *argv], inside


def enter(argv: Sequence[str]) -> NoReturn:
    """Replace this process by `argv` inside a user namespace. Raises UsageError when it can't."""
    if reason := reason_unavailable():
        raise UsageError(reason)
    command, environment = entry(argv, os.environ)
    program = which("unshare")
    if program is None:
        raise UsageError("unshare not found", advice="run `apt-get install util-linux` as root")
    os.execve(program, command, environment)


def ensure() -> None:
    """Become root-like: returns at once when we are, else re-executes this very command."""
    if is_root_like():
        return
    enter([sys.executable, *sys.orig_argv[1:]])
