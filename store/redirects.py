"""Which way a server may send a request, and a login with it: what it answers is not trusted.

A redirection leads to http or https, and never from https to http, where anybody on the way could
read and change what comes. A login that is asked for (the "realm" of a registry's challenge) goes to
https, which may be another host's, as Docker Hub's is; in the clear it goes only where the registry
itself is spoken to in the clear, on the same host.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urljoin, urlsplit

LIMIT = 10  # redirections in a row


class RedirectError(Exception):
    """A server sends us somewhere that we do not go. Its text is the reason."""


def is_loopback(host: str) -> bool:
    """Whether "HOST" or "HOST:PORT" is this machine: localhost, or an address that says so. A name
    that only looks like one (127.evil.example) is a name."""
    name = _parts(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _parts(url: str) -> SplitResult:
    """The parts of a URL; of one that cannot be one, none."""
    try:
        parts = urlsplit(url)
        _ = parts.port, parts.hostname
    except ValueError:
        return SplitResult("", "", "", "", "")
    return parts


def followed(url: str, location: str, count: int = 0) -> str:
    """Where a redirection from `url` to `location` leads; `count` are those before it.

    Raises RedirectError.
    """
    if count >= LIMIT:
        raise RedirectError(f"it redirects more than {LIMIT} times")
    try:
        target = urljoin(url, location)
    except ValueError:
        target = location
    before, after = _parts(url), _parts(target)
    if after.scheme not in ("http", "https") or not after.hostname:
        raise RedirectError(f"it redirects to {_shown(target)}, which is not an http or https URL")
    if before.scheme == "https" and after.scheme == "http":
        raise RedirectError(f"it redirects from https to {_shown(target)}, which anybody could change")
    return target


def same_server(one: str, other: str) -> bool:
    """Whether two URLs are of one server: then what the first may know, the second may."""
    return _server(_parts(one)) == _server(_parts(other))


def _server(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def check_realm(endpoint: str, realm: str) -> None:
    """Raise RedirectError when a login for the registry at `endpoint` must not go to `realm`."""
    asked, wanted = _parts(endpoint), _parts(realm)
    if wanted.scheme not in ("http", "https") or not wanted.hostname or wanted.username is not None:
        raise RedirectError(
            f"it asks for logins to be sent to {_shown(realm)}, which is not an http or https URL"
        )
    if wanted.scheme == "https":
        return
    here = asked.scheme == "http" and (
        wanted.hostname == asked.hostname or (is_loopback(asked.netloc) and is_loopback(wanted.netloc))
    )
    if not here:
        raise RedirectError(
            f"it asks for logins to be sent to {_shown(realm)}, in the clear; a registry has to "
            "name an https URL"
        )


def _shown(url: str) -> str:
    """A URL for a message: without a login, a query and what cannot be printed, and not for ever."""
    text = url.partition("?")[0]
    head, at, tail = text.rpartition("@")
    text = f"{head.partition('//')[0]}//{tail}" if at and "//" in head else text
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 100 else f"{text[:99]}…"
