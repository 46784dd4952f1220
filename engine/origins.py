"""Where a lock's files are fetched from: what a lock leaves out, put back for this machine.

A lock holds no login, no certificate setting and no absolute path of a project's own file. None of
these is part of a derivation's hash, so they are added when a plan is made.
"""

from __future__ import annotations

import netrc
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from engine.lock import LockedPackage
from engine.urls import UNCHECKED, restored
from store import notices


@dataclass(frozen=True)
class Origins:
    """`directory` is what relative URLs start from; `indexes` are URLs that may hold secrets;
    `trusted` are hosts ("host" or "host:port") whose certificates are not checked."""

    directory: Path
    indexes: Sequence[str] = ()
    trusted: Sequence[str] = ()

    def url(self, url: str) -> str:
        """What a lock's `url` is here."""
        parts = urlsplit(url)
        if not parts.scheme:
            return (self.directory.absolute() / unquote(url)).as_uri()
        if parts.scheme not in ("http", "https"):
            return url
        for index in self.indexes:
            if (found := restored(url, index)) != url:
                parts = urlsplit(found)
                break
        host = parts.netloc.rpartition("@")[2]
        if parts.scheme == "https" and {host, parts.hostname} & set(self.trusted):
            parts = parts._replace(scheme=UNCHECKED)
        return urlunsplit(parts)

    def packages(self, packages: Sequence[LockedPackage]) -> tuple[LockedPackage, ...]:
        """`packages` with their files' URLs as they are here."""
        return tuple(
            replace(p, file=replace(p.file, url=found))
            if (found := self.url(p.file.url)) != p.file.url else p
            for p in packages
        )


def _login_of(index: str, url: str) -> str:
    """The login ("user:password") in `index` when it is on the same server as `url`."""
    one, other = urlsplit(index), urlsplit(url)
    login, _, host = one.netloc.rpartition("@")
    return login if login and (one.scheme, host) == (other.scheme, other.netloc) else ""


@cache
def configured_index() -> str | None:
    """pip's own index, which uv does not read: from pip.conf or PIP_INDEX_URL."""
    if given := os.environ.get("PIP_INDEX_URL"):
        return given
    done = subprocess.run(
        # -I: a pip.py of the directory that we are in is not meant
        [sys.executable, "-I", "-m", "pip", "config", "get", "global.index-url"],
        capture_output=True, encoding="utf-8", errors="replace", check=False,
    )
    return done.stdout.strip() or None


def configured_login(url: str) -> str:
    """The login ("user:password") that this machine has for `url`'s server: from uv's and pip's
    index settings and from netrc; "" for none. For servers that asked for one."""
    names = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL",
             "PIP_EXTRA_INDEX_URL")
    indexes = [
        word.partition("=")[2] if "=" in word.partition("://")[0] else word
        for name in names for word in os.environ.get(name, "").split()
    ]
    indexes.append(configured_index() or "")
    for index in indexes:
        if login := _login_of(index, url):
            return login
    try:
        found = netrc.netrc(os.environ.get("NETRC")).authenticators(urlsplit(url).hostname or "")
    except FileNotFoundError:
        return ""
    except (OSError, netrc.NetrcParseError) as error:
        name = os.environ.get("NETRC") or "~/.netrc"
        notices.once(name, f"its logins are not taken: {error}")
        return ""
    return f"{quote(found[0], '')}:{quote(found[2], '')}" if found else ""
