"""What apt finds in its private directory: settings, sources, keys, logins while it fetches.

Formats: apt.conf(5), sources.list(5), apt_auth.conf(5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from engine.core.urls import without_login

# Set by --allow-expired-apt: an archive may answer with what it signed long ago.
ALLOW_EXPIRED = "ENVD_ALLOW_EXPIRED_APT"
# A date as a directory of an archive's URL: 20240131, 20240131T000000Z, 2024-01-31.
_SNAPSHOT = re.compile(r"/(19|20)\d\d-?[01]\d-?[0-3]\d(T\d{6}Z?)?(/|$)")
_OPTIONED = re.compile(r"\s*deb(?:-src)?\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)")
_INDEXES = ("Packages*", "Release", "InRelease")


def archives(sources: Sequence[str]) -> Iterator[str]:
    """What apt reads of the sources that are on this machine: their indexes, and no directory that has
    none, lest a source shows what it likes."""
    for match in filter(None, map(_OPTIONED.match, sources)):
        method, _, rest = match[2].partition(":")
        if method.rpartition("+")[2] not in ("file", "copy"):
            continue
        place = Path("/" + unquote(rest).lstrip("/"))
        if method.startswith("mirror"):
            yield str(place)
        elif match[3].endswith("/"):  # a flat one
            flat = place / match[3].lstrip("/")
            if any(True for pattern in _INDEXES for _ in flat.glob(pattern)):
                yield str(flat)
        else:
            yield str(place / "dists")


def files(sources: Sequence[str], keyring: str, proxies: str) -> Iterator[str]:
    """The keys of sources, and what the machine's settings of proxies name."""
    yield keyring
    for match in filter(None, map(_OPTIONED.match, sources)):
        for given in re.findall(r"(?:^|\s)signed-by\s*[+-]?=\s*(\S+)", match[1] or "", re.IGNORECASE):
            yield from given.split(",")
    for value in re.findall(r' "(.+)";$', proxies, re.MULTILINE):
        yield from value.split()[:1]


def configure(directory: Path, sources: Sequence[str], keyring: str, proxies: str) -> None:
    """Write apt.conf, sources.list and an empty dpkg status."""
    here = directory.absolute()
    settings = f"""
Dir "{here}";
Dir::State "{here}";
Dir::State::lists "lists";
Dir::State::status "{here}/status";
Dir::State::extended_states "{here}/extended_states";
Dir::Cache "{here}/cache";
Dir::Cache::archives "archives";
Dir::Log "{here}/cache/log";
Dir::Etc "{here}/etc";
Dir::Etc::main "none";
Dir::Etc::parts "empty.d";
Dir::Etc::sourcelist "{here}/etc/sources.list";
Dir::Etc::sourceparts "empty.d";
Dir::Etc::netrc "{here}/etc/auth.conf";
Dir::Etc::netrcparts "empty.d";
Dir::Etc::preferences "none";
Dir::Etc::preferencesparts "empty.d";
Dir::Etc::trusted "{keyring or "none"}";
Dir::Etc::trustedparts "keys.d";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
APT::Get::AllowUnauthenticated "false";
Acquire::Languages "none";
Acquire::Retries "0";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Acquire::Check-Valid-Until "{"false" if os.environ.get(ALLOW_EXPIRED) else "true"}";
Debug::NoLocking "true";
"""
    (directory / "apt.conf").write_text(settings + proxies + "\n", "utf-8")
    lines = "".join(f"{_dated(without_logins(line))}\n" for line in sources)
    (directory / "etc/sources.list").write_text(lines, "utf-8")
    status = directory / "status"
    if not status.exists():
        status.write_text("")


def _dated(line: str) -> str:
    """A sources.list line, which says of a snapshot that is asked for by its date that its signature
    is of then, too: no snapshot is signed anew."""
    match = re.match(r"(deb\s+)(?:\[([^\]]*)\]\s*)?(\S+)(.*)$", line)
    if match is None or not _SNAPSHOT.search(match[3]):
        return line
    options = " ".join(filter(None, (match[2], "check-valid-until=no")))
    return f"{match[1]}[{options}] {match[3]}{match[4]}"


def without_logins(line: str) -> str:
    """A line of sources.list whose URLs hold no login."""
    return re.sub(r"https?://\S+", lambda match: without_login(match[0]), line)


@contextmanager
def logins(directory: Path, sources: Sequence[str]) -> Iterator[None]:
    """Where apt finds the logins of `sources`, as long as it fetches (apt_auth.conf(5)): the lists are
    kept, and have no business with them."""
    rows = []
    for url in re.findall(r"https?://\S+", "\n".join(sources)):
        parts = urlsplit(url)
        if parts.username is not None:
            place = parts.netloc.rpartition("@")[2] + parts.path
            rows.append(
                f"machine {parts.scheme}://{place} login {unquote(parts.username)} "
                f"password {unquote(parts.password or '')}\n"
            )
    path = directory / "etc/auth.conf"
    path.unlink(missing_ok=True)
    if rows:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.writelines(rows)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
