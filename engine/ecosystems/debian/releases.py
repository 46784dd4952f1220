"""Debian and Ubuntu releases: what `base(os=...)` names, and where their packages come from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from engine.ecosystems.debian import archive_keys
from engine.ecosystems.debian.package_lists import parse_stanzas
from engine.errors import ResolveError
from grammar.environment import Base, Environment, Position
from grammar.nearest import suggest


@dataclass(frozen=True)
class Release:
    """One release of a distribution. `python` is its python3's "X.Y", `glibc` its libc's."""

    os: str
    family: str  # "debian" | "ubuntu"
    suite: str
    python: str
    glibc: str
    components: str
    keyring: str


_DEBIAN_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
_UBUNTU_KEYS = "/usr/share/keyrings/ubuntu-archive-keyring.gpg"

RELEASES = {
    release.os: release
    for release in (
        Release("debian11", "debian", "bullseye", "3.9", "2.31", "main", _DEBIAN_KEYS),
        Release("debian12", "debian", "bookworm", "3.11", "2.36", "main", _DEBIAN_KEYS),
        Release("debian13", "debian", "trixie", "3.13", "2.41", "main", _DEBIAN_KEYS),
        Release("ubuntu20.04", "ubuntu", "focal", "3.8", "2.31", "main universe", _UBUNTU_KEYS),
        Release("ubuntu22.04", "ubuntu", "jammy", "3.10", "2.35", "main universe", _UBUNTU_KEYS),
        Release("ubuntu24.04", "ubuntu", "noble", "3.12", "2.39", "main universe", _UBUNTU_KEYS),
    )
}

# The keys that have signed Ubuntu's archive since 12.10, as Ubuntu (and Debian's ubuntu-keyring)
# publishes them.
UBUNTU = archive_keys.Owner(
    "Ubuntu",
    ("F6ECB3762474EDA9D21B7022871920D1991BC93C", "790BC7277767219C42C86F933B4FE6ACC0B21F32"),
    "ENVD_UBUNTU_FINGERPRINT",
)

_PUBLIC_UBUNTU = "http://archive.ubuntu.com/ubuntu"


def release_of(base: Base) -> Release:
    """The release that `base` names. Raises ResolveError for one that is not known."""
    release = RELEASES.get(base.os)
    if release is None:
        hint = suggest(base.os, RELEASES) or f"; known: {', '.join(RELEASES)}"
        raise ResolveError(f"base has no os '{base.os}'{hint}", position=base.position)
    return release


def python_of(base: Base) -> str:
    """The release's own Python ("3.11") where `base` asks for that, else ""."""
    if not base.language.startswith("python"):
        return ""
    own = release_of(base).python
    named = base.language.removeprefix("python")
    return own if "." not in named or named == own else ""


# -- sources ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _HostSource:
    uri: str
    suites: tuple[str, ...]


def _host_sources(directory: Path = Path("/etc/apt")) -> Iterator[_HostSource]:
    """The machine's own apt sources (sources.list(5), both formats)."""
    lists = [directory / "sources.list", *sorted((directory / "sources.list.d").glob("*.list"))]
    for path in lists:
        if not path.is_file():
            continue
        for line in path.read_text("utf-8", "replace").splitlines():
            match = re.match(r"\s*deb\s+(?:\[[^\]]*\]\s*)?(\S+)\s+(\S+)", line)
            if match:
                yield _HostSource(match[1], (match[2],))
    for path in sorted((directory / "sources.list.d").glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text("utf-8", "replace")):
            rows = [r for r in stanza.splitlines() if not r.startswith("#")]
            fields = {k.strip().lower(): v.split() for k, _, v in (row.partition(":") for row in rows) if v}
            if "deb" in fields.get("types", []):
                for uri in fields.get("uris", []):
                    yield _HostSource(uri, tuple(fields.get("suites", [])))


def _host_mirror(family: str, *, security: bool) -> str | None:
    for source in _host_sources():
        path = urlsplit(source.uri).path.rstrip("/")
        if not source.uri.startswith(("http://", "https://")):
            continue
        for_security = path.endswith("-security") or any("security" in s for s in source.suites)
        if path.endswith((f"/{family}", f"/{family}-security")) and for_security == security:
            return source.uri.rstrip("/")
    return None


def mirror(family: str) -> str:
    """The archive of a family: ENVD_<FAMILY>_MIRROR, or the machine's own.

    Raises ResolveError when neither says where it is.
    """
    setting = f"ENVD_{family.upper()}_MIRROR"
    found = os.environ.get(setting) or _host_mirror(family, security=False)
    if not found and family == "ubuntu":
        found = _PUBLIC_UBUNTU
    if not found:
        raise ResolveError(
            f"this machine's apt sources name no {family} archive",
            advice=f"set {setting} to one's URL, or write config.apt_source(source=URL)",
        )
    return found.rstrip("/")


def security_mirror() -> str:
    """Debian's security archive: ENVD_DEBIAN_SECURITY_MIRROR, the machine's own, or beside the
    main one."""
    given = os.environ.get("ENVD_DEBIAN_SECURITY_MIRROR")
    if not given and not os.environ.get("ENVD_DEBIAN_MIRROR"):
        given = _host_mirror("debian", security=True)
    return (given or f"{mirror('debian')}-security").rstrip("/")


def keyring(release: Release | None, *, needed: bool = True) -> str:
    """The keyring that a release's archive is checked with: ENVD_<FAMILY>_KEYRING, or where its
    package puts it. "" when it is not there and not `needed`; else raises ResolveError."""
    if release is None:
        return ""
    path = os.environ.get(_keyring_setting(release)) or release.keyring
    if Path(path).is_file():
        return str(Path(path).absolute())
    if not needed:
        return ""
    raise _no_keyring(release, path)


def fetched_keyring(release: Release, cache: Path, position: Position) -> str:
    """A keyring for a machine that has none: of Ubuntu's from its own archive, where the key has
    one of the published fingerprints. Raises ResolveError, which says what to install."""
    named = os.environ.get(_keyring_setting(release))
    if named or release.family != "ubuntu":
        raise _no_keyring(release, named or release.keyring)
    url = f"{mirror('ubuntu')}/project/ubuntu-archive-keyring.gpg"
    try:
        return str(archive_keys.fetched(UBUNTU, [url], cache, position))
    except archive_keys.NoKeyError as error:
        reason = str(error)
    except ResolveError as error:
        reason = error.text
    other = f", or an archive that brings its key with ENVD_UBUNTU_MIRROR: {reason}"
    raise _no_keyring(release, release.keyring, other)


def _keyring_setting(release: Release) -> str:
    return f"ENVD_{release.family.upper()}_KEYRING"


def _no_keyring(release: Release, path: str, other: str = "") -> ResolveError:
    package = {"debian": "debian-archive-keyring", "ubuntu": "ubuntu-keyring"}[release.family]
    hint = " (Debian has ubuntu-keyring from 13 on)" if release.family == "ubuntu" else ""
    return ResolveError(
        f"no such file, and without it {release.os}'s archive cannot be trusted",
        subject=path,
        advice=f"install {package}, or name a keyring with {_keyring_setting(release)}{hint}{other}",
    )


def own_keys(environment: Environment) -> dict[str, bytes]:
    """The key of config.apt_source, by the name that apt wants it under.

    Raises ResolveError when it cannot be read, or is none.
    """
    if environment.apt_key is None:
        return {}
    place = environment.apt_source_position
    try:
        content = Path(environment.apt_key).read_bytes()
    except OSError as error:
        raise ResolveError(
            error.strerror or str(error), position=place, subject=environment.apt_key
        ) from error
    if content.startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----"):
        return {"envd-source.asc": content}
    # RFC 9580, section 4.2: a packet's first byte has its top bit set; tag 6 is a public key.
    if not content or content[0] & 0xC0 == 0 or content[0] >> 7 == 0:
        raise ResolveError(
            "no OpenPGP key",
            position=place,
            subject=environment.apt_key,
            advice="export it with `gpg --export --armor KEY`",
        )
    return {"envd-source.gpg": content}


def one_line(text: str) -> Iterator[str]:
    """The "deb" entries of a sources.list, without options."""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S.*?)\s*(#.*)?$", line)
        if match:
            yield f"deb {match[2]}"


def deb822(text: str) -> Iterator[str]:
    """The `deb` lines that a .sources file means (sources.list(5), "DEB822-STYLE FORMAT")."""
    for fields in parse_stanzas("\n".join(x for x in text.splitlines() if not x.startswith("#"))):
        if "deb" not in fields.get("Types", "").split() or fields.get("Enabled", "yes") == "no":
            continue
        components = " ".join(fields.get("Components", "").split())
        for uri in fields.get("URIs", "").split():
            for suite in fields.get("Suites", "").split():
                yield f"deb {uri} {suite} {components}".rstrip()


# Options of sources.list(5) by which a source need not be signed, and what they are then.
_UNSIGNED = re.compile(
    r"(?:^|\s)(trusted|allow-insecure|allow-weak|allow-downgrade-to-insecure)\s*[+-]?=\s*(\S+)", re.I
)
ALLOW_UNSIGNED = "ENVD_ALLOW_UNSIGNED_APT"  # set by --allow-unsigned-apt


def _check_signed(lines: Sequence[str], where: Position) -> None:
    """Raise ResolveError for a source that asks not to be checked, unless the user allows that."""
    if os.environ.get(ALLOW_UNSIGNED):
        return
    for line in lines:
        match = re.match(r"\s*deb(?:-src)?\s+\[([^\]]*)\]", line)
        for name, value in _UNSIGNED.findall(match[1] if match else ""):
            if value.lower() not in ("no", "false", "off", "0", "without", "disable"):
                raise ResolveError(
                    f"config.apt_source: '{name}={value}' takes packages that nobody has signed",
                    position=where,
                    advice="give the archive's key with config.apt_source(source, key), or accept "
                    "them with --allow-unsigned-apt",
                )


def sources(environment: Environment, release: Release | None) -> tuple[str, ...]:
    """sources.list lines to resolve from, without signed-by options.

    Raises ResolveError when they cannot be made up for want of a known `release`.
    """
    given = environment.apt_source
    if given and re.search(r"^Types:", given, re.MULTILINE):
        return tuple(deb822(given))
    if given and not re.match(r"\s*(https?|file)://\S+\s*$", given):
        lines = tuple(line.strip() for line in given.splitlines() if line.strip() and line.strip()[0] != "#")
        _check_signed(lines, environment.apt_source_position)
        return lines
    if release is None:
        raise ResolveError(
            "config.apt_source: which release that archive is asked for is not known of this image",
            position=environment.base.position,
            advice='give whole lines, such as "deb URL SUITE main"',
        )
    main = given.strip().rstrip("/") if given else mirror(release.family)
    parts = release.components
    if release.family == "ubuntu":
        return tuple(
            f"deb {main} {release.suite}{pocket} {parts}" for pocket in ("", "-updates", "-security")
        )
    security = f"{main}-security" if given else security_mirror()
    return (
        f"deb {main} {release.suite} {parts}",
        f"deb {main} {release.suite}-updates {parts}",
        f"deb {security} {release.suite}-security {parts}",
    )
