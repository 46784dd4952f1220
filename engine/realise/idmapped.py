"""Root's builds in a user namespace: uids of a range of their own, while disks keep the real ones.

Inside, uid N is uid BASE+N of the machine, which owns nothing here. So that files of the store, which
uid N owns, are those of uid N inside, they are shown by idmapped mounts (mount_setattr(2),
MOUNT_ATTR_IDMAP; Linux 5.12, as layers of an overlay 5.19): what is written through them has the real
uids on disk again, and the bytes of a layer are the same with and without.

A build's mounts are made by a thread that has unshared its mount namespace (which Linux allows a
thread to do alone), and live as long as the descriptor of that namespace and the processes in it.
"""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from engine.core.command import HOST_ENVIRONMENT, stop_everything
from engine.errors import BuildError
from engine.realise import syscalls, userns

T = TypeVar("T")

# In the build's mount namespace a small file system covers this directory (which bubblewrap needs
# too); nothing of the host's that leads to the store has to be open to the build's uids.
PLACE = os.path.realpath("/tmp")
# Above what systemd gives to containers, below what it calls foreign (its UIDS-GIDS.md); wide, for
# images have uids above 65535.
_FIRST, _END = 0x70000000, 0x7FFE0000
_LEAST = 65536

_namespace_lock = threading.Lock()
_said: dict[int, str | None] = {}  # by device: why its files cannot be shown so, None when they can
_probe_lock = threading.Lock()


@dataclass(frozen=True)
class Namespace:
    """A user namespace where uid and gid N are `base` + N outside, for `count` of them."""

    descriptor: int
    base: int
    count: int


class UnavailableError(Exception):
    """Root's builds cannot have a user namespace here; says why."""


def reason_unavailable(directory: Path) -> str | None:
    """Why builds with their files in `directory` (of the store) have root's own uids; None when they
    have others, or when envd has entered a user namespace by itself, whose uid 0 is its user."""
    if userns.in_user_namespace():
        if userns.MARK in os.environ:
            return None
        return "this root is one of a user namespace already (a container?), which has no other uids"
    device = directory.stat().st_dev
    with _probe_lock:
        if device not in _said:
            _said[device] = _probe(directory)
        return _said[device]


def is_used(directory: Path) -> bool:
    """Whether builds with their files in `directory` get a user namespace from us."""
    return not userns.in_user_namespace() and reason_unavailable(directory) is None


def _probe(directory: Path) -> str | None:
    """Try all of it once: no version number says what a distribution's kernel has or forbids. Raises
    OSError for what has nothing to do with that."""
    try:
        owner = namespace()
        _see_proc(owner)
        with tempfile.TemporaryDirectory(dir=directory, prefix=f"idmapped-{os.getpid()}-") as name:
            scratch = Path(name)
            for part in ("lower", "upper"):
                (scratch / part).mkdir()
            os.close(mounts(scratch, [scratch / "lower"], (), "index=off,metacopy=off"))
    except UnavailableError as error:
        return str(error)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            return "this kernel has no idmapped mounts (Linux 5.19 has)"
        if error.errno not in (errno.EINVAL, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP):
            raise  # a full disk, say
        return (
            f"the kernel cannot show the files of {directory} as another user's "
            f"({error.filename}: {error.strerror}); ext4, xfs and btrfs can, from Linux 5.19 on"
        )
    return None


def _see_proc(owner: Namespace) -> None:
    """Raise UnavailableError when a process in the namespace may not have a /proc of its own, as in
    containers that cover parts of /proc."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    if not any(p.startswith("/proc/") and p != "/proc/sys/fs/binfmt_misc" for p in points):
        return
    done = subprocess.run(
        [
            "nsenter",
            f"--user=/proc/{os.getpid()}/fd/{owner.descriptor}",
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "true",
        ],
        env=HOST_ENVIRONMENT,
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise UnavailableError(
            "parts of /proc are covered here (a container?), so that a user namespace may not have "
            "a /proc of its own"
        )


def namespace() -> Namespace:
    """This process's one user namespace for builds. Raises UnavailableError."""
    with _namespace_lock:
        return _namespace()


@cache
def _namespace() -> Namespace:
    base, count = free_range(_taken())
    try:
        process = subprocess.Popen(
            ["unshare", "--user", "sh", "-c", "echo && read _"],
            env=HOST_ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        raise UnavailableError(f"unshare cannot be run: {error.strerror}") from error
    with process:  # it ends when we close its standard input, or end
        assert process.stdout is not None
        if not process.stdout.readline():
            raise UnavailableError("the kernel refuses a user namespace (in a chroot or container?)")
        try:
            for kind in ("uid", "gid"):
                Path(f"/proc/{process.pid}/{kind}_map").write_text(f"0 {base} {count}\n")
            descriptor = os.open(f"/proc/{process.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise UnavailableError(f"the kernel refuses the uids from {base} on: {error.strerror}") from error
    return Namespace(descriptor, base, count)


def free_range(taken: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """The widest range (first, count) that is nobody's. `taken`: such ranges. Raises UnavailableError
    when none has 65536. Pure."""
    best, here = (_FIRST, 0), _FIRST
    for first, count in [*sorted(taken), (_END, 1)]:
        if min(first, _END) - here > best[1]:
            best = here, min(first, _END) - here
        here = max(here, first + count)
    if best[1] < _LEAST:
        raise UnavailableError(f"/etc/subuid and its like leave no 65536 uids between {_FIRST} and {_END}")
    return best


def _taken() -> list[tuple[int, int]]:
    """Ranges of uids and gids that users have."""
    found = []
    for name, first, count in (("subuid", 1, 2), ("subgid", 1, 2), ("passwd", 2, None), ("group", 2, None)):
        try:
            lines = (Path("/etc") / name).read_text("utf-8", "replace").splitlines()
        except OSError:
            continue
        for row in (line.split(":") for line in lines):
            try:
                found.append((int(row[first]), int(row[count]) if count is not None else 1))
            except (IndexError, ValueError):
                continue
    return found


def mounts(scratch: Path, layers: Sequence[Path], sources: Sequence[Path], options: str) -> int:
    """A mount namespace with what a build sees: the descriptor of it, to be closed.

    There `root(layers)` is the overlay of `layers` (bottom first), with `scratch/upper` on top and
    `options`, or that directory alone; and `place(n)` is the n-th of `sources`. Raises OSError.
    """
    owner = namespace()
    return in_thread(lambda: _mounts(scratch, layers, sources, options, owner))


def root(layers: Sequence[Path]) -> str:
    """The path of a build's root directory in the namespace that `mounts` makes."""
    return f"{PLACE}/merged" if layers else f"{PLACE}/scratch/upper"


def place(number: int) -> str:
    """The path of its n-th source there."""
    return f"{PLACE}/source-{number}"


def _mounts(
    scratch: Path, layers: Sequence[Path], sources: Sequence[Path], options: str, owner: Namespace
) -> int:
    """In a thread of its own, whose namespace and identity change."""
    # One mount of a directory serves all the layers that lie in it: the store's trees.
    parents = list(dict.fromkeys(layer.absolute().parent for layer in layers))
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    clones: dict[str, int] = {}
    try:
        clones["scratch"] = _clone(scratch, owner)
        for number, parent in enumerate(parents):
            clones[f"parent-{number}"] = _clone(parent, owner)
        files = set()
        for number, source in enumerate(sources):
            name = f"source-{number}"
            clones[name] = _clone(source, owner, bind=True)
            if not source.is_dir():
                files.add(name)
        syscalls.mount("tmpfs", PLACE, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=0755")
        os.chdir(PLACE)  # this thread's alone
        # The kernel makes what belongs to the overlay as who mounts it, who must have a uid that
        # the idmapped mounts know.
        syscalls.act_as_owner(owner.base)
        for name in clones:
            _make_place(name, name in files)
            syscalls.attach_mount(clones[name], name)
        if layers:
            for name in ("merged", "scratch/work"):
                Path(name).mkdir(exist_ok=True)
            lower = _links(layers, {parent: f"parent-{n}" for n, parent in enumerate(parents)})
            text = f"lowerdir={lower},upperdir=scratch/upper,workdir=scratch/work,{options}"
            if len(text) >= 4096:
                raise BuildError(f"{len(layers)} layers are more than one overlay takes")
            syscalls.mount("overlay", "merged", "overlay", 0, text)
    finally:
        for descriptor in clones.values():
            os.close(descriptor)
    return os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


def _clone(path: Path, owner: Namespace, bind: bool = False) -> int:
    """A mount of `path` with its owners mapped. A `bind` has the mounts below it, too (a machine's
    /usr/local, say), and owners as they are where that cannot be: whoever may read the file may then
    read it, as with a resolv.conf on an old kernel's tmpfs."""
    clone = syscalls.clone_mount(str(path.absolute()), recursive=bind)
    try:
        syscalls.map_owners(clone, owner.descriptor)
    except OSError as error:
        if bind and error.errno in (errno.EINVAL, errno.EPERM):
            return clone
        os.close(clone)
        raise OSError(error.errno, error.strerror, str(path)) from error
    return clone


def _make_place(name: str, file: bool) -> None:
    if file:
        Path(name).touch()
    else:
        Path(name).mkdir()


def _links(layers: Sequence[Path], parents: Mapping[Path, str]) -> str:
    """Short names for the layers, for the kernel takes one page (4096 bytes) of them: the value of
    lowerdir."""
    names = []
    for number, layer in enumerate(layers):
        Path(str(number)).symlink_to(f"{parents[layer.absolute().parent]}/{layer.name}")
        names.append(str(number))
    return ":".join(reversed(names))


def in_thread(function: Callable[[], T]) -> T:
    """What `function` returns, run in a thread of its own: what it does to that thread alone (its
    namespaces, its keyring) ends with it."""
    results: list[T] = []
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded, name="sandbox")
    thread.start()
    try:
        thread.join()
    except BaseException:  # only a signal does that: the process is to end, and its commands with it
        stop_everything()
        thread.join()
        raise
    if errors:
        raise errors[0]
    return results[0]
