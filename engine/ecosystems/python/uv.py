"""Running uv: compiling requirements, exporting uv.lock; both give pylock.toml (PEP 751).

Where packages come from is told to uv through its environment: a login in an index's URL must not
be seen in the list of processes. Of the user's environment it gets what says how to reach an index,
and no more. It builds nothing (`engine.ecosystems.python.stand_in`), and runs no git.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tomli_w
from uv import find_uv_bin

from engine.core.urls import hidden
from engine.ecosystems.python.stand_in import stand_in
from engine.ecosystems.python.target import Target
from engine.lock.packages import LockedPackage, Sdist, Wheel
from engine.net import held, machine, patience
from engine.net.uv_settings import bare
from grammar.environment import PipIndex, PythonOption
from store import notices

Log = Callable[[str], None]


class UvError(Exception):
    """uv refused; the text is its own words, in one line.

    What they say of what envd acts upon, here and nowhere else: `missing` is a package that no index
    has, `unversioned` one that has not the version asked for, `refused` (URL, status) an index that
    wants a login, `outdated` whether a uv.lock does not fit its pyproject.toml any more.
    """

    def __init__(self, words: str) -> None:
        bare = re.sub(r"^\s*(error:|cause:|[×╰─▶]+)\s*", "", words.strip(), flags=re.M)
        bare = re.sub(r"\s*\n\s*", " ", bare)
        super().__init__(bare)
        missing = re.search(r"(?:Because )?(\S+) was not found in the package registry", bare)
        unversioned = re.search(r"no version of ([\w.-]+)==", bare)
        refused = re.search(r"index URL \((\S+)\) could not be queried .*?\((40[13] \w+)\)", bare)
        self.missing = missing[1] if missing else ""
        self.unversioned = unversioned[1] if unversioned else ""
        self.refused = (refused[1], refused[2]) if refused else None
        self.outdated = "needs to be updated" in bare


class BuildWantedError(UvError):
    """uv would have to build `wanted` ("name==1.0", "name @ URL") to know what that needs."""

    def __init__(self, words: str, wanted: str) -> None:
        super().__init__(words)
        self.wanted = wanted


@dataclass(frozen=True)
class Metadata:
    """What a source distribution needs, as uv need not ask it (core metadata's field names)."""

    name: str
    version: str
    requires_dist: tuple[str, ...] = ()
    requires_python: str = ""
    provides_extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sources:
    """Where packages come from. `index` "" is the one that this machine is configured for."""

    index: str = ""
    extra: tuple[str, ...] = ()
    links: tuple[str, ...] = ()  # URLs and directories, as pip's --find-links
    trusted: tuple[str, ...] = ()  # hosts whose certificates are not checked
    no_index: bool = False
    prereleases: bool = False
    only_binary: tuple[str, ...] = ()

    @property
    def urls(self) -> tuple[str, ...]:
        """Every index, with the login that its URL may hold."""
        return tuple(u for u in (self.index, *self.extra, *self.links) if u)


def sources(index: PipIndex | None, options: Sequence[PythonOption] = ()) -> Sources:
    """What config.pip_index and the options of requirements files say together: an index that
    build.envd names wins over one of a requirements file."""

    def values(name: str) -> tuple[str, ...]:
        return tuple(o.value for o in options if o.name == name)

    own = index or PipIndex("")
    given = [own.url, own.extra_url or ""]
    urls = [u for u in (given[0], *values("index-url")[-1:]) if u]
    trusted = [_host(u) for u in given if u] if own.trust else []
    return Sources(
        index=urls[0] if urls else "",
        extra=tuple(dict.fromkeys(u for u in (given[1], *values("extra-index-url")) if u)),
        links=tuple(dict.fromkeys(values("find-links"))),
        trusted=(*trusted, *values("trusted-host")),
        no_index=bool(values("no-index")),
        prereleases=bool(values("pre")),
        only_binary=tuple(n for v in values("only-binary") for n in v.split(",") if n),
    )


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


# How to reach an index, whom to trust and what to say there (uv's documentation, "Environment
# variables"); netrc and uv's own logins are found by HOME.
_KEPT = re.compile(
    r"(?i:(http|https|all|no)_proxy)|HOME|NETRC|TMPDIR|XDG_(CONFIG|DATA)_HOME|LANG|LC_ALL"
    r"|SSL_(CERT_FILE|CERT_DIR|CLIENT_CERT)"
    r"|UV_(DEFAULT_INDEX|INDEX|INDEX_URL|EXTRA_INDEX_URL|INDEX_STRATEGY|INDEX_\w+_(USERNAME|PASSWORD)"
    r"|FIND_LINKS|NO_INDEX|INSECURE_HOST|KEYRING_PROVIDER|CREDENTIALS_DIR|SYSTEM_CERTS|NATIVE_TLS"
    r"|HTTP_\w+|REQUEST_TIMEOUT|OFFLINE|CONCURRENT_DOWNLOADS|EXCLUDE_NEWER|PRERELEASE|RESOLUTION)"
)

# Settings of uv's that would choose other packages: the spec says what is wanted, not the machine.
_NOT_TAKEN = re.compile(
    r"UV_(CONFIG_FILE|CONSTRAINT|OVERRIDE|EXCLUDE|BUILD_CONSTRAINT|NO_BINARY(_PACKAGE)?|NO_BUILD(_PACKAGE)?"
    r"|FORK_STRATEGY|TORCH_BACKEND|NO_SOURCES)"
)


def _say_what_is_not_taken() -> None:
    names = sorted(k for k, v in os.environ.items() if v and _NOT_TAKEN.fullmatch(k))
    if names:
        notices.once(
            "lock",
            f"{', '.join(names)} in the environment: not taken, for another machine "
            "would lock other packages; say it in the spec or in a file of the project",
        )


def _environment(cache_directory: Path, wanted: Sources, *, of_pip: bool = True) -> dict[str, str]:
    """What uv sees; without pip's indexes unless `of_pip`."""
    environment = {k: v for k, v in os.environ.items() if _KEPT.fullmatch(k)}
    _say_what_is_not_taken()
    here = machine.current() if of_pip else machine.of_uv()
    here.say_what_is_not_taken()
    python = stand_in(cache_directory)
    # No git, no compiler; the command that the user has said knows their logins.
    environment["PATH"] = os.fspath(python.parent)
    if here.keyring:
        environment.setdefault("UV_KEYRING_PROVIDER", here.keyring)
    if environment.get("UV_KEYRING_PROVIDER") == "subprocess":
        environment["PATH"] = os.fspath(_with_keyring(python.parent.parent))
    environment["UV_PYTHON"] = os.fspath(python)
    environment["UV_NO_BUILD_ISOLATION"] = "1"
    # What a project has in .venv would be run to see which Python it is.
    environment["UV_PROJECT_ENVIRONMENT"] = os.fspath(python.parent / "none")
    environment["UV_CACHE_DIR"] = str(cache_directory / "uv")
    environment.setdefault("UV_SYSTEM_CERTS", "1")
    environment["NO_COLOR"] = "1"
    # It tries four times: a silent index is given up after a minute, not two.
    environment.setdefault("UV_HTTP_TIMEOUT", "15")
    environment["UV_PYTHON_DOWNLOADS"] = "never"
    extra, links, strategy = list(wanted.extra), list(wanted.links), ""
    if wanted.index:  # the spec's own: nothing of the machine's is asked beside it
        environment["UV_DEFAULT_INDEX"] = wanted.index
        if beside := [hidden(bare(url)) for url in (*here.extra, *here.links)]:
            notices.once(
                "lock",
                f"the spec names the Python index: {', '.join(beside)} of uv's and "
                "pip's settings not asked beside it",
            )
    else:
        environment.pop("UV_DEFAULT_INDEX", None)
        if here.index:
            environment["UV_DEFAULT_INDEX"] = here.index
        if here.no_index:
            environment["UV_NO_INDEX"] = "1"
        extra, links, strategy = [*here.extra, *extra], [*here.links, *links], here.strategy
    for name in ("UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"):
        environment.pop(name, None)
    if extra:
        environment["UV_INDEX"] = " ".join(extra)
    if wanted.extra:
        strategy = "unsafe-best-match"  # pip's: the best of all indexes
    if strategy:
        environment["UV_INDEX_STRATEGY"] = strategy
    if links:
        environment["UV_FIND_LINKS"] = ",".join(links)
    if trusted := dict.fromkeys((*here.trusted, *wanted.trusted)):
        environment["UV_INSECURE_HOST"] = " ".join(trusted)
    environment.update(machine.reaching(environment))
    return environment


def _with_keyring(cache: Path) -> Path:
    """A directory with the user's `keyring` command, if they have one, and nothing else."""
    directory = cache / "uv-keyring"
    directory.mkdir(exist_ok=True)
    found = shutil.which("keyring")
    link = directory / "keyring"
    if found and (not link.is_symlink() or link.readlink() != Path(found)):
        link.unlink(missing_ok=True)
        link.symlink_to(found)
    return directory


def _uv() -> str:
    return os.fspath(find_uv_bin())


def _run(arguments: Sequence[str], directory: Path, environment: dict[str, str], log: Log) -> None:
    urls = environment.get("UV_DEFAULT_INDEX", ""), *environment.get("UV_INDEX", "").split()
    try:
        done = patience.patiently(
            lambda: held.ask([_uv(), *arguments], cwd=directory, environment=environment),
            lambda done: None if done.returncode == 0 else patience.of_reqwest(done.stderr, map(bare, urls)),
        )
    except held.MemoryHeldError as error:
        raise UvError(str(error)) from error
    words = done.stderr
    for url in urls:
        if password := urlsplit(bare(url)).password:
            words = words.replace(password, "****")
    wanted = _WANTED.search(words) if done.returncode != 0 else None
    if wanted:
        raise BuildWantedError(words, wanted[1])
    for line in words.splitlines():
        log(line)
    if done.returncode != 0:
        raise UvError("\n".join(x for x in words.splitlines() if not _ASIDE.match(x)))


_WANTED = re.compile(r"Failed to (?:download and )?build `([^`]+)`")

# What uv says beside an error.
_ASIDE = re.compile(r"\s*(warning: |(Building|Built|Resolved|Prepared|Updating|Updated|Using) )")


@dataclass(frozen=True)
class Wish:
    """What uv is asked to resolve together: `requirements` within `constraints`.

    `projects` are pyproject.toml files with the extras and the groups wanted of each; `left_out` are
    packages that are taken to be there. Versions of `preferred` are kept where they fit. `metadata` is
    of packages that uv would build otherwise. With `no_dependencies`, nothing else is added.
    """

    requirements: Sequence[str]
    constraints: Sequence[str] = ()
    projects: Sequence[tuple[Path, Sequence[str], Sequence[str]]] = ()
    left_out: Sequence[str] = ()
    preferred: Sequence[LockedPackage] = ()
    metadata: Sequence[Metadata] = ()
    no_dependencies: bool = False


def compile_requirements(
    wish: Wish, target: Target, wanted: Sources, cache_directory: Path, log: Log
) -> dict[str, Any]:
    """A pylock document of everything that a wish needs on the target. Raises UvError,
    BuildWantedError."""
    options = [
        "--python-version",
        target.full or target.python,
        "--python-platform",
        target.platform,
        "--no-header",
        "--no-annotate",
        "--no-progress",
    ]
    if wish.no_dependencies:
        options.append("--no-deps")
    if wanted.no_index:
        options.append("--no-index")
    if wanted.prereleases:
        options += ["--prerelease", "allow"]
    for name in wanted.only_binary:
        options += ["--only-binary", name]
    files = ["requirements.in"]
    for path, extras, groups in wish.projects:
        files.append(str(path))
        options += [word for extra in extras for word in ("--extra", extra)]
        options += [word for group in groups for word in ("--group", f"{path}:{group}")]
    with tempfile.TemporaryDirectory(prefix="envd-uv-") as name:
        directory = Path(name)
        (directory / "requirements.in").write_text("\n".join(wish.requirements) + "\n", "utf-8")
        if wish.constraints:
            (directory / "constraints.in").write_text("\n".join(wish.constraints) + "\n", "utf-8")
            options += ["--constraints", "constraints.in"]
        if wish.left_out:
            (directory / "excludes.in").write_text("\n".join(wish.left_out) + "\n", "utf-8")
            options += ["--excludes", "excludes.in"]
        if wish.metadata:
            (directory / "uv.toml").write_text(_as_settings(wish.metadata), "utf-8")
            options += ["--config-file", "uv.toml"]  # and no other
        else:
            options.append("--no-config")
        output = directory / "pylock.toml"
        if wish.preferred:
            # uv keeps the versions that its output file holds already
            output.write_text(_as_pylock(wish.preferred), "utf-8")
        _run(
            ["pip", "compile", *files, "--format", "pylock.toml", "--output-file", str(output), *options],
            directory,
            _environment(cache_directory, wanted),
            log,
        )
        return tomllib.loads(output.read_text("utf-8"))


def _as_settings(metadata: Sequence[Metadata]) -> str:
    """uv's documentation, "Settings": dependency-metadata."""
    rows = []
    for given in metadata:
        row: dict[str, Any] = {"name": given.name, "version": given.version}
        row["requires-dist"] = list(given.requires_dist)
        if given.requires_python:
            row["requires-python"] = given.requires_python
        row["provides-extra"] = list(given.provides_extra)
        rows.append(row)
    return tomli_w.dumps({"dependency-metadata": rows})


def _as_pylock(packages: Sequence[LockedPackage]) -> str:
    rows: list[dict[str, Any]] = []
    for package in packages:
        file = {"url": package.file.url, "hashes": {"sha256": package.file.sha256}}
        if isinstance(package, Wheel | Sdist) and "://" in package.file.url:
            source = {"wheels": [file]} if isinstance(package, Wheel) else {"sdist": file}
            rows.append({"name": package.name, "version": package.version, **source})
    return tomli_w.dumps({"lock-version": "1.0", "created-by": "envd", "packages": rows})


def export(
    project: Path,
    extras: Sequence[str],
    groups: Sequence[str],
    wanted: Sources,
    cache_directory: Path,
    log: Log,
) -> dict[str, Any]:
    """The pylock document of the uv.lock in the directory `project`, without the project itself or
    other members of its workspace: they are what is worked on.

    Its default groups are in it, as for `uv sync`; nothing is resolved anew. Raises UvError, also
    when uv.lock does not fit pyproject.toml any more.
    """
    # Any interpreter will do: what does not fit the target is found by the caller.
    environment = _environment(cache_directory, wanted, of_pip=False)
    with tempfile.TemporaryDirectory(prefix="envd-uv-") as name:
        output = Path(name) / "pylock.toml"
        _run(
            [
                "export",
                "--frozen",
                "--quiet",
                "--no-header",
                "--no-emit-workspace",
                "--format",
                "pylock.toml",
                "--output-file",
                str(output),
                *(word for extra in extras for word in ("--extra", extra)),
                *(word for group in groups for word in ("--group", group)),
            ],
            project,
            environment,
            log,
        )
        document = tomllib.loads(output.read_text("utf-8"))
    try:
        _run(["lock", "--check", "--quiet"], project, environment, _silent)
    except UvError as error:
        # Any other complaint is about this machine: it may have no Python that the project takes.
        if error.outdated:
            raise
    return document


def _silent(_: str) -> None:
    pass
