"""pip's configuration, read without running pip, which need not be here: its files and the PIP_…
variables, as pip's documentation ("Configuration") and pip's own `configuration.py` and `parser.py`
have it.

Files, from the weakest on: global ($XDG_CONFIG_DIRS/pip/pip.conf, /etc/pip.conf), the user's
(~/.pip/pip.conf, ~/.config/pip/pip.conf; not when PIP_CONFIG_FILE names a file that is there), the
virtual environment's (pip.conf in its prefix), PIP_CONFIG_FILE, which with /dev/null turns all files
off. Each setting of a section is overridden by the same section's in a stronger file. Then section
[install] wins over [global], from whichever files, and PIP_… wins over both. An empty value is none.
"""

from __future__ import annotations

import configparser
import locale
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from engine.core.urls import hidden
from engine.errors import UsageError
from engine.net.local import is_local

_SECTIONS = ("global", "install", ":env:")  # from the weakest on
_ALIASES = {"pypi-url": "index-url"}
_TRUE = frozenset(("y", "yes", "t", "true", "on", "1"))
_FALSE = frozenset(("n", "no", "f", "false", "off", "0"))
# What decides which packages are chosen, and is the spec's to say; or what nobody here can do.
_NOT_TAKEN = frozenset(
    (
        "constraint",
        "build-constraint",
        "requirement",
        "pre",
        "all-releases",
        "only-final",
        "no-binary",
        "only-binary",
        "prefer-binary",
        "no-deps",
        "require-hashes",
        "ignore-requires-python",
        "uploaded-prior-to",
        "platform",
        "python-version",
        "implementation",
        "abi",
        "client-cert",
    )
)


@dataclass(frozen=True)
class Setting:
    """A value, and where it was found: a file or a variable."""

    value: str
    place: str


@dataclass(frozen=True)
class PipSettings:
    """What pip is set to, as far as it says where packages are and how they are reached. `not_taken`
    is what was found beside that, in words."""

    index: str = ""
    extra: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    no_index: bool = False
    trusted: tuple[str, ...] = ()
    certificates: str = ""
    proxy: str = ""
    keyring: str = ""
    not_taken: tuple[str, ...] = ()


@cache
def current() -> PipSettings:
    """This machine's. Raises UsageError for a file that pip could not read."""
    return read(os.environ, Path(sys.prefix))


def read(environment: Mapping[str, str], prefix: Path) -> PipSettings:
    """The settings of a pip that is in the virtual environment `prefix`. Raises UsageError."""
    found: dict[str, Setting] = {}
    sections = _merged(environment, prefix)
    for section in _SECTIONS:
        for key, setting in sections.get(section, {}).items():
            if setting.value:
                found[_ALIASES.get(key, key)] = setting
    no_index = _truth(found, "no-index")
    index = _one(found, "index-url")
    not_taken = [f"{key} ({found[key].place})" for key in sorted(_NOT_TAKEN & found.keys())]
    given = {key: _words(found, key) for key in ("extra-index-url", "find-links")}
    if not (is_local(index) or no_index):
        # A lock that names a directory of this machine is of use on no other. Where it stands in the
        # index's place, another index must not take it.
        for key, values in given.items():
            if any(map(is_local, values)):
                told = " ".join(hidden(value) for value in values if is_local(value))
                not_taken.append(f"{key} = {told} ({found[key].place})")
                given[key] = tuple(value for value in values if not is_local(value))
    links = tuple(  # pip's start where pip is run
        os.path.abspath(link) if is_local(link) and "://" not in link else link  # noqa: PTH100
        for link in given["find-links"]
    )
    return PipSettings(
        index,
        given["extra-index-url"],
        links,
        no_index,
        _words(found, "trusted-host"),
        os.path.expanduser(_one(found, "cert")),  # noqa: PTH111
        _one(found, "proxy"),
        _one(found, "keyring-provider"),
        tuple(not_taken),
    )


def _merged(environment: Mapping[str, str], prefix: Path) -> dict[str, dict[str, Setting]]:
    sections: dict[str, dict[str, Setting]] = {}
    for path in _files(environment, prefix):
        for section, key, value in _rows(path):
            sections.setdefault(section, {})[_normalised(key)] = Setting(value, str(path))
    sections[":env:"] = {
        _normalised(name[4:]): Setting(value.strip(), name)
        for name, value in environment.items()
        if name.startswith("PIP_")
    }
    return sections


def _files(environment: Mapping[str, str], prefix: Path) -> Sequence[Path]:
    """From the weakest on; they need not be there."""
    given = environment.get("PIP_CONFIG_FILE")
    if given == os.devnull:
        return ()
    home = Path(environment.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111
    shared = environment.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    found = [Path(place) / "pip/pip.conf" for place in shared.split(os.pathsep) if place]
    found.append(Path("/etc/pip.conf"))
    if not (given and Path(given).exists()):
        own = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
        found += [home / ".pip/pip.conf", own / "pip/pip.conf"]
    found.append(prefix / "pip.conf")
    return [*found, Path(given)] if given else found


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """Section, key and value. Raises UsageError: without them another index may be asked."""
    parser = configparser.RawConfigParser()
    try:
        with path.open(encoding=locale.getpreferredencoding(False)) as file:
            parser.read_file(file, str(path))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UsageError(
            f"pip's settings cannot be read: {error.strerror}",
            subject=str(path),
            advice="make the file readable, or leave it out with PIP_CONFIG_FILE=/dev/null",
        ) from error
    except (configparser.Error, UnicodeDecodeError) as error:
        named = re.escape(repr(str(path)))
        reason = re.sub(rf"(While reading from |file: ){named},?\s*", "", " ".join(str(error).split()))
        raise UsageError(
            f"not a file of pip's settings: {reason}",
            subject=str(path),
            advice="correct it, or leave it out with PIP_CONFIG_FILE=/dev/null",
        ) from error
    for section in parser.sections():
        for key, value in parser.items(section):
            yield section, key, value or ""


def _normalised(key: str) -> str:
    return key.lower().replace("_", "-").removeprefix("--")


def _one(found: Mapping[str, Setting], key: str) -> str:
    return found[key].value.strip() if key in found else ""


def _words(found: Mapping[str, Setting], key: str) -> tuple[str, ...]:
    return tuple(found[key].value.split()) if key in found else ()


def _truth(found: Mapping[str, Setting], key: str) -> bool:
    if key not in found:
        return False
    value = found[key].value.lower()
    if value not in _TRUE | _FALSE:
        raise UsageError(
            f"{key} = {found[key].value}: neither yes nor no",
            subject=found[key].place,
            advice="write true or false",
        )
    return value in _TRUE
