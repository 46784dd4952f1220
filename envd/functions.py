"""build, lock, push and pull: the command of the same name in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict, Unpack

from envd.child import answer
from envd.results import Built, Layer, Locked, Pulled, Pushed

PathLike = str | os.PathLike[str]


def installed_version() -> str:
    """envd's version."""
    return version("envd")


class _Common(TypedDict, total=False):
    """`progress` is "auto", "plain", "tree" or "json", as --progress; `limits` is as --limit
    ("memory=8G,time=2h"); `store` is where the store is [ENVD_STORE]."""

    progress: str
    limits: str
    store: PathLike


class _Building(_Common, total=False):
    """`path` is the project's directory [the spec's]; `jobs` is how many builders run at once;
    `secrets` are NAME=env:VARIABLE or NAME=file:PATH. `locked` refuses to make or change the lock,
    `force` builds again what the store has."""

    path: PathLike
    locked: bool
    force: bool
    jobs: int
    secrets: Sequence[str]


class BuildOptions(_Building, total=False):
    """`tags` are the image's names [PROJECT:dev]; `outputs` are as -o ("oci:FILE.tar"); `load` says
    whether it is loaded into Docker [where there are no outputs]; `dev` builds what `envd up` runs."""

    tags: Sequence[str]
    outputs: Sequence[str]
    load: bool
    dev: bool


class LockOptions(_Common, total=False):
    """`update` resolves everything anew; `check` only tells, by LockMismatch, whether the lock fits;
    `dev` pins what `envd up` adds, too; `path` is the project's directory [the spec's]."""

    path: PathLike
    update: bool
    check: bool
    dev: bool


class PushOptions(_Building, total=False):
    """`built` names an image that was built, to be pushed as it is; else the project at `file` is built.
    `also` are further tags."""

    file: PathLike
    built: str
    also: Sequence[str]


class PullOptions(_Common, total=False):
    """`tags`, `outputs` and `load` are as for `build`."""

    tags: Sequence[str]
    outputs: Sequence[str]
    load: bool


# option -> the command's own; of a list, once for each
_FLAGS = {
    "path": "--path",
    "locked": "--locked",
    "force": "--force",
    "jobs": "--jobs",
    "secrets": "--secret",
    "tags": "--tag",
    "outputs": "--output",
    "dev": "--dev",
    "update": "--update",
    "check": "--check",
    "file": "--from",
    "built": "--tag",
    "also": "--also",
    "progress": "--progress",
    "limits": "--limit",
}


def build(file: PathLike | None = None, **options: Unpack[BuildOptions]) -> Built:
    """Build the image of the spec `file` ("FILE[:FUNCTION]", [build.envd:build]).

    Raises SpecError, UsageError, ResolveError, FetchError, BuildError, DockerError, StoreError.
    """
    return Built(**_image(_ask("build", BuildOptions, {**options, "file": file})))


def lock(file: PathLike | None = None, **options: Unpack[LockOptions]) -> Locked:
    """Resolve the spec `file` into its lock; what fits already is kept.

    Raises SpecError, UsageError, LockMismatch, ResolveError, FetchError, StoreError.
    """
    found = _ask("lock", LockOptions, {**options, "file": file})
    return Locked(**{**_frozen(found), "path": Path(found["path"])})


def push(reference: str, **options: Unpack[PushOptions]) -> Pushed:
    """Build, or take what was `built`, and push it to `reference` (HOST/NAME:TAG).

    Raises RegistryError, and what `build` raises.
    """
    return Pushed(**_frozen(_ask("push", PushOptions, options, reference)))


def pull(reference: str, **options: Unpack[PullOptions]) -> Pulled:
    """Fetch the image `reference` ([HOST/]NAME[:TAG][@DIGEST]) into the store, and into Docker.

    Raises UsageError, RegistryError, ResolveError, FetchError, BuildError, DockerError, StoreError.
    """
    found = _image(_ask("pull", PullOptions, options, reference))
    return Pulled(**{k: v for k, v in found.items() if k not in ("built", "cached", "substituted")})


def _ask(command: str, kind: Any, options: Mapping[str, Any], *references: str) -> dict[str, Any]:
    """Ask for what `envd COMMAND` does. Raises TypeError for an option that there is not."""
    known = {"file", *kind.__annotations__} if command in ("build", "lock") else kind.__annotations__
    if unknown := sorted(options.keys() - known):
        raise TypeError(f"{command}() has no option '{unknown[0]}'; it has {', '.join(sorted(known))}")
    given = {k: _plain(v) for k, v in options.items() if v is not None}
    before = ["--store", given["store"]] if "store" in given else []
    words = [*before, command, *_words(given)]
    if given.get("load") is False:
        words.append("--no-load")
    elif given.get("load") and given.get("outputs"):
        words += ["--output", "type=docker"]
    return answer(
        {
            "command": command,
            "words": [*words, "--", *references],
            "file": given.get("file"),
            "path": given.get("path"),
            "tags": given.get("tags", []),
        }
    )


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, os.PathLike)):
        return str(os.fspath(value) if isinstance(value, os.PathLike) else value)
    return [str(_plain(item)) for item in value]


def _words(given: Mapping[str, Any]) -> list[str]:
    """Options as the command takes them."""
    words = []
    for name, value in given.items():
        if name not in _FLAGS or value is False:
            continue
        if value is True:
            words.append(_FLAGS[name])
            continue
        for item in [value] if isinstance(value, str) else value:
            words += [_FLAGS[name], item]
    return words


def _frozen(found: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}


def _image(found: Mapping[str, Any]) -> dict[str, Any]:
    return {**_frozen(found), "layers": tuple(Layer(*row) for row in found["layers"])}
