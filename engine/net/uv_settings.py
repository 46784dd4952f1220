"""uv's settings files of the user and the machine: uv.toml, as uv's documentation ("Configuration
files") has it. uv itself is told to read none, for they could choose other packages; where packages
are and how they are reached is taken from them here.

The user's is ~/.config/uv/uv.toml ($XDG_CONFIG_HOME), the machine's the first of
$XDG_CONFIG_DIRS/uv/uv.toml and /etc/uv/uv.toml. The user's values win; lists are joined, the user's
first. Table [pip] wins over the top, for what uv's `pip` commands do. UV_NO_CONFIG turns them off.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from engine.core.urls import hidden
from engine.errors import UsageError
from engine.net.local import is_local

# What decides which packages are chosen, and is the spec's to say.
_NOT_TAKEN = frozenset(
    (
        "constraint-dependencies",
        "override-dependencies",
        "exclude-dependencies",
        "build-constraint-dependencies",
        "exclude-newer",
        "exclude-newer-package",
        "prerelease",
        "resolution",
        "fork-strategy",
        "no-binary",
        "no-binary-package",
        "no-build",
        "no-build-package",
        "only-binary",
        "torch-backend",
        "dependency-metadata",
        "no-sources",
        "environments",
        "required-environments",
        "require-hashes",
        "no-deps",
        "offline",
    )
)


@dataclass(frozen=True)
class UvSettings:
    """What uv's files say of where packages are. `extra` may be "NAME=URL"."""

    index: str = ""
    extra: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    no_index: bool = False
    trusted: tuple[str, ...] = ()
    strategy: str = ""
    keyring: str = ""
    not_taken: tuple[str, ...] = ()

    @property
    def urls(self) -> tuple[str, ...]:
        """Every index and page of links."""
        return tuple(filter(None, (self.index, *map(bare, self.extra), *self.links)))


@cache
def current() -> UvSettings:
    """This machine's. Raises UsageError for a file that uv could not read."""
    return read(os.environ)


def bare(index: str) -> str:
    """The URL of "URL" or "NAME=URL"."""
    return index.partition("=")[2] if "=" in index.partition("://")[0] else index


def read(environment: Mapping[str, str]) -> UvSettings:
    """What the files say that uv would read. Raises UsageError."""
    if environment.get("UV_NO_CONFIG", "").lower() not in ("", "0", "false", "no", "off", "f", "n"):
        return UvSettings()
    files = [(path, _document(path)) for path in _files(environment)]
    tables = [(path, table) for path, document in files for table in _tables(document)]
    try:
        return _understood(tables)
    except (TypeError, AttributeError, KeyError) as error:
        names = " and ".join(str(path) for path, _ in files)
        raise UsageError(
            f"not uv's settings as uv has them ({error!r})",
            subject=names,
            advice="correct them, or leave them out with UV_NO_CONFIG=1",
        ) from error


def _understood(tables: Sequence[tuple[Path, Mapping[str, Any]]]) -> UvSettings:
    def one(*names: str) -> Any:
        return next((t[n] for _, t in tables for n in names if t.get(n) not in (None, "")), "")

    def every(name: str) -> list[Any]:
        return [value for _, table in tables for value in table.get(name) or ()]

    indexes = [row for row in every("index") if not row.get("explicit")]
    default = next((row["url"] for row in indexes if row.get("default")), "")
    extra = [
        f"{row['name']}={row['url']}" if row.get("name") else str(row["url"])
        for row in indexes
        if not row.get("default") and row.get("format", "simple") == "simple"
    ]
    extra += map(str, every("extra-index-url"))
    links = [
        *map(str, every("find-links")),
        *(str(row["url"]) for row in indexes if row.get("format", "simple") != "simple"),
    ]
    index, no_index = str(default or one("index-url")), bool(one("no-index"))
    not_taken = [f"{name} ({path})" for path, table in tables for name in sorted(_NOT_TAKEN & table.keys())]
    if not (is_local(index) or no_index):
        for path, table in tables:  # as of pip's settings
            named = [str(row["url"]) for row in table.get("index") or () if not row.get("explicit")]
            for name in ("extra-index-url", "find-links"):
                named += map(str, table.get(name) or ())
            if local := [hidden(url) for url in named if is_local(url)]:
                not_taken.append(f"{' '.join(local)} ({path})")
        extra = [url for url in extra if not is_local(bare(url))]
        links = [url for url in links if not is_local(url)]
    return UvSettings(
        index,
        tuple(dict.fromkeys(extra)),
        tuple(dict.fromkeys(links)),
        no_index,
        tuple(map(str, every("allow-insecure-host"))),
        str(one("index-strategy")),
        str(one("keyring-provider")),
        tuple(not_taken),
    )


def _files(environment: Mapping[str, str]) -> Iterator[Path]:
    """From the strongest on."""
    home = Path(environment.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111
    own = Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "uv/uv.toml"
    if own.exists():
        yield own
    shared = environment.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    machine = [Path(place) / "uv/uv.toml" for place in shared.split(os.pathsep) if place]
    yield from [path for path in (*machine, Path("/etc/uv/uv.toml")) if path.exists()][:1]


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        reason = error.strerror
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = str(error)
    raise UsageError(
        f"uv's settings cannot be read: {reason}",
        subject=str(path),
        advice="correct the file, or leave it out with UV_NO_CONFIG=1",
    )


def _tables(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if isinstance(inner := document.get("pip"), dict):
        yield inner
    yield document
