"""Resolving .debs with apt itself, in a private apt directory: nothing of the host's is read.

apt gets its sources, keys and dpkg status from us, so it solves for the target and not for the
machine it runs on; it needs no root. Exact files come from the archive's signed indexes
(SHA-256 per .deb). Format of indexes: Debian's repository format.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from engine.command import HOST_ENVIRONMENT
from engine.errors import ResolveError
from engine.lock import LockedFile, LockedPackage
from grammar.environment import Request
from store.hashing import hash_value

Stanza = Mapping[str, str]
_FIELD = re.compile(r"^([A-Za-z0-9_-]+):[ \t]*(.*(?:\n[ \t].*)*)", re.MULTILINE)
_PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*(:[a-z0-9]+)?(=[A-Za-z0-9.+:~-]+)?$")


def parse_stanzas(text: str) -> Iterator[dict[str, str]]:
    """Every paragraph of a control file (deb822(5))."""
    for paragraph in re.split(r"\n[ \t]*\n", text):
        if fields := {m[1]: m[2] for m in _FIELD.finditer(paragraph)}:
            yield fields


@dataclass(frozen=True)
class Apt:
    """A private apt directory with fresh package lists."""

    directory: Path

    @property
    def _environment(self) -> dict[str, str]:
        proxies = {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy")}
        return {**HOST_ENVIRONMENT, **proxies, "APT_CONFIG": str(self.directory / "apt.conf")}

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run one of apt's commands here."""
        try:
            return subprocess.run(
                argv, env=self._environment, capture_output=True, text=True, check=False,
                stdin=subprocess.DEVNULL,
            )
        except FileNotFoundError as error:
            raise ResolveError(
                f"{argv[0]} not found; install apt (Debian, Ubuntu) to resolve .debs"
            ) from error

    def _lists(self) -> list[Path]:
        lists = (self.directory / "lists").glob("*_Packages")
        # The same version may be in two archives: the main one keeps its files for longer.
        return sorted(lists, key=lambda p: ("security" in p.name, p.name))

    @cached_property
    def _index(self) -> dict[str, list[str]]:
        """Package name -> its paragraphs, from every list."""
        found: dict[str, list[str]] = {}
        for path in self._lists():
            for paragraph in path.read_text("utf-8").split("\n\n"):
                first, _, _ = paragraph.lstrip("\n").partition("\n")
                if first.startswith("Package: "):
                    found.setdefault(first[9:].strip(), []).append(paragraph)
        return found

    @property
    def names(self) -> list[str]:
        """Every package name that the lists know."""
        return list(self._index)

    def stanzas(self, name: str) -> list[dict[str, str]]:
        """All paragraphs of a package."""
        return [s for text in self._index.get(name, ()) for s in parse_stanzas(text)]

    def stanza(self, name: str, version: str) -> dict[str, str] | None:
        """The paragraph of one version of a package, or None."""
        return next((s for s in self.stanzas(name) if s.get("Version") == version), None)

    def required(self) -> list[str]:
        """Names of the packages of a minimal system: essential ones and those of priority
        required."""
        return sorted(
            name
            for name, paragraphs in self._index.items()
            if any(
                "\nEssential: yes" in text or "\nPriority: required" in text
                for text in paragraphs
            )
        )

    def solve(self, names: Sequence[str], status: str) -> list[tuple[str, str]]:
        """(name, version) of what installing `names` over a dpkg `status` adds.

        Raises ResolveError with apt's own words.
        """
        (self.directory / "status").write_text(status, "utf-8")
        done = self.run("apt-get", "-s", "-q", "--no-install-recommends", "install", *names)
        if done.returncode != 0:
            raise ResolveError(_reason(done))
        removed = re.findall(r"^Remv (\S+)", done.stdout, re.MULTILINE)
        if removed:
            raise ResolveError(f"it would remove {', '.join(removed)} from the base")
        found = re.findall(r"^Inst (\S+) (?:\[[^\]]*\] )?\((\S+) ", done.stdout, re.MULTILINE)
        return sorted((name.partition(":")[0], version) for name, version in found)

    def locked(self, name: str, version: str) -> LockedPackage:
        """The pinned .deb of one version. Raises ResolveError when no list has it."""
        stanza = self.stanza(name, version)
        if stanza is None or stanza["Filename"] not in self._owners:
            raise ResolveError(f"{name}: version {version} is in no package list")
        filename = stanza["Filename"]
        file = LockedFile(
            name=filename.rpartition("/")[2], url=self._owners[filename],
            sha256=stanza["SHA256"].strip(), size=int(stanza["Size"]),
        )
        return LockedPackage("deb", name, version, file, {"arch": stanza["Architecture"]})

    @cached_property
    def _owners(self) -> dict[str, str]:
        """Filename in an archive -> URL, from each list's own base URI."""
        done = self.run("apt-get", "indextargets", "--format", "$(FILENAME)\t$(REPO_URI)",
                        "Created-By: Packages")
        owners: dict[str, str] = {}
        for line in done.stdout.splitlines():
            path, _, base = line.partition("\t")
            listing = Path(path)
            if not listing.exists():
                continue
            for match in re.finditer(r"^Filename: (\S+)$", listing.read_text("utf-8"), re.MULTILINE):
                filename = match[1]
                owners.setdefault(filename, f"{base.rstrip('/')}/{filename.removeprefix('./')}")
        return owners

    def unknown(self, request: Request) -> str:
        """What to say of a package that no list has."""
        name = request.text.partition("=")[0]
        close = get_close_matches(name, self.names, n=1, cutoff=0.75)
        hint = f"did you mean '{close[0]}'?" if close else "check its name and config.apt_source"
        return f"{request.position}: no apt package '{name}'; {hint}"

    def provides(self, name: str) -> bool:
        """Whether a package has that name, really or virtually."""
        if name in self._index:
            return True
        word = re.compile(rf"^Provides:.*(?<![\w.+-]){re.escape(name)}(?![\w.+-])", re.MULTILINE)
        return any(word.search(text) for texts in self._index.values() for text in texts)


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    wanted = [
        line.strip()
        for line in (done.stdout + "\n" + done.stderr).splitlines()
        if re.match(r"\s*(E: |\S+ : (Depends|Conflicts|Breaks|PreDepends)|Depends:)", line)
    ]
    return "; ".join(wanted) or done.stderr.strip()[-800:] or "apt failed"


def _proxy_settings() -> str:
    """How this machine's apt reaches the network, and whom it trusts: the only setting of the
    host's that is kept."""
    try:
        done = subprocess.run(
            ["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    keep = re.compile(r'^Acquire::https?::(\S*::)?(Proxy|CaInfo|Verify-\S+)\S* ".+";$', re.I)
    return "\n".join(line for line in done.stdout.splitlines() if keep.match(line))


@contextmanager
def open_apt(
    sources: Sequence[str], keyring: str, cache: Path, log: Callable[[str], None],
    keys: Mapping[str, bytes] = {},
) -> Iterator[Apt]:
    """A private apt with the lists of `sources` brought up to date, kept under `cache`; `keys` (by
    file name) are trusted beside `keyring`.

    Raises ResolveError when an archive cannot be read or its signature does not hold.
    """
    import fcntl

    trusted = [[name, content.hex()] for name, content in sorted(keys.items())]
    key = hash_value("envd apt directory v1", [*sources, *trusted])[:16]
    directory = cache / f"apt-{key}"
    for name in ("lists/partial", "archives/partial", "etc/empty.d", "etc/keys.d", "log"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for name, content in keys.items():
            # apt reads no others
            cleaned = re.sub(r"[^A-Za-z0-9._-]", "-", name)
            (directory / "etc/keys.d" / cleaned).write_bytes(content)
        _configure(directory, sources, keyring)
        apt = Apt(directory)
        log(f"reading package lists of {len(sources)} sources")
        done = apt.run("apt-get", "update", "-q")
        problems = [
            line for line in done.stderr.splitlines() if line.startswith(("E: ", "W: Failed"))
        ]
        if done.returncode != 0 or any(line.startswith("W: Failed") for line in problems):
            raise ResolveError(
                "cannot read the apt sources: " + ("; ".join(problems) or done.stderr[-500:])
                + "; check config.apt_source, ENVD_DEBIAN_MIRROR and the network"
            )
        yield apt


def _configure(directory: Path, sources: Sequence[str], keyring: str) -> None:
    here = directory.absolute()
    settings = f"""
Dir "{here}";
Dir::State "{here}";
Dir::State::lists "lists";
Dir::State::status "{here}/status";
Dir::State::extended_states "{here}/extended_states";
Dir::Cache "{here}";
Dir::Cache::archives "archives";
Dir::Log "{here}/log";
Dir::Etc "{here}/etc";
Dir::Etc::main "none";
Dir::Etc::parts "empty.d";
Dir::Etc::sourcelist "{here}/etc/sources.list";
Dir::Etc::sourceparts "empty.d";
Dir::Etc::preferences "none";
Dir::Etc::preferencesparts "empty.d";
Dir::Etc::trusted "{keyring or 'none'}";
Dir::Etc::trustedparts "keys.d";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
APT::Get::AllowUnauthenticated "false";
Acquire::Languages "none";
Acquire::Retries "3";
// A release that is archived is never signed anew; its lock pins every file by hash.
Acquire::Check-Valid-Until "false";
Debug::NoLocking "true";
"""
    (directory / "apt.conf").write_text(settings + _proxy_settings() + "\n", "utf-8")
    (directory / "etc/sources.list").write_text("\n".join(sources) + "\n", "utf-8")
    status = directory / "status"
    if not status.exists():
        status.write_text("")


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
            "Architecture": package.extra.get("arch", "amd64"),
            "Version": package.version,
        }
        kept = ("Essential", "Priority", "Multi-Arch", "Source", "Provides", "Pre-Depends",
                "Depends", "Conflicts", "Breaks", "Replaces")
        fields.update({k: found[k] for k in kept if k in found})
        paragraphs.append("\n".join(f"{k}: {v}" for k, v in fields.items()))
    return "\n\n".join(paragraphs) + "\n"


def check_names(apt: Apt, requests: Sequence[Request]) -> None:
    """Raise ResolveError, naming every request that no list can satisfy."""
    problems = []
    for request in requests:
        if not _PACKAGE_NAME.match(request.text):
            problems.append(f"{request.position}: '{request.text}' is no apt package name")
        elif not apt.provides(re.split(r"[:=]", request.text)[0]):
            problems.append(apt.unknown(request))
    if problems:
        raise ResolveError("\n".join(problems))


def bootstrap(apt: Apt, extra: Sequence[str]) -> list[LockedPackage]:
    """The .debs of a minimal system with `extra`; those that must lie there before dpkg can run
    are marked "essential". Raises ResolveError."""
    required = apt.required()
    essential = {name for name, _ in apt.solve(required, "")}
    found = []
    for name, version in apt.solve([*required, "apt", *extra], ""):
        package = apt.locked(name, version)
        mark = {"essential": "yes"} if name in essential else {}
        found.append(replace(package, extra={**package.extra, **mark}))
    return found


def resolve(
    apt: Apt, requests: Sequence[Request], status: str, local: Mapping[str, Path] = {}
) -> list[LockedPackage]:
    """The .debs that `requests` add to a system with that dpkg `status`, and those that the
    .debs of `local` (package name -> file) depend upon, without these. Raises ResolveError."""
    check_names(apt, requests)
    try:
        found = apt.solve([*(r.text for r in requests), *map(str, local.values())], status)
    except ResolveError as error:
        where = next((str(r.position) for r in requests if r.position.line), "apt")
        names = ", ".join(r.text for r in requests)
        raise ResolveError(f"{where}: cannot install {names}: {error}") from error
    return [apt.locked(n, v) for n, v in found if n not in local]
