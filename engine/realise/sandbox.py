"""The sandbox: one command over a stack of layers, cut off from the host.

An overlayfs is mounted over the input trees in a mount namespace of its own, so it vanishes
with the process however that ends; bubblewrap makes its merged view the root directory, with
new pid, ipc, uts, cgroup and (unless asked otherwise) net namespaces, all within a pid namespace
whose end is the end of every process. The overlay's upper directory is the result.
Upper form: Linux, Documentation/filesystems/overlayfs.rst.

Its uid 0 is no root: where we are root, the step is in a user namespace (`engine.realise.idmapped`); an
ordinary user's envd is in one itself (`engine.realise.userns`), and the overlay's marks are then kept in
user.overlay.* instead of trusted.overlay.* xattrs. Who is in none, and may not mount, gets one with
that one uid, in which nothing can be stacked. Its system calls are filtered (`engine.realise.seccomp`),
and it has a session keyring of its own.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict, Unpack

from engine.core import command
from engine.errors import BuildError
from engine.realise import bubblewrap, idmapped, limits, merged, overlays, spawn, userns
from engine.realise.bubblewrap import CAPABILITIES, ENVIRONMENT, Bind, Inside
from engine.realise.merged import lookup, resolve
from engine.realise.overlays import check
from store.limits import Limits

# With what a step is described, and looked at.
__all__ = ["CAPABILITIES", "ENVIRONMENT", "Bind", "Options", "check", "lookup", "resolve", "run"]


class Options(TypedDict):
    """What `run` takes.

    `layers` are what it runs over, bottom first; `scratch` is a directory for its files. `binds` are
    shown to it. `writes` are further directories that count towards the limit of disk; `bounds` are the
    limits, those of a step where none are given. `log` hears its lines, `name` is for errors.
    """

    layers: Sequence[Path]
    scratch: Path
    log: Callable[[str], None]
    name: str
    environment: NotRequired[Mapping[str, str]]
    binds: NotRequired[Sequence[Bind]]
    network: NotRequired[bool]
    cwd: NotRequired[str]
    capabilities: NotRequired[Sequence[str]]
    read_only: NotRequired[bool]
    writes: NotRequired[Sequence[Path]]
    bounds: NotRequired[Limits | None]


def run(argv: Sequence[str], **options: Unpack[Options]) -> Path:
    """Run `argv` over layers; return the upper directory, what it changed.

    `scratch/upper` may exist already: it is the upper directory's first content. Without
    layers it is the whole root. /run is empty and forgotten, and so is /tmp, unless a layer has put
    something there. Mount points that had to be made are taken away again, and so is `cwd`, which is
    made when it is not there, unless something was put into it. With `read_only` nothing else than what
    is bound so, and these, can be written. Raises BuildError with the log's end, UsageError.
    """
    bounds = options.get("bounds")
    held = limits.in_force() if bounds is None else bounds
    scratch = options["scratch"]
    # The same layer twice (an image may bring what is put upon it) is the upper one alone; the
    # kernel takes no directory twice.
    layers = list(dict.fromkeys(reversed(options["layers"])))[::-1]
    upper = scratch / "upper"
    upper.mkdir(exist_ok=True, parents=True)
    inside = _inside(argv, options)
    # From the top down: the order in which a lookup goes.
    stack = [upper, *(layer.absolute() for layer in reversed(layers))]
    targets = [resolve(bind.target, stack) for bind in inside.binds]
    temporary = ("/run",) if merged.holds_something("tmp", stack) else ("/tmp", "/run")
    place = resolve(options.get("cwd", "/"), stack)
    points = [*(resolve(p, stack) for p in ("/proc", "/dev", *temporary)), *targets, place]
    made = merged.would_be_made(points, stack)
    copied = merged.would_be_copied(made, stack)
    mapped = overlays.is_mapped(scratch)
    root, shown = _shown(inside.binds, targets, scratch, layers, mapped=mapped)
    inner = bubblewrap.arguments(inside, root, shown, place, temporary, held)
    try:
        with limits.step(held, upper, *options.get("writes", ())) as step:
            who = spawn.Who(options["name"], options["log"], step)
            if mapped:
                spawn.mapped(inner, scratch, layers, [bind.source for bind in inside.binds], who)
            else:
                spawn.plainly(inner, scratch, layers, who)
    except BuildError as error:
        if os.strerror(errno.EOVERFLOW) not in error.log or isinstance(error, command.LimitError):
            raise
        raise BuildError(f"{error}; {_far_owner()}", error.log) from error
    finally:
        merged.clean(scratch, upper, made, copied)
    return upper


def _inside(argv: Sequence[str], options: Options) -> Inside:
    """What is asked for, and with the network its files."""
    network, binds = options.get("network", False), options.get("binds", ())
    return Inside(
        argv,
        options.get("environment", {}),
        (*binds, *_resolver_files(binds)) if network else binds,
        network,
        options.get("capabilities", CAPABILITIES),
        options.get("read_only", False),
    )


def _shown(
    binds: Sequence[Bind], targets: Sequence[str], scratch: Path, layers: Sequence[Path], *, mapped: bool
) -> tuple[str, list[tuple[str, str, str]]]:
    """What will be the root directory, and bubblewrap's words for `binds` at `targets`."""
    if mapped:
        root, sources = idmapped.root(layers), [idmapped.place(n) for n in range(len(binds))]
    else:
        root = str(scratch.absolute() / ("merged" if layers else "upper"))
        sources = [str(bind.source.absolute()) for bind in binds]
    return root, [
        ("--bind" if bind.writable else "--ro-bind", source, target)
        for bind, source, target in zip(binds, sources, targets, strict=True)
    ]


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


def _resolver_files(binds: Sequence[Bind]) -> list[Bind]:
    taken = {bind.target for bind in binds}
    paths = ("/etc/resolv.conf", "/etc/hosts")
    return [Bind(Path(p).resolve(), p) for p in paths if p not in taken and Path(p).exists()]
