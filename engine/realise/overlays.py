"""Overlays over layers: their mount options, and whether the store's file system can carry one.

Options: Linux, Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from engine.core import command
from engine.errors import BuildError, UsageError
from engine.realise import idmapped, seccomp, userns
from store import notices
from store.errors import StoreError, disk_full, full

# Features that leave host-dependent marks in the upper directory are off.
OPTIONS = "redirect_dir=nofollow,metacopy=off,index=off,xino=off"


def is_mapped(directory: Path) -> bool:
    """Whether steps with their files in `directory` get a user namespace from us. Says so, once, when
    they should and cannot."""
    if not userns.may_mount():
        return False
    reason = idmapped.reason_unavailable(directory)
    if reason is not None:
        notices.once("sandbox", f"build steps run with root's own uid here: {reason}")
    return idmapped.is_used(directory)


def options(scratch: Path, layers: Sequence[Path]) -> str:
    """Make the overlay's directories in `scratch`, and its mount options."""
    links = scratch / "l"
    for directory in (scratch / "merged", scratch / "work", links):
        directory.mkdir(exist_ok=True)
    names = []
    for number, layer in enumerate(layers):
        link = links / str(number)
        link.unlink(missing_ok=True)
        link.symlink_to(layer.absolute())
        names.append(f"l/{number}")
    words = [f"lowerdir={':'.join(reversed(names))}", "upperdir=upper", "workdir=work", OPTIONS]
    if userns.in_user_namespace():
        words.append("userxattr")
    text = ",".join(words)
    if len(text) >= 4096:
        raise BuildError(f"{len(layers)} layers are more than one overlay takes")
    return text


def check(store: Path) -> None:
    """Raise UsageError when the file system of the store cannot carry an overlay: before anything
    is built, not at the first step after a base that took minutes. Says it when root's steps cannot
    have other uids. Raises it, too, when libseccomp is not there."""
    seccomp.program()
    if idmapped.is_used(store / "tmp"):
        return
    scratch = Path(tempfile.mkdtemp(dir=store / "tmp", prefix=f"overlay-{os.getpid()}-"))
    try:
        (scratch / "lower").mkdir()
        (scratch / "upper").mkdir()
        made = options(scratch, [scratch / "lower"])
        done = command.ask_text(
            [
                "unshare",
                "--mount",
                "--propagation",
                "private",
                "mount",
                "-t",
                "overlay",
                "overlay",
                "-o",
                made,
                "merged",
            ],
            environment={**command.HOST_ENVIRONMENT, "LIBMOUNT_FORCE_MOUNT2": "always"},
            cwd=scratch,
        )
    finally:
        _remove_trial(scratch)
    if done.returncode == 0:
        is_mapped(store / "tmp")
        return
    if disk_full(store):
        raise StoreError(full(store))
    words = done.stderr.strip().splitlines()[:1]
    if any("unshare" in line or "permission denied" in line.lower() for line in words):
        return  # not the store's fault: the step's own error says what the kernel refuses
    kind = _file_system(store)
    what = "another overlay" if kind == "overlay" else "the overlays that steps are run in"
    raise UsageError(
        f"the store is on {kind}, which cannot carry {what}",
        subject=str(store),
        advice="set ENVD_STORE to a directory on ext4, xfs or btrfs (in a container: a volume)",
    )


def _remove_trial(scratch: Path) -> None:
    """Remove what `check` has made. No directory is opened: there may be no descriptor for that."""
    for name in ("l/0", "l", "lower", "upper", "merged", "work/work", "work", "."):
        path = scratch / name if name != "." else scratch
        with suppress(OSError):
            if path.is_symlink():
                path.unlink()
            else:
                path.rmdir()


def _file_system(path: Path) -> str:
    """The type of the file system that holds `path`, "overlay" for overlayfs (proc_pid_mountinfo(5))."""
    found, depth = "this file system", -1
    for line in Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines():
        before, _, after = line.partition(" - ")
        point = Path(before.split()[4].replace("\\040", " "))
        if path.resolve().is_relative_to(point) and len(point.parts) >= depth:
            found, depth = after.split()[0], len(point.parts)
    return found
