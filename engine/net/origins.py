"""Where a lock's files are fetched from: what a lock leaves out, put back for this machine.

A lock holds no login, no certificate setting and no absolute path of a project's own file. None of
these is part of a derivation's hash, so they are added when a plan is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from engine.core.urls import UNCHECKED, restored
from engine.lock.packages import LockedPackage


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
            if (found := self.url(p.file.url)) != p.file.url
            else p
            for p in packages
        )
