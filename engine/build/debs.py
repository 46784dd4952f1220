"""What builders that run dpkg share: bringing .debs in, and removing what differs by run."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.build import firststart, inside, traces
from engine.derivation import Fetch, Input
from engine.lock import LockedPackage

DEBS = "/var/cache/envd-debs"  # where the sandbox sees them

_INFO = "var/lib/dpkg/info"
_SHOWN = 5  # warnings of one kind
_KEY_SIZE = 64 << 10  # bytes; a larger file holds more than a key
_PRIVATE = re.compile(rb"^-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----\s*$", re.MULTILINE)


def fetches(packages: Sequence[LockedPackage]) -> tuple[Input, ...]:
    """The packages' files as inputs."""
    return tuple(
        Input("file", Fetch(p.file.name, p.file.url, p.file.sha256, p.file.size))
        for p in sorted(packages, key=lambda p: (p.name, p.version))
    )


def bring(files: Sequence[tuple[str, Path]], directory: Path) -> list[str]:
    """Give the files their names in `directory`; where the sandbox will see each."""
    directory.mkdir()
    for name, path in files:
        _link(path, directory / name)
    return [f"{DEBS}/{name}" for name, _ in files]


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def clean(
    upper: Path, log: Callable[[str], None], *, by_user: bool = False, packages: Sequence[str] = ()
) -> None:
    """Take away what would differ between two runs, and what no image may hold: logs and times,
    keys, ids, databases (`engine.build.firststart` makes those when the container starts).

    What is taken is said to `log`. `packages` are names of packages that are known to be there,
    beside those that were installed here. With `by_user` the user's own commands wrote it: their
    databases and logs stay, and a private key of theirs is only said.
    """
    traces.clear(upper, logs=not by_user)
    names = [*packages, *installed(upper)]
    taken = firststart.take_out(upper, names, data=not by_user)
    if taken:
        log(f"left to the container's first start: {', '.join(taken)}")
    keys = _private_keys(upper)
    if by_user:
        for path in keys[:_SHOWN]:
            log(f"warning: /{path.relative_to(upper)} is a private key: whoever has the image has it")
        if len(keys) > _SHOWN:
            log(f"warning: and so are {len(keys) - _SHOWN} more files")
        return
    for path in keys:
        path.unlink()
        log(f"warning: /{path.relative_to(upper)} is left out: a maintainer script made this private "
            "key, and every container would have the same")


def installed(upper: Path) -> list[str]:
    """The names of the packages that were installed (or configured anew) in this layer."""
    lists = inside.matching(upper, f"{_INFO}/*.list")
    return [p.name.removesuffix(".list").partition(":")[0] for p in lists]


def _private_keys(upper: Path) -> list[Path]:
    """Files with a private key that no package of this layer brings."""
    brought = _brought(upper)
    return sorted(
        path for path in inside.files(upper)
        if path.suffix != ".pyc" and 64 <= path.lstat().st_size <= _KEY_SIZE
        and _merged(path.relative_to(upper).as_posix()) not in brought
        and _PRIVATE.search(inside.read(path)) is not None
    )


def _brought(upper: Path) -> set[str]:
    names = set()
    for path in inside.matching(upper, f"{_INFO}/*.list"):
        for line in os.fsdecode(inside.read(path)).splitlines():
            names.add(_merged(line.lstrip("/")))
    return names


def _merged(name: str) -> str:
    """A file's path in a merged /usr."""
    return f"usr/{name}" if name.startswith(("bin/", "sbin/", "lib/", "lib64/")) else name
