"""A project: where a spec is, which function of it builds, and where its lock and store are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from engine.errors import UsageError

SPEC_NAME = "build.envd"


@dataclass(frozen=True)
class Project:
    """`directory` is what relative paths in the spec mean; `lock` is where its lock lies."""

    spec: Path
    function: str
    directory: Path
    lock: Path

    @property
    def name(self) -> str:
        """The project's name: its directory's, as a valid image repository name."""
        cleaned = "".join(c if c.isalnum() else "-" for c in self.directory.name.lower())
        return cleaned.strip("-") or "envd"


def find(file: str | None, path: str | None) -> Project:
    """The project of `-f FILE[:FUNC]` and `-p PATH`. Raises UsageError when there is no spec."""
    directory = Path(path or ".")
    if not directory.is_dir():
        raise UsageError(f"{directory}: not a directory; give the project's with -p")
    name, _, function = (file or SPEC_NAME).partition(":")
    spec = Path(name or SPEC_NAME)
    if not spec.is_absolute() and not (file and path is None):
        spec = directory / spec
    if not spec.is_file():
        raise UsageError(f"{spec}: no such file; write one, or name it with -f FILE")
    if path is None:
        directory = spec.parent
    stem = "envd" if spec.name == SPEC_NAME else spec.name.removesuffix(".envd") + ".envd"
    return Project(
        spec=spec,
        function=function or "build",
        directory=directory.resolve(),
        lock=spec.parent / f"{stem}.lock",
    )


def store_path() -> Path:
    """Where the store is: ENVD_STORE, else /var/lib/envd for root, else the user's data home."""
    if given := os.environ.get("ENVD_STORE"):
        return Path(given).absolute()
    # Inside our own user namespace uid 0 is the calling user: ENVD_OUTER_UID tells.
    if os.getuid() == 0 and os.environ.get("ENVD_OUTER_UID", "0") == "0":
        return Path("/var/lib/envd")
    home = os.environ.get("XDG_DATA_HOME") or str(Path("~/.local/share").expanduser())
    return Path(home) / "envd"
