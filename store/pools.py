"""Connections of urllib3's that are kept and shared between threads, and broken when envd is told to
end: one pool for each proxy and each choice of whom to trust.
"""

from __future__ import annotations

import ssl
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from store import certificates, redirects
from store.connections import interruptible
from store.libraries import urllib3

CONNECTIONS = 16  # kept per host; as many as the scheduler has fetching threads
_BLOCK = 1 << 18  # bytes of a file that are sent at once


@cache
def pool(proxy: str, authorities: str, also: str = "", checked: bool = True) -> urllib3.PoolManager:
    """The connections, per proxy ("" for none) and trusted authorities ("" for what is not encrypted;
    `also` are more of them, or ""), with or without checking certificates. Raises SettingError."""
    if not checked:  # the lock's hashes are checked; it was asked for with trust=True
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    settings: dict[str, Any] = {
        "num_pools": CONNECTIONS,
        "maxsize": 2 * CONNECTIONS,  # large blobs come through several (`store.ranges`)
        "blocksize": _BLOCK,
        "cert_reqs": "CERT_REQUIRED" if checked else "CERT_NONE",
        **(certificates.place(authorities, also) if authorities else {}),
    }
    if not proxy:
        return interruptible(urllib3.PoolManager(**settings))
    login = urlsplit(proxy)
    headers = (
        urllib3.make_headers(proxy_basic_auth=f"{unquote(login.username)}:{unquote(login.password or '')}")
        if login.username
        else None
    )
    bare = urlunsplit(login._replace(netloc=login.netloc.rpartition("@")[2]))
    return interruptible(urllib3.ProxyManager(bare, proxy_headers=headers, **settings))


def hopeless(error: BaseException) -> bool:
    """Whether another attempt cannot do better: a certificate or a proxy's login that is refused, a
    URL that cannot be one, redirections that lead nowhere."""
    if isinstance(error, redirects.RedirectError):
        return True
    found: BaseException | None = error
    while isinstance(found, urllib3.exceptions.MaxRetryError):
        found = found.reason
    if isinstance(found, urllib3.exceptions.SSLError):
        return any(isinstance(a, ssl.SSLCertVerificationError) for a in found.args)
    if isinstance(found, urllib3.exceptions.ProxyError):
        return "Tunnel connection failed: 40" in str(found)
    return isinstance(found, urllib3.exceptions.LocationValueError | urllib3.exceptions.ResponseError)


@cache
def once() -> urllib3.Retry:
    """What urllib3 tries again: nothing, for it would do so in silence."""
    return urllib3.Retry(total=10, connect=0, read=0, status=0, other=0, respect_retry_after_header=False)
