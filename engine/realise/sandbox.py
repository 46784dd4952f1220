"""The sandbox: one command over a stack of layers, cut off from the host.

An overlayfs is mounted over the input trees in a mount namespace of its own, so it vanishes
with the process however that ends; bubblewrap makes its merged view the root directory, with
new pid, ipc, uts, cgroup and (unless asked otherwise) net namespaces, all within a pid namespace
whose end is the end of every process. The overlay's upper directory is the result.
Options and upper form: Linux, Documentation/filesystems/overlayfs.rst.

Its uid 0 is no root: where we are root, the step is in a user namespace (`engine.realise.idmapped`); an
ordinary user's envd is in one itself (`engine.realise.userns`), and the overlay's marks are then kept in
user.overlay.* instead of trusted.overlay.* xattrs. Who is in none, and may not mount, gets one with
that one uid, in which nothing can be stacked. Its system calls are filtered (`engine.realise.seccomp`),
and it has a session keyring of its own.
"""

from __future__ import annotations

import contextvars
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from engine.core import command
from engine.errors import BuildError, UsageError
from engine.realise import confined, idmapped, limits, seccomp, syscalls, userns
from store import notices
from store.errors import StoreError, disk_full, full
from store.layers import is_opaque, is_whiteout
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
# $1 is our process id, $2 the file of the system call filter ("" for none), which bubblewrap reads at
# its descriptor 9. Who is killed before unshare has asked for its signal is gone by now, or a zombie,
# and so are we then.
_BEGIN = """\
read -r state 2>/dev/null <"/proc/$1/stat" || exit 143
case "$state" in *") Z "*) exit 143;; esac
[ -z "$2" ] || exec 9<"$2" || exit
"""
# Mounted first, then replaced by bubblewrap: nothing of the script's own survives. $3 are the mount
# options ("" for no layers); all paths are relative, for the kernel takes one page (4096 bytes) of them.
_MOUNT_SCRIPT = f"""\
{_BEGIN}[ -z "$3" ] || mount -t overlay overlay -o "$3" merged || exit
shift 3
exec "$@"
"""
# $3 and $4 are our descriptors of the mount and of the user namespace. The shell stays, as the first
# of its pid namespace: the kernel would forget that it is to be killed with us when its uid changed.
_ENTER_SCRIPT = f"""\
{_BEGIN}pid=$1 mounts=$3 users=$4
shift 4
nsenter "--mount=/proc/$pid/fd/$mounts" "--user=/proc/$pid/fd/$users" "$@"
exit $?
"""
# Features that leave host-dependent marks in the upper directory are off.
_OPTIONS = "redirect_dir=nofollow,metacopy=off,index=off,xino=off"
_UNFILTERED = "this kernel has no seccomp: build steps may make any system call"
_MAX_LINKS = 40  # symlinks followed in one path, as the kernel's ELOOP limit


@dataclass(frozen=True)
class Bind:
    """A file or directory of the host, shown at `target` (absolute) inside."""

    source: Path
    target: str
    writable: bool = False


def run(
    argv: Sequence[str],
    *,
    layers: Sequence[Path],
    scratch: Path,
    environment: Mapping[str, str] = {},
    binds: Sequence[Bind] = (),
    network: bool = False,
    cwd: str = "/",
    log: Callable[[str], None],
    name: str,
    capabilities: Sequence[str] = CAPABILITIES,
    read_only: bool = False,
    writes: Sequence[Path] = (),
    bounds: Limits | None = None,
) -> Path:
    """Run `argv` over `layers` (bottom first); return the upper directory, what it changed.

    `scratch/upper` may exist already: it is the upper directory's first content. Without
    layers it is the whole root. /run is empty and forgotten, and so is /tmp, unless a layer has put
    something there. Mount points that had to be made are taken away again, and so is `cwd`, which is
    made when it is not there, unless something was put into it. With `read_only` nothing else than what
    is bound so, and these, can be written. `writes` are further directories that count towards the limit
    of disk; `bounds` are the limits, those of a step where none are given. Raises BuildError with the
    log's end, UsageError.
    """
    held = limits.in_force() if bounds is None else bounds
    # The same layer twice (an image may bring what is put upon it) is the upper one alone; the
    # kernel takes no directory twice.
    layers = list(dict.fromkeys(reversed(layers)))[::-1]
    upper = scratch / "upper"
    upper.mkdir(exist_ok=True, parents=True)
    if network:
        binds = (*binds, *_resolver_files(binds))
    # From the top down: the order in which a lookup goes.
    stack = [upper, *(layer.absolute() for layer in reversed(layers))]
    targets = [(bind, resolve(bind.target, stack)) for bind in binds]
    temporary = ("/run",) if _holds_something("tmp", stack) else ("/tmp", "/run")
    points = [resolve(p, stack) for p in ("/proc", "/dev", *temporary)]
    points += [t for _, t in targets]
    place = resolve(cwd, stack)
    points.append(place)
    made = _would_be_made(points, stack)
    copied = _would_be_copied(made, stack)
    mapped = _is_mapped(scratch)
    if mapped:
        root, sources = idmapped.root(layers), [idmapped.place(n) for n in range(len(binds))]
    else:
        root = str(scratch.absolute() / ("merged" if layers else "upper"))
        sources = [str(bind.source.absolute()) for bind in binds]
    shown = [
        ("--bind" if bind.writable else "--ro-bind", source, target)
        for (bind, target), source in zip(targets, sources, strict=True)
    ]
    inner = _bubblewrap(
        argv,
        root,
        shown,
        environment,
        network,
        place,
        temporary,
        capabilities,
        read_only=read_only,
        room=_room(held),
    )
    try:
        with limits.step(held, upper, *writes) as step:
            if mapped:
                _run_mapped(inner, scratch, layers, [bind.source for bind in binds], log, name, step)
            else:
                _run_plainly(inner, scratch, layers, log, name, step)
    except BuildError as error:
        if os.strerror(errno.EOVERFLOW) not in error.log or isinstance(error, command.LimitError):
            raise
        raise BuildError(f"{error}; {_far_owner()}", error.log) from error
    finally:
        _clean(scratch, upper, made, copied)
    return upper


def _far_owner() -> str:
    """What the kernel means by EOVERFLOW, "Value too large for defined data type", in a step."""
    count = (
        userns.mapped_uids(Path("/proc/self/uid_map").read_text("ascii"))
        if userns.in_user_namespace()
        else idmapped.namespace().count
    )
    return (
        "a file of an earlier layer belongs to a user or group id that build steps do not have, and so "
        f"can only be read (the kernel says 'Value too large'): ids end at {count - 1} here; "
        "use an image whose files have lower ones"
    )


def _is_mapped(directory: Path) -> bool:
    """Whether steps with their files in `directory` get a user namespace from us. Says so, once, when
    they should and cannot."""
    if not userns.may_mount():
        return False
    reason = idmapped.reason_unavailable(directory)
    if reason is not None:
        notices.once("sandbox", f"build steps run with root's own uid here: {reason}")
    return idmapped.is_used(directory)


def _run_mapped(
    inner: Sequence[str],
    scratch: Path,
    layers: Sequence[Path],
    sources: Sequence[Path],
    log: Callable[[str], None],
    name: str,
    step: limits.Step,
) -> None:
    """Run bubblewrap in a user namespace of root's."""
    owner = idmapped.namespace()
    try:
        mounts = idmapped.mounts(scratch, layers, sources, _OPTIONS)
    except OSError as error:
        raise BuildError(f"cannot mount {error.filename}: {error.strerror}", subject=name) from error
    try:
        _start(_ENTER_SCRIPT, [str(mounts), str(owner.descriptor)], inner, log, name, step, owner=owner.base)
    finally:
        os.close(mounts)


def _run_plainly(
    inner: Sequence[str],
    scratch: Path,
    layers: Sequence[Path],
    log: Callable[[str], None],
    name: str,
    step: limits.Step,
) -> None:
    """Run bubblewrap as who we are."""
    options = _overlay_options(scratch, layers) if layers else ""
    own = () if userns.may_mount() else ("--user", "--map-root-user")
    _start(
        _MOUNT_SCRIPT,
        [options],
        inner,
        log,
        name,
        step,
        *own,
        "--mount",
        "--propagation",
        "private",
        cwd=scratch,
        filter_in=scratch if own else None,
    )


def _start(
    script: str,
    arguments: Sequence[str],
    inner: Sequence[str],
    log: Callable[[str], None],
    name: str,
    step: limits.Step,
    *namespaces: str,
    cwd: Path | None = None,
    owner: int | None = None,
    filter_in: Path | None = None,
) -> None:
    """Run `script` with a session keyring and a system call filter for what it starts: from a file in
    `filter_in` where what it starts may not look at our descriptors."""
    filter_file = _filter_file(filter_in)
    filtered = ["--seccomp", "9"] if filter_file else []
    # Processes of a pid namespace end with its first one, whatever moment that is killed in:
    # bubblewrap alone would leave its child when it is killed before it has asked for that.
    argv = [
        "unshare",
        *namespaces,
        "--pid",
        "--fork",
        "--kill-child=KILL",
        "sh",
        "-c",
        script,
        "sh",
        str(os.getpid()),
        filter_file,
        *arguments,
        inner[0],
        *filtered,
        *inner[1:],
    ]
    environment = {**command.HOST_ENVIRONMENT, "LIBMOUNT_FORCE_MOUNT2": "always"}
    group = contextvars.copy_context()

    def start() -> None:
        try:
            syscalls.join_new_session_keyring()
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EPERM):  # no keys, or a filter that forbids
                raise BuildError(f"no session keyring: {error.strerror}", subject=name) from error
        group.run(
            command.run, argv, log=log, name=name, cwd=cwd, environment=environment, owner=owner, watch=step
        )

    idmapped.in_thread(start)


def _filter_file(directory: Path | None) -> str:
    """The path of the system call filter, "" where the kernel has none."""
    if (descriptor := seccomp.program()) is None:
        notices.once("sandbox", _UNFILTERED)
        return ""
    path = f"/proc/{os.getpid()}/fd/{descriptor}"
    if directory is None:
        return path
    copy = directory.absolute() / "filter"
    shutil.copyfile(path, copy)
    return str(copy)


def _bubblewrap(
    argv: Sequence[str],
    root: str,
    binds: Sequence[tuple[str, str, str]],
    environment: Mapping[str, str],
    network: bool,
    cwd: str,
    temporary: Sequence[str],
    capabilities: Sequence[str],
    *,
    read_only: bool,
    room: Sequence[str],
) -> list[str]:
    inner = [
        "bwrap",
        "--bind",
        root,
        "/",
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
        *(() if network else ("--unshare-net",)),
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
    for place in (*temporary, "/dev/shm"):
        inner += [*room, "--perms", _TEMPORARY[place], "--tmpfs", place]
    inner += ["--perms", "1777", "--dir", "/run/lock"]  # what a system has there, and /var/lock is
    for words in binds:
        inner += words
    if cwd != "/":
        inner += ["--perms", "0755", "--dir", cwd]
    if read_only:
        inner += ["--remount-ro", "/"]
    inner += ["--cap-drop", "ALL"]
    for capability in capabilities:
        inner += ["--cap-add", capability]
    inner += ["--clearenv"]
    for key, value in {**ENVIRONMENT, **environment}.items():
        inner += ["--setenv", key, value]
    return [*inner, "--chdir", cwd, "--", *argv]


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


def _overlay_options(scratch: Path, layers: Sequence[Path]) -> str:
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
    options = [f"lowerdir={':'.join(reversed(names))}", "upperdir=upper", "workdir=work", _OPTIONS]
    if userns.in_user_namespace():
        options.append("userxattr")
    text = ",".join(options)
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
        options = _overlay_options(scratch, [scratch / "lower"])
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
                options,
                "merged",
            ],
            environment={**command.HOST_ENVIRONMENT, "LIBMOUNT_FORCE_MOUNT2": "always"},
            cwd=scratch,
        )
    finally:
        _remove_trial(scratch)
    if done.returncode == 0:
        _is_mapped(store / "tmp")
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


def _holds_something(name: str, stack: Sequence[Path]) -> bool:
    """Whether a layer has files in the directory `name`."""
    for root in stack:
        directory = root / name
        if not directory.is_symlink() and directory.is_dir() and any(directory.iterdir()):
            return True
    return False


def _resolver_files(binds: Sequence[Bind]) -> list[Bind]:
    taken = {bind.target for bind in binds}
    paths = ("/etc/resolv.conf", "/etc/hosts")
    return [Bind(Path(p).resolve(), p) for p in paths if p not in taken and Path(p).exists()]


# -- paths in the merged view -----------------------------------------------------------------


def lookup(path: PurePosixPath, stack: Sequence[Path]) -> Path | None:
    """Where the file at `path`, free of symlinks, lies in `stack` (top first); None: nowhere."""
    live = list(stack)
    found: Path | None = live[0]
    for depth, part in enumerate(path.parts[1:], start=1):
        prefix = PurePosixPath(*path.parts[1:depth]) if depth > 1 else PurePosixPath(".")
        found, next_live = None, []
        for root in live:
            candidate = root / prefix / part
            try:
                info = candidate.lstat()
            except OSError:
                continue
            if is_whiteout(info):
                break
            if found is None:
                found = candidate
            if not stat.S_ISDIR(info.st_mode):
                break
            next_live.append(root)
            if is_opaque(os.fspath(candidate)):
                break
        if found is None:
            return None
        live = next_live
    return found


def resolve(target: str, stack: Sequence[Path]) -> str:
    """`target` with the image's own symlinks followed, as bubblewrap would follow the host's."""
    todo = list(reversed(PurePosixPath(target).parts[1:]))
    done = PurePosixPath("/")
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            done = done.parent
            continue
        found = lookup(done / part, stack)
        if found is None or not found.is_symlink():
            done = done / part
            continue
        links += 1
        if links > _MAX_LINKS:
            raise BuildError("too many levels of symbolic links in the layers", subject=target)
        destination = PurePosixPath(found.readlink())
        if destination.is_absolute():
            done = PurePosixPath("/")
            todo += reversed(destination.parts[1:])
        else:
            todo += reversed(destination.parts)
    return str(done)


def _would_be_made(points: Sequence[str], stack: Sequence[Path]) -> list[PurePosixPath]:
    """The mount points, and their parents, that are not there: deepest first."""
    missing = set()
    for point in points:
        path = PurePosixPath(point)
        for candidate in (path, *path.parents):
            if lookup(candidate, stack) is None:
                missing.add(candidate)
    return sorted(missing, key=lambda p: len(p.parts), reverse=True)


def _would_be_copied(
    made: Sequence[PurePosixPath], stack: Sequence[Path]
) -> list[tuple[PurePosixPath, Path]]:
    """Directories of the layers that making `made` copies up, with their originals: deepest
    first."""
    copied = {}
    for path in made:
        for parent in path.parents[:-1]:
            original = lookup(parent, stack)
            if original is not None and original != stack[0] / parent.relative_to("/"):
                copied[parent] = original
    return sorted(copied.items(), key=lambda item: len(item[0].parts), reverse=True)


def _status(info: os.stat_result) -> tuple[int, int, int]:
    return info.st_mode, info.st_uid, info.st_gid


def _clean(
    scratch: Path, upper: Path, made: Sequence[PurePosixPath], copied: Sequence[tuple[PurePosixPath, Path]]
) -> None:
    for path in made:
        with suppress(OSError):  # not when the builder put something there
            confined.remove_empty(upper, str(path.relative_to("/")))
    for path, original in copied:
        with suppress(OSError):
            now, then = confined.lstat(upper, str(path.relative_to("/"))), original.lstat()
            if now is not None and _status(now) == _status(then):
                confined.remove_empty(upper, str(path.relative_to("/")))
    for link in (scratch / "l").glob("*"):
        link.unlink()
    for directory in ("l", "merged", "work"):
        # The kernel leaves its own whiteouts in the work directory.
        shutil.rmtree(scratch / directory, ignore_errors=True)
