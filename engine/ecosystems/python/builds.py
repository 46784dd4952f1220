"""Source distributions whose metadata only their build gives: that is done in the sandbox.

uv reads static metadata itself (PEP 643). Where there are none, it is told what the package's backend
said (its `dependency-metadata`), which is asked without network, home or environment, by a Python of
this machine, over build requirements that were fetched as wheels before.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from engine.core.command import CancelledError, LimitError
from engine.ecosystems.python import pylock, sdists, uv
from engine.ecosystems.python.target import Target
from engine.errors import BuildError, ResolveError, UsageError
from engine.lock.packages import LockedFile, LockedPackage, Sdist, Wheel
from engine.realise import confined, jail, userns
from store.libraries import metadata

_LARGEST = 1 << 20  # bytes of a METADATA file
_HOOK = Path(__file__).with_name("backend.py")
_HERE = "/envd"  # where the sandbox sees what it is given


@dataclass(frozen=True)
class Resolver:
    """uv, for a target and from sources; `located` gives the URL that a locked file is fetched from."""

    target: Target
    sources: uv.Sources
    cache: Path
    log: uv.Log
    located: Callable[[LockedFile], str]

    def compile(self, wish: uv.Wish) -> dict[str, Any]:
        """`uv.compile_requirements`, with every build that it wants done in the sandbox. Raises
        UvError, ResolveError, UsageError."""
        known: dict[str, uv.Metadata] = {}
        while True:
            try:
                return uv.compile_requirements(
                    replace(wish, metadata=tuple(known.values())),
                    self.target,
                    self.sources,
                    self.cache,
                    self.log,
                )
            except uv.BuildWantedError as error:
                if error.wanted in known:
                    raise
                known[error.wanted] = self._metadata(_asked(error.wanted, wish.requirements))

    def _metadata(self, wanted: str) -> uv.Metadata:
        """What the backend of `wanted` ("name==1.0", "name @ URL") says."""
        name, version, url = _parts(wanted)
        if url and not _is_archive(url):
            what = "a repository" if "+" in url.partition(":")[0] else "a directory"
            raise uv.UvError(
                f"{name} comes from {what} ({url}), which cannot be locked; build a wheel of it and "
                "name that in local_wheels"
            )
        blank = uv.Metadata(name, version or "0")
        document = uv.compile_requirements(
            uv.Wish([wanted], metadata=(blank,), no_dependencies=True),
            self.target,
            self.sources,
            self.cache,
            lambda _: None,
        )
        package = next(iter(pylock.choose(document, self.target)), None)
        if not isinstance(package, Sdist):
            raise ResolveError(f"it is not for {self.target}", subject=wanted)
        self.log(f"{package.file.name}: asking its build backend, in the sandbox, what it needs")
        return self._of_archive(package)

    def _of_archive(self, package: LockedPackage) -> uv.Metadata:
        file, url = package.file, self.located(package.file)
        store = self.cache.parent
        required = sdists.build_requires(file, url, store)
        for _ in range(2):
            asked, text = self._ask(package, sdists.fetched(file, url, store), required)
            if text:
                break
            required += asked
        else:
            raise ResolveError("its build backend keeps asking for more packages", subject=file.name)
        raw, _unparsed = metadata.parse_email(text)
        return uv.Metadata(
            package.name,
            str(raw.get("version", package.version)),
            tuple(raw.get("requires_dist", ())),
            str(raw.get("requires_python", "")),
            tuple(raw.get("provides_extra", ())),
        )

    def _ask(self, package: LockedPackage, archive: Path, required: Sequence[str]) -> tuple[list[str], bytes]:
        """What the backend wants beside `required`; its metadata, b"" when it wants more."""
        _become_able_to_build(package.file.name)
        place = self.cache.parent / "tmp"
        place.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"metadata-{os.getpid()}-", dir=place) as name:
            scratch = Path(name)
            wheels, output = scratch / "wheels", scratch / "output"
            output.mkdir()
            self._fetch(required, wheels, package.file.name)
            python, binds = jail.python()
            try:
                jail.run(
                    [
                        python,
                        "-S",
                        "-B",
                        f"{_HERE}/backend.py",
                        f"{_HERE}/source/{package.file.name}",
                        f"{_HERE}/wheels",
                        f"{_HERE}/output",
                    ],
                    binds=(
                        *binds,
                        jail.Bind(_HOOK, f"{_HERE}/backend.py"),
                        jail.Bind(archive, f"{_HERE}/source/{package.file.name}"),
                        jail.Bind(wheels, f"{_HERE}/wheels"),
                        jail.Bind(output, f"{_HERE}/output", writable=True),
                    ),
                    environment={
                        "PYTHONPATH": "/tmp/tools",
                        "PYTHONDONTWRITEBYTECODE": "1",
                        "HOME": "/tmp",
                        "PATH": "/tmp/tools/bin:/usr/local/bin:/usr/bin:/bin",
                    },
                    scratch=scratch / "root",
                    log=lambda _: None,
                    name=package.file.name,
                )
            except CancelledError:
                raise
            except LimitError as error:
                raise ResolveError(
                    f"{package.file.name} says only by its build what it needs, and {error.reason}"
                ) from error
            except BuildError as error:
                raise ResolveError(
                    f"{package.file.name} says only by its build what it needs, and that fails in the "
                    f"sandbox (without network): {error.last_line or error}",
                    advice="ask for a version that has a wheel, or build one and name it in local_wheels",
                ) from error
            wanted = json.loads(confined.read(output, "requires.json", _LARGEST) or b"[]")
            if not isinstance(wanted, list):
                wanted = []
            return sdists.requirements(wanted, package.file.name), confined.read(
                output, "METADATA", _LARGEST
            ) or b""

    def _fetch(self, required: Sequence[str], directory: Path, name: str) -> None:
        """Put the wheels of `required` into `directory`, each a file of its own."""
        directory.mkdir()
        here = _host()
        document = uv.compile_requirements(uv.Wish(required), here, self.sources, self.cache, lambda _: None)
        for tool in pylock.choose(document, here):
            if not isinstance(tool, Wheel):
                raise ResolveError(
                    f"asking its backend needs {tool.name} {tool.version}, which has no wheel for "
                    "this machine",
                    subject=name,
                )
            path = sdists.fetched(tool.file, self.located(tool.file), self.cache.parent)
            shutil.copyfile(path, directory / f"{tool.name}.whl")


def _become_able_to_build(name: str) -> None:
    """The sandbox needs what building needs: an ordinary user's command begins anew in a user
    namespace. Raises ResolveError where there is none."""
    try:
        userns.ensure()
    except UsageError as error:
        raise ResolveError(
            f"{name} says only by its build what it needs, and no build can be run here: {error}"
        ) from error


def _asked(wanted: str, requirements: Iterable[str]) -> str:
    """The requirement that uv means: what it says of a URL is without its login."""
    name, _, url = _parts(wanted)
    if url:
        for text in requirements:
            if " @ " in text and _parts(text)[0] == name:
                return text
    return wanted


def _parts(wanted: str) -> tuple[str, str, str]:
    """The name, the version and the URL ("" for what is not said)."""
    left, at, url = wanted.partition(" @ ")
    name, _, version = left.partition("==")
    bare = re.split(r"[\[;\s]", name.strip())[0]
    return canonicalize_name(bare), version.strip(), url.split(" ;")[0].strip() if at else ""


def _is_archive(url: str) -> bool:
    return (
        re.match(r"(https?|file)://", url) is not None
        and re.search(r"\.(tar\.gz|tgz|tar\.bz2|tar\.xz|zip)($|[#?])", url) is not None
    )


def _python() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


@cache
def _host() -> Target:
    """This machine, as what wheels are for."""
    library, version = platform.libc_ver()
    musl = "" if library == "glibc" else "1.2"
    return Target(_python(), "" if musl else version, platform.python_version(), musl)
