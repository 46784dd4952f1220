"""What builders that run dpkg share: bringing .debs in, and removing what differs by run."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.core.derivation import Input
from engine.ecosystems.debian import first_start as firststart
from engine.lock.packages import LockedPackage
from engine.realise import confined, traces

DEBS = "/var/cache/envd-debs"  # where the sandbox sees them

_INFO = "var/lib/dpkg/info"
_SHOWN = 5  # warnings of one kind
_KEY_SIZE = 64 << 10  # bytes; a larger file holds more than a key
_PRIVATE = re.compile(rb"^-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----\s*$", re.MULTILINE)


def fetches(packages: Sequence[LockedPackage]) -> tuple[Input, ...]:
    """The packages' files as inputs."""
    return tuple(Input("file", p.file.fetch()) for p in sorted(packages, key=lambda p: (p.name, p.version)))


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
    upper: Path,
    log: Callable[[str], None],
    *,
    by_user: bool = False,
    packages: Sequence[str] = (),
    warn: Callable[[str], None] | None = None,
) -> None:
    """Take away what would differ between two runs, and what no image may hold: logs and times,
    keys, ids, databases (`engine.ecosystems.debian.first_start` makes those when the container starts).

    What is taken is said to `log`. `packages` are names of packages that are known to be there,
    beside those that were installed here. With `by_user` the user's own commands wrote it: their
    databases and logs stay, and a private key of theirs is only said, to `warn` if that is given.
    """
    warn = warn or (lambda text: log(f"warning: {text}"))
    traces.clear(upper, logs=not by_user)
    names = [*packages, *installed(upper)]
    taken = firststart.take_out(upper, names, data=not by_user)
    if taken:
        log(f"left to the container's first start: {', '.join(taken)}")
    keys = _private_keys(upper)
    if by_user:
        for path in keys[:_SHOWN]:
            warn(f"/{path} is a private key: whoever has the image has it")
        if len(keys) > _SHOWN:
            warn(f"and so are {len(keys) - _SHOWN} more files")
        return
    for path in keys:
        confined.remove(upper, path)
        log(
            f"warning: /{path} is left out: a maintainer script made this private "
            "key, and every container would have the same"
        )


def installed(upper: Path) -> list[str]:
    """The names of the packages that were installed (or configured anew) in this layer."""
    lists = confined.find(upper, f"{_INFO}/*.list", whiteouts=False)
    return [p.rpartition("/")[2].removesuffix(".list").partition(":")[0] for p in lists]


def _private_keys(upper: Path) -> list[str]:
    """Files with a private key that no package of this layer brings."""
    brought = _brought(upper)
    return sorted(
        path
        for path, info in confined.walk(upper)
        if stat.S_ISREG(info.st_mode)
        and not path.endswith(".pyc")
        and 64 <= info.st_size <= _KEY_SIZE
        and _merged(path) not in brought
        and _PRIVATE.search(confined.read(upper, path) or b"") is not None
    )


def _brought(upper: Path) -> set[str]:
    names = set()
    for path in confined.regular(upper, f"{_INFO}/*.list"):
        for line in os.fsdecode(confined.read(upper, path, -1) or b"").splitlines():
            names.add(_merged(line.lstrip("/")))
    return names


def _merged(name: str) -> str:
    """A file's path in a merged /usr."""
    return f"usr/{name}" if name.startswith(("bin/", "sbin/", "lib/", "lib64/")) else name
