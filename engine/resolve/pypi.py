"""Resolving Python packages with uv, for the target's Python and libc, not the host's.

uv writes pylock.toml (PEP 751): every file with URL, size and SHA-256. Of each package the one
wheel is kept that fits the target best (PEP 425 order); a package without one keeps its sdist,
and the wheels that PEP 517 says its build needs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from engine.errors import ResolveError
from engine.lock import LockedFile, LockedPackage
from grammar.environment import PipIndex, Request

Log = Callable[[str], None]


@dataclass(frozen=True)
class Target:
    """What wheels are for: `python` "3.11", `glibc` "2.36", on x86_64 Linux."""

    python: str
    glibc: str

    @property
    def platform(self) -> str:
        """uv's name of the platform."""
        return f"x86_64-manylinux_{self.glibc.replace('.', '_')}"


def resolve(
    requests: Sequence[Request],
    target: Target,
    index: PipIndex | None,
    cache_directory: Path,
    log: Log,
) -> list[LockedPackage]:
    """Everything that `requests` (PEP 508) need. Raises ResolveError with uv's explanation."""
    rows = _pylock([r.text for r in requests], target, index, cache_directory, log, requests)
    found = [_choose(row, target) for row in rows]
    return _with_build_wheels(found, target, index, cache_directory, log)


def _uv() -> str:
    from uv import find_uv_bin

    return os.fspath(find_uv_bin())


@cache
def _configured_index() -> str | None:
    """pip's own index, which uv does not read: from pip.conf or PIP_INDEX_URL."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
        capture_output=True, text=True, check=False,
    )
    return os.environ.get("PIP_INDEX_URL") or done.stdout.strip() or None


def _environment(cache_directory: Path) -> dict[str, str]:
    environment = dict(os.environ)
    environment["UV_CACHE_DIR"] = str(cache_directory / "uv")
    environment.setdefault("UV_SYSTEM_CERTS", "1")
    environment["NO_COLOR"] = "1"
    environment.pop("VIRTUAL_ENV", None)
    set_already = {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & set(environment)
    if not set_already and (index := _configured_index()):
        environment["UV_DEFAULT_INDEX"] = index
    return environment


def _pylock(
    requirements: Sequence[str],
    target: Target,
    index: PipIndex | None,
    cache_directory: Path,
    log: Log,
    requests: Sequence[Request] = (),
) -> list[dict[str, Any]]:
    options = ["--python-version", target.python, "--python-platform", target.platform,
               "--no-header", "--no-annotate", "--no-config", "--quiet"]
    if index is not None and index.url:
        options += ["--default-index", index.url]
        if index.extra_url:
            options += ["--index", index.extra_url, "--index-strategy", "unsafe-best-match"]
        if index.trust:
            from urllib.parse import urlsplit

            options += ["--allow-insecure-host", urlsplit(index.url).netloc]
    with tempfile.TemporaryDirectory(prefix="envd-uv-") as name:
        directory = Path(name)
        (directory / "requirements.in").write_text("\n".join(requirements) + "\n", "utf-8")
        output = directory / "pylock.toml"
        done = subprocess.run(
            [_uv(), "pip", "compile", "requirements.in", "--format", "pylock.toml",
             "--output-file", str(output), *options],
            cwd=directory, env=_environment(cache_directory), capture_output=True, text=True,
            stdin=subprocess.DEVNULL, check=False,
        )
        for line in done.stderr.splitlines():
            log(line)
        if done.returncode != 0:
            raise ResolveError(_explain(done.stderr, requests))
        document = tomllib.loads(output.read_text("utf-8"))
    return list(document.get("packages", []))


def _explain(text: str, requests: Sequence[Request]) -> str:
    """uv's words, led by the position of the request that they name."""
    words = re.sub(r"\n\s+", " ", re.sub(r"^\s*[×╰─▶]+\s*", "", text.strip(), flags=re.M))
    lowered = re.sub(r"[-_.]+", "-", words.lower())
    for request in requests:
        match = re.match(r"[A-Za-z0-9._-]+", request.text)
        if match is None:
            continue
        name = re.sub(r"[-_.]+", "-", match[0].lower())
        if request.position.line and re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", lowered):
            return f"{request.position}: cannot resolve '{request.text}': {words}"
    where = next((f"{r.position}: " for r in requests if r.position.line), "")
    return f"{where}cannot resolve the Python packages: {words}"


# -- choosing files ---------------------------------------------------------------------------


@cache
def _tags(target: Target) -> Mapping[Any, int]:
    """Every tag that the target takes, with its rank (0 is best)."""
    from packaging import tags

    major, minor = (int(part) for part in target.python.split("."))
    _, glibc = (int(part) for part in target.glibc.split("."))
    platforms = [f"manylinux_2_{n}_x86_64" for n in range(glibc, 4, -1)]
    legacy = {17: "manylinux2014_x86_64", 12: "manylinux2010_x86_64", 5: "manylinux1_x86_64"}
    for level, name in legacy.items():
        platforms.insert(
            platforms.index(f"manylinux_2_{level}_x86_64") + 1
            if f"manylinux_2_{level}_x86_64" in platforms
            else len(platforms),
            name,
        )
    platforms.append("linux_x86_64")
    ordered: list[Any] = [
        *tags.cpython_tags((major, minor), abis=[f"cp{major}{minor}"], platforms=platforms),
        *tags.compatible_tags((major, minor), f"cp{major}{minor}", platforms),
    ]
    return {tag: rank for rank, tag in reversed(list(enumerate(ordered)))}


def _file_name(row: Mapping[str, Any]) -> str:
    from urllib.parse import unquote, urlsplit

    return str(row.get("name") or unquote(urlsplit(str(row["url"])).path.rpartition("/")[2]))


def _locked_file(row: Mapping[str, Any], package: str) -> LockedFile:
    sha256 = row.get("hashes", {}).get("sha256")
    if not sha256 or "url" not in row:
        raise ResolveError(f"{package}: its index gives no SHA-256 for {_file_name(row)}")
    return LockedFile(_file_name(row), str(row["url"]), str(sha256), int(row.get("size", 0)))


def _choose(row: Mapping[str, Any], target: Target) -> LockedPackage:
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    name, version = str(row["name"]), str(row.get("version", ""))
    if "wheels" not in row and "sdist" not in row:
        raise ResolveError(
            f"{name}: only packages from an index can be locked, not directories or repositories"
        )
    ranks = _tags(target)
    best: tuple[tuple[int, Any], Mapping[str, Any]] | None = None
    for wheel in row.get("wheels", ()):
        try:
            _, _, build, tags = parse_wheel_filename(_file_name(wheel))
        except InvalidWheelFilename:
            continue
        fitting = [ranks[tag] for tag in tags if tag in ranks]
        # A higher build number wins among equal tags (PEP 427).
        key = (min(fitting), tuple(-b if isinstance(b, int) else b for b in build)) if fitting \
            else None
        if key is not None and (best is None or key < best[0]):
            best = (key, wheel)
    if best is not None:
        return LockedPackage("wheel", name, version, _locked_file(best[1], name))
    if "sdist" in row:
        return LockedPackage("sdist", name, version, _locked_file(row["sdist"], name))
    raise ResolveError(f"{name} {version} has no wheel for Python {target.python} on {target.platform}")


# -- sdists -----------------------------------------------------------------------------------


def _with_build_wheels(
    packages: list[LockedPackage],
    target: Target,
    index: PipIndex | None,
    cache_directory: Path,
    log: Log,
) -> list[LockedPackage]:
    """`packages`, and for each sdist the wheels that building it needs (kind "build-wheel")."""
    from dataclasses import replace

    found: list[LockedPackage] = []
    tools: dict[tuple[str, str], LockedPackage] = {}
    for package in packages:
        if package.kind != "sdist":
            found.append(package)
            continue
        needed = [*_build_requires(package, cache_directory), "pip"]
        rows = _pylock(needed, target, index, cache_directory, log)
        chosen = [_choose(row, target) for row in rows]
        for tool in chosen:
            if tool.kind != "wheel":
                raise ResolveError(
                    f"{package.name}: building it needs {tool.name}, which has no wheel for Python "
                    f"{target.python}"
                )
            tools[tool.name, tool.version] = replace(tool, kind="build-wheel")
        names = " ".join(sorted(f"{t.name}=={t.version}" for t in chosen))
        found.append(replace(package, extra={"build": names}))
    return found + list(tools.values())


def _build_requires(package: LockedPackage, cache_directory: Path) -> list[str]:
    """What pyproject.toml of an sdist says that its build needs (PEP 518)."""
    from engine.derivation import Fetch
    from engine.fetch import fetch
    from store import Store

    file = package.file
    # `cache_directory` is STORE/cache: the file is needed by the build anyway.
    store = Store.open(cache_directory.parent)
    try:
        path = fetch(Fetch(file.name, file.url, file.sha256, file.size), store)
        text = next(_members(path, file.name, "pyproject.toml"), None)
    finally:
        store.close()
    if text is None:
        return ["setuptools", "wheel"]
    try:
        system = tomllib.loads(text).get("build-system", {})
    except tomllib.TOMLDecodeError as error:
        raise ResolveError(f"{file.name}: its pyproject.toml is no TOML: {error}") from error
    return list(system.get("requires", ["setuptools", "wheel"]))


def _members(path: Path, name: str, wanted: str) -> Iterator[str]:
    """Files called `wanted` directly below an sdist's one directory."""
    import tarfile
    import zipfile

    if name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if member.count("/") == 1 and member.endswith(f"/{wanted}"):
                    yield archive.read(member).decode("utf-8")
        return
    with tarfile.open(path) as tar:
        for entry in tar:
            if entry.name.count("/") == 1 and entry.name.endswith(f"/{wanted}"):
                file = tar.extractfile(entry)
                if file is not None:
                    yield file.read().decode("utf-8")
