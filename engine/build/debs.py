"""What builders that run dpkg share: bringing .debs in, and removing what differs by run."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from engine.derivation import Fetch, Input
from engine.lock import LockedPackage

DEBS = "/var/cache/envd-debs"  # where the sandbox sees them

# Written by dpkg, apt, ldconfig and maintainer scripts; with times, or of no use in an image.
_VOLATILE = (
    "var/log/dpkg.log", "var/log/alternatives.log", "var/log/bootstrap.log", "var/log/fontconfig.log",
    "var/log/apt/*", "var/cache/apt/*.bin", "var/cache/apt/archives/*.deb",
    "var/cache/apt/archives/lock", "var/cache/apt/archives/partial/*", "var/cache/ldconfig/aux-cache",
    "var/cache/debconf/*-old", "var/lib/dpkg/*-old", "var/lib/dpkg/lock*", "var/lib/dpkg/triggers/Lock",
    "var/lib/apt/lists/*", "var/lib/apt/extended_states", "var/lib/systemd/random-seed",
    "etc/*-", "var/lib/dbus/machine-id", "var/cache/man/*",
)


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


def clean(upper: Path) -> None:
    """Take away what would differ between two runs."""
    for pattern in _VOLATILE:
        for path in upper.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    machine_id = upper / "etc/machine-id"
    if machine_id.is_file():
        machine_id.write_text("")
