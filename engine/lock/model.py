"""`Lock`: what exactly an environment is. TOML on disk, sorted, made to be read in a diff.

Reading and writing only; `engine.resolve.locking` resolves an `Environment` into one.
"""

from __future__ import annotations

import base64
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import tomli_w

from engine.core.atomic import write_text
from engine.core.oci_model import ImageConfig
from engine.errors import UsageError
from engine.lock import rows as lock_rows
from engine.lock.packages import LockedFile, LockedPackage, RowError, package_of, row_of

P = TypeVar("P", bound=LockedPackage)

LOCK_VERSION = 1
# Of a lock that pins steps: an envd that knows of none must not take it, and drop them.
_STEPS_VERSION = 2


@dataclass(frozen=True)
class LockedBase:
    """The base. `kind` is "debootstrap" (then `packages` are its .debs) or "image" (then they are
    its config and its layers from the bottom up, `digest` pins the manifest, `config` is how it
    starts containers, and `facts` is what was read inside: engine.ecosystems.images.resolver.Contents)."""

    kind: str
    os: str  # "debian12"
    suite: str = ""
    sources: tuple[str, ...] = ()  # sources.list lines for the finished image
    image: str = ""
    digest: str = ""
    packages: tuple[LockedPackage, ...] = ()
    config: ImageConfig | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, bytes] = field(default_factory=dict)  # of `sources`, by file name


@dataclass(frozen=True)
class LockedInclude:
    """A git repository that the spec includes, pinned to a commit; `ref` is what was asked for."""

    git: str
    ref: str
    commit: str


@dataclass(frozen=True)
class LockedStep:
    """What a step that may reach the network gave (`engine.realise.steps`): `name` is the step's, `variant`
    "dev" for the image that `envd up` runs, else ""; `key` is the hash of what it was made from;
    `object` (BLAKE3) and `diff_id` are its layer's, and `size` is that of the layer's tar in bytes."""

    name: str
    variant: str
    key: str
    object: str
    diff_id: str
    size: int


@dataclass(frozen=True)
class Lock:
    """A whole lock. `requests` maps a section ("base", "includes", and those of
    `engine.sections.registry`) to the request strings that it was resolved from; comparing them
    tells which section no longer fits a spec. `packages` are the rows of each section, by its table.
    `python` is the target's "X.Y" ("" without Python).
    `provided` are the .debs asked for that a package of another name, or the image, provides; None
    in a lock that an older envd made, which did not write it (see `engine.sections.debian`)."""

    base: LockedBase
    system: str = "x86_64-linux"
    python: str = ""
    requests: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    packages: Mapping[str, tuple[LockedPackage, ...]] = field(default_factory=dict)
    includes: tuple[LockedInclude, ...] = ()
    provided: tuple[str, ...] | None = None
    steps: tuple[LockedStep, ...] = ()  # what run(..., network=True) gave
    version: int = LOCK_VERSION

    def __post_init__(self) -> None:
        # a section without rows is none: so two locks with the same rows are equal
        rows = {table: tuple(rows) for table, rows in self.packages.items() if rows}
        object.__setattr__(self, "packages", rows)

    def __getitem__(self, table: str) -> tuple[LockedPackage, ...]:
        """The rows of a section, by the name of its table; () when it has none."""
        return self.packages.get(table, ())

    def rows(self, table: str, kind: type[P]) -> tuple[P, ...]:
        """The rows of a section that has but one kind. Raises UsageError when there is another."""
        found = []
        for package in self[table]:
            if not isinstance(package, kind):
                raise wrong_kind(table, package)
            found.append(package)
        return tuple(found)

    def with_rows(self, table: str, rows: Iterable[LockedPackage]) -> Lock:
        """The same lock with other rows in one section."""
        return replace(self, packages={**self.packages, table: tuple(rows)})


def wrong_kind(table: str, package: LockedPackage) -> UsageError:
    """The error for a row in a section that does not hold its kind."""
    return UsageError(
        f"a {package.kind} does not belong there: the lock is damaged",
        subject=f"envd.lock: [[{table}]] {package.name}",
        advice=_ANEW,
    )


# In which order the tables of sections stand in the file; others follow, by name. It was settled
# with version 1, and new sections do not change it.
_ORDER = (
    "apt",
    "wheels",
    "conda",
    "conda_wheels",
    "cuda",
    "vscode",
    "dev",
    "tools",
    "r",
    "julia",
    "rstudio",
    "files",
    "images",
)
# What else stands at the top of the file.
RESERVED = frozenset({"version", "system", "python", "provided", "requests", "base", "includes", "steps"})


def tables(lock: Lock) -> list[str]:
    """The tables of its sections, in the order of the file."""
    known = [table for table in _ORDER if lock[table]]
    return known + sorted(table for table in lock.packages if table not in _ORDER)


def _bytes(value: Any) -> int:
    """A size. TOML has numbers that are no size: inf, nan, true. Raises ValueError."""
    if type(value) is not int:
        raise ValueError(f"the size {value!r} is not a whole number")
    return value


def _config_row(config: ImageConfig) -> dict[str, Any]:
    """Fields that are set; pairs as lists of two."""
    rows = {f.name: getattr(config, f.name) for f in fields(config)}
    return {
        name: value if isinstance(value, str) else [list(x) if isinstance(x, tuple) else x for x in value]
        for name, value in rows.items()
        if value
    }


def _row_config(row: Mapping[str, Any]) -> ImageConfig:
    known = {f.name for f in fields(ImageConfig)}
    given: dict[str, Any] = {
        name: value
        if isinstance(value, str)
        else tuple(tuple(x) if isinstance(x, list) else x for x in value)
        for name, value in row.items()
        if name in known
    }
    return ImageConfig(**given)


def dumps(lock: Lock) -> str:
    """The lock as TOML text. Packages come sorted by name and version, except layers."""

    def rows(packages: tuple[LockedPackage, ...]) -> list[dict[str, Any]]:
        return [row_of(p) for p in sorted(packages, key=lambda p: (p.kind, p.name, p.version))]

    base: dict[str, Any] = {"kind": lock.base.kind, "os": lock.base.os}
    for name in ("suite", "image", "digest"):
        if value := getattr(lock.base, name):
            base[name] = value
    base["sources"] = list(lock.base.sources)
    # an image's layers are ordered from the bottom up: sorting would break them
    ordered = lock.base.kind == "image"
    base["package"] = [row_of(p) for p in lock.base.packages] if ordered else rows(lock.base.packages)
    if lock.base.keys:
        base["keys"] = {
            name: base64.b64encode(content).decode() for name, content in sorted(lock.base.keys.items())
        }
    if lock.base.facts:
        base["facts"] = dict(sorted(lock.base.facts.items()))
    if lock.base.config is not None:
        base["config"] = _config_row(lock.base.config)
    document: dict[str, Any] = {
        "version": _STEPS_VERSION if lock.steps else lock.version,
        "system": lock.system,
        "python": lock.python,
        **({} if lock.provided is None else {"provided": list(lock.provided)}),
        "requests": {k: list(v) for k, v in sorted(lock.requests.items())},
        "base": base,
    }
    for table in tables(lock):
        document[table] = rows(lock[table])
    if lock.includes:
        document["includes"] = [
            {f.name: getattr(row, f.name) for f in fields(row)}
            for row in sorted(lock.includes, key=lambda row: (row.git, row.ref))
        ]
    if lock.steps:
        document["steps"] = [
            {f.name: value for f in fields(row) if (value := getattr(row, f.name)) != ""}
            for row in sorted(lock.steps, key=lambda row: (row.name, row.variant))
        ]
    header = "# Made by `envd lock`. Commit it beside build.envd; do not edit it by hand.\n"
    return header + tomli_w.dumps(document)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TypeError(f"{value!r} is not a list of texts")
    return tuple(value)


_ANEW = "delete it and run `envd lock`"


def loads(text: str, name: str = "envd.lock") -> Lock:
    """Parse a lock. Raises UsageError naming `name` when it is no lock that this envd reads."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"not valid TOML: {error}", subject=name, advice=_ANEW) from error
    version = document.get("version")
    reader = _READERS.get(version) if type(version) is int else None
    if reader is None:
        raise UsageError(
            f"lock version {version!r} is not one that this envd reads "
            f"({' or '.join(map(str, _READERS))}): it may be of a newer envd",
            subject=name,
            advice="update envd, or run `envd lock` to renew it",
        )
    try:
        lock = reader(document)
    except _DamagedError as error:
        raise _damaged(name, *error.args) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"malformed lock ({error!r})", subject=name, advice=_ANEW) from error
    for where, fault in lock_rows.faults(lock, tables(lock)):
        raise _damaged(name, where, fault)
    return lock


class _DamagedError(Exception):
    """A row that is none: where it is, and what is wrong with it."""


def _damaged(name: str, where: str, fault: str) -> UsageError:
    return UsageError(
        f"{fault}: the lock is damaged, or was not made by envd",
        subject=f"{name}: {where}",
        advice=f"look at where it comes from, then {_ANEW}",
    )


def _packages(table: str, rows: Iterable[Mapping[str, Any]]) -> tuple[LockedPackage, ...]:
    """The packages of a table. Raises _DamagedError, and what a malformed row raises."""
    found = []
    for row in rows:
        try:
            found.append(package_of(row))
        except RowError as error:
            where = f"[[{table}]] {lock_rows.name_of(str(row['name']))}"
            raise _DamagedError(where, str(error)) from error
    return tuple(found)


def _version_1(document: Mapping[str, Any]) -> Lock:
    """A lock as all envds know it."""
    base = document["base"]
    return Lock(
        system=str(document["system"]),
        python=str(document["python"]),
        requests={k: _texts(v) for k, v in document["requests"].items()},
        provided=_texts(document["provided"]) if "provided" in document else None,
        base=LockedBase(
            kind=str(base["kind"]),
            os=str(base["os"]),
            suite=str(base.get("suite", "")),
            sources=_texts(base["sources"]),
            image=str(base.get("image", "")),
            digest=str(base.get("digest", "")),
            packages=_packages("base.package", base["package"]),
            config=_row_config(base["config"]) if "config" in base else None,
            keys={k: base64.b64decode(v) for k, v in base.get("keys", {}).items()},
            facts={str(k): str(v) for k, v in base.get("facts", {}).items()},
        ),
        includes=tuple(
            LockedInclude(str(row["git"]), str(row["ref"]), str(row["commit"]))
            for row in document.get("includes", ())
        ),
        packages={
            str(table): _packages(table, rows) for table, rows in document.items() if table not in RESERVED
        },
    )


def _first(document: Mapping[str, Any]) -> Lock:
    if "steps" in document:
        raise ValueError("a lock of version 1 has no steps")
    return _version_1(document)


def _version_2(document: Mapping[str, Any]) -> Lock:
    """Version 1, and what steps with the network gave."""
    steps = tuple(
        LockedStep(
            str(row["name"]),
            str(row.get("variant", "")),
            str(row["key"]),
            str(row["object"]),
            str(row["diff_id"]),
            _bytes(row["size"]),
        )
        for row in document.get("steps", ())
    )
    return replace(_version_1(document), steps=steps)


_READERS: Mapping[int, Callable[[Mapping[str, Any]], Lock]] = {
    LOCK_VERSION: _first,
    _STEPS_VERSION: _version_2,
}


def read(path: Path) -> Lock | None:
    """The lock at `path`, or None when there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise UsageError(f"not UTF-8 text: {error}", subject=str(path), advice=_ANEW) from error
    return loads(text, str(path))


def write(lock: Lock, path: Path) -> None:
    """Write the lock atomically."""
    write_text(path, dumps(lock))


def all_packages(lock: Lock) -> tuple[LockedPackage, ...]:
    """Every pinned package of the lock, base first."""
    return sum((lock[table] for table in tables(lock)), lock.base.packages)


__all__ = [f.__name__ for f in (LockedFile, LockedPackage, LockedBase, Lock)] + [
    "LOCK_VERSION",
    "RESERVED",
    "all_packages",
    "dumps",
    "loads",
    "read",
    "tables",
    "write",
]
