"""Resolving .debs with apt itself, in a private apt directory: nothing of the host's is read.

apt gets its sources, keys and dpkg status from us, so it solves for the target and not for the
machine it runs on; it needs no root. It runs in a sandbox (`engine.realise.jail`), which shows that
directory, its sources of this machine and their keys; its methods have a network there. Exact files come
from the archive's signed indexes (SHA-256 per .deb). Format of indexes: Debian's repository format.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from engine.core.atomic import write_text
from engine.core.command import HOST_ENVIRONMENT, LimitError
from engine.core.urls import hidden, redacted
from engine.core.version import VERSION
from engine.ecosystems.debian import apt_directory, apt_lists
from engine.ecosystems.debian.package_lists import PackageLists
from engine.errors import ResolveError, together
from engine.lock.packages import Deb, LockedFile, LockedPackage, package_of, row_of
from engine.net import apt_settings
from engine.realise import jail
from grammar.environment import Request
from grammar.nearest import nearest
from store.hashing import hash_value

_PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*(:[a-z0-9]+)?(=[A-Za-z0-9.+:~-]+)?$")


@dataclass(frozen=True)
class Apt:
    """A private apt directory with fresh package lists. `archives` are its sources that are directories
    of this machine, `files` what else apt reads of it: keys, certificates, programs that find proxies.
    """

    directory: Path
    archives: Sequence[str] = ()
    files: Sequence[str] = ()

    @property
    def _environment(self) -> dict[str, str]:
        config = str(self.directory / "apt.conf")
        return {**HOST_ENVIRONMENT, **apt_settings.variables(), "APT_CONFIG": config}

    def run(
        self, *argv: str, files: Sequence[str] = (), network: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run one of apt's commands here, which sees `files`, too. Raises ResolveError."""
        here = self.directory.absolute()
        # Of all else in the directory apt reads only: it is we who trust it.
        binds = [
            jail.Bind(here, str(here)),
            *(jail.Bind(here / name, str(here / name), writable=True) for name in ("lists", "cache")),
            *jail.shown([*self.archives, *self.files, *files]),
        ]
        try:
            done = jail.ask(
                argv,
                binds=binds,
                place=here.parent.parent / "tmp",
                environment=self._environment,
                network=network,
            )
        except LimitError as error:
            raise ResolveError(error.reason, subject=argv[0]) from error
        except OSError as error:
            raise ResolveError(
                f"{argv[0]} cannot be run ({error.strerror})",
                advice="install apt (Debian, Ubuntu) to resolve .debs",
            ) from error
        return subprocess.CompletedProcess(
            done.args,
            done.returncode,
            done.stdout.decode("utf-8", "replace"),
            done.stderr.decode("utf-8", "replace"),
        )

    def _listed(self) -> Iterator[tuple[str, Path]]:
        """The names of the files among the lists, and where each really is: apt links to those of
        archives that are directories of this machine, and no other link is followed."""
        place = self.directory / "lists"
        for path in sorted(place.glob("*")):
            info = path.lstat()
            if stat.S_ISREG(info.st_mode):
                yield path.name, path
            elif stat.S_ISLNK(info.st_mode):
                target = path.resolve()
                known = any(target.is_relative_to(Path(p).resolve()) for p in self.archives)
                if known and target.is_file():
                    yield path.name, target

    @cached_property
    def _lists(self) -> PackageLists:
        lists = [found for found in self._listed() if found[0].endswith("_Packages")]
        # The same version may be in two archives: the main one keeps its files for longer.
        lists.sort(key=lambda found: ("security" in found[0], found[0]))
        return PackageLists([path for _, path in lists])

    @cached_property
    def _bases(self) -> dict[Path, str]:
        """List -> the URI that its "Filename" fields are relative to."""
        with self._alone():
            done = self.run(
                "apt-get", "indextargets", "--format", "$(FILENAME)\t$(REPO_URI)", "Created-By: Packages"
            )
        rows = (line.partition("\t") for line in done.stdout.splitlines())
        return {Path(path).resolve(): base.rstrip("/") for path, _, base in rows}

    @cached_property
    def state(self) -> str:
        """A hash of what the archives hold now: their signed releases name every list by hash."""
        found = []
        for name, path in self._listed():
            if name.endswith("Release"):
                found.append([name, hashlib.sha256(path.read_bytes()).hexdigest()])
            else:
                info = path.stat()
                found.append([name, str(info.st_size), str(int(info.st_mtime))])
        return hash_value("envd apt state v1", found)

    @property
    def names(self) -> list[str]:
        """Every package name that the lists know."""
        return self._lists.names

    def stanzas(self, name: str) -> list[dict[str, str]]:
        """All paragraphs of a package."""
        return [entry.fields for entry in self._lists.entries(name)]

    def stanza(self, name: str, version: str) -> dict[str, str] | None:
        """The paragraph of one version of a package, or None."""
        return next((s for s in self.stanzas(name) if s.get("Version") == version), None)

    def required(self) -> list[str]:
        """Names of the packages of a minimal system: those essential or of priority required."""
        return self._lists.holding("Essential: yes", "Priority: required")

    def solve(self, names: Sequence[str], status: str) -> list[tuple[str, str]]:
        """(name, version) of what installing `names` over a dpkg `status` adds.

        Raises ResolveError with apt's own words.
        """
        with self._alone():
            (self.directory / "status").write_text(status, "utf-8")
            done = self.run(
                "apt-get",
                "-s",
                "-q",
                "--no-install-recommends",
                "install",
                *names,
                files=[name for name in names if name.startswith("/")],
            )
        if done.returncode != 0:
            raise ResolveError(_reason(done))
        removed = re.findall(r"^Remv (\S+)", done.stdout, re.MULTILINE)
        if removed:
            raise ResolveError(f"it would remove {', '.join(removed)} from the base")
        found = re.findall(r"^Inst (\S+) (?:\[[^\]]*\] )?\((\S+) ", done.stdout, re.MULTILINE)
        return sorted((name.partition(":")[0], version) for name, version in found)

    def locked(self, name: str, version: str) -> Deb:
        """The pinned .deb of one version. Raises ResolveError when no list has it."""
        for entry in self._lists.entries(name):
            fields, base = entry.fields, self._bases.get(entry.source.resolve())
            if fields.get("Version") == version and "Filename" in fields and base is not None:
                try:
                    filename = fields["Filename"]
                    file = LockedFile(
                        name=filename.rpartition("/")[2],
                        url=redacted(f"{base}/{filename.removeprefix('./')}"),
                        sha256=fields["SHA256"].strip(),
                        size=int(fields["Size"]),
                    )
                    arch = fields["Architecture"]
                except (KeyError, ValueError) as error:
                    fault = f"its paragraph in the package list of {base} is malformed: {error!r}"
                    raise ResolveError(fault, subject=name) from error
                return Deb(name, version, file, arch=arch)
        raise ResolveError(f"version {version} is in no package list", subject=name)

    def unknown(self, request: Request) -> ResolveError:
        """The error of a package that no list has."""
        name = request.text.partition("=")[0]
        close = nearest(name, self.names, 0.75)
        hint = f"did you mean '{close}'?" if close else "check its name and config.apt_source"
        at = request.position
        return ResolveError(f"no apt package '{name}'", position=at, subject=name, advice=hint)

    def provides(self, name: str) -> bool:
        """Whether a package has that name, really or virtually."""
        return self._lists.provides(name)

    def remembered(self, question: Sequence[str], answer: Callable[[], list[Deb]]) -> list[Deb]:
        """`answer()`, or what it was when the archives were in this state before: what apt solves
        follows from the lists, the dpkg status and the names alone."""
        key = hash_value("envd apt answer v2", [VERSION, *question])
        path = self.directory / "answers" / self.state / key
        try:
            rows = json.loads(path.read_text("utf-8"))
            return [p for row in rows if isinstance(p := package_of(row), Deb)]
        except (OSError, ValueError, TypeError, KeyError):
            pass
        found = answer()
        with suppress(OSError):  # whoever sees a newer state tidies up
            for old in (self.directory / "answers").glob("*"):
                if old.name != self.state:
                    shutil.rmtree(old, ignore_errors=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps([row_of(p) for p in found]))
        return found

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else runs apt here meanwhile: it makes caches of its own, and reads `status`."""
        with (self.directory / "apt-lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    wanted = [
        line.strip()
        for line in (done.stdout + "\n" + done.stderr).splitlines()
        if re.match(r"\s*(E: |\S+ : (Depends|Conflicts|Breaks|PreDepends)|Depends:)", line)
    ]
    return "; ".join(wanted) or apt_lists.ending(done)


@contextmanager
def open_apt(
    sources: Sequence[str],
    keyring: str,
    cache: Path,
    log: Callable[[str], None],
    keys: Mapping[str, bytes] = {},
    advice: str = "check config.apt_source, ENVD_DEBIAN_MIRROR and the network",
) -> Iterator[Apt]:
    """A private apt with the lists of `sources` brought up to date, kept under `cache`; `keys` (by
    file name) are trusted beside `keyring`. `advice` is what an error says to do.

    Raises ResolveError when an archive cannot be read or its signature does not hold.
    """
    trusted = [[name, content.hex()] for name, content in sorted(keys.items())]
    key = hash_value("envd apt directory v1", [*sources, *trusted])[:16]
    with ExitStack() as stack:
        if any(hidden(line) != apt_directory.without_logins(line) for line in sources):
            # Lists are called by their URLs: with a token in these they are not kept.
            directory = Path(
                stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="apt-", dir=cache, ignore_cleanup_errors=True)
                )
            )
        else:
            directory = cache / f"apt-{key}"
        with _opened(directory, sources, keyring, log, keys, advice) as apt:
            yield apt


@contextmanager
def _opened(
    directory: Path,
    sources: Sequence[str],
    keyring: str,
    log: Callable[[str], None],
    keys: Mapping[str, bytes],
    advice: str,
) -> Iterator[Apt]:
    for name in ("lists", "cache/archives/partial", "cache/log", "etc/empty.d", "etc/keys.d"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    proxies = apt_settings.settings(sources)
    files = apt_directory.files(sources, keyring, proxies)
    apt = Apt(directory, tuple(apt_directory.archives(sources)), tuple(files))
    fresh = directory / "lists-are-fresh"
    with (directory / "lock").open("w") as handle:
        if not apt_lists.are_fresh(handle, fresh):
            fresh.unlink(missing_ok=True)
            for name, content in keys.items():  # apt reads no others
                cleaned = re.sub(r"[^A-Za-z0-9._-]", "-", name)
                (directory / "etc/keys.d" / cleaned).write_bytes(content)
            apt_directory.configure(directory, sources, keyring, proxies)
            log(f"reading package lists of {len(sources)} sources")
            with apt_directory.logins(directory, sources):
                apt_lists.update(directory, apt.run, advice)
            fresh.touch()
            fcntl.flock(handle, fcntl.LOCK_SH)  # others may read them beside us, not change them
        yield apt


def installed_status(apt: Apt, packages: Sequence[LockedPackage]) -> str:
    """A dpkg status file saying that `packages` are installed.

    An archive that has moved on no longer lists an older version: then the dependencies of the
    version that it lists stand in, under the version that is really there.
    """
    paragraphs = []
    for package in packages:
        found = apt.stanza(package.name, package.version)
        if found is None:
            others = apt.stanzas(package.name)
            found = dict(others[-1]) if others else {"Package": package.name}
        fields = {
            "Package": package.name,
            "Status": "install ok installed",
            "Architecture": (package.arch if isinstance(package, Deb) else None) or "amd64",
            "Version": package.version,
        }
        kept = (
            "Essential",
            "Priority",
            "Multi-Arch",
            "Source",
            "Provides",
            "Pre-Depends",
            "Depends",
            "Conflicts",
            "Breaks",
            "Replaces",
        )
        fields.update({k: found[k] for k in kept if k in found})
        paragraphs.append("\n".join(f"{k}: {v}" for k, v in fields.items()))
    return "\n\n".join(paragraphs) + "\n"


def check_names(apt: Apt, requests: Sequence[Request]) -> None:
    """Raise ResolveError, naming every request that no list can satisfy."""
    problems = []
    for request in requests:
        if not _PACKAGE_NAME.match(request.text):
            fault = f"'{request.text}' is not a valid apt package name"
            problems.append(ResolveError(fault, position=request.position, subject=request.text))
        elif not apt.provides(re.split(r"[:=]", request.text)[0]):
            problems.append(apt.unknown(request))
    if problems:
        raise together(problems)


def bootstrap(apt: Apt, extra: Sequence[str]) -> list[Deb]:
    """The .debs of a minimal system with `extra`; those that must lie there before dpkg can run
    are marked "essential". Raises ResolveError."""
    return apt.remembered(["bootstrap", *extra], lambda: _bootstrap(apt, extra))


def _bootstrap(apt: Apt, extra: Sequence[str]) -> list[Deb]:
    required = apt.required()
    essential = {name for name, _ in apt.solve(required, "")}
    found = []
    for name, version in apt.solve([*required, "apt", *extra], ""):
        package = apt.locked(name, version)
        found.append(replace(package, essential=name in essential))
    return found


def resolve(apt: Apt, requests: Sequence[Request], status: str, local: Mapping[str, Path] = {}) -> list[Deb]:
    """The .debs that `requests` add to a system with that dpkg `status`, and those that the
    .debs of `local` (package name -> file) depend upon, without these. Raises ResolveError."""
    if local:
        return _resolve(apt, requests, status, local)
    names = sorted(r.text for r in requests)
    return apt.remembered(["install", status, *names], lambda: _resolve(apt, requests, status, local))


def _resolve(apt: Apt, requests: Sequence[Request], status: str, local: Mapping[str, Path]) -> list[Deb]:
    check_names(apt, requests)
    try:
        found = apt.solve([*(r.text for r in requests), *map(str, local.values())], status)
    except ResolveError as error:
        place = next((r.position for r in requests if r.position.line), None)
        fault = f"cannot install {', '.join(r.text for r in requests)}: {error}"
        raise ResolveError(fault, position=place, subject="" if place else "apt") from error
    return [apt.locked(n, v) for n, v in found if n not in local]
