"""The HTTP client: every request that envd makes itself, but for those to registries
(`store.exchange`, which follows the same policy).

Connections are kept and shared between threads, and are broken when envd is told to end. A request
waits so long for a connection and so long for each byte (`store.retry`), follows redirections only
where `store.redirects` lets it, and sends a login to the server alone that it was given for. Proxies
and certificates: `store.proxies`, `store.certificates`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from engine.core.urls import UNCHECKED, redacted, without_login
from engine.core.version import VERSION
from engine.errors import OfflineError, UsageError
from engine.net import machine
from engine.net.credentials import configured_login
from store import bodies, certificates, offline, pools, proxies, redirects, retry
from store.errors import SettingError
from store.libraries import urllib3

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

CONNECTIONS = pools.CONNECTIONS
hopeless = pools.hopeless
_pool = pools.pool


def send(url: str, offset: int = 0, method: str = "GET") -> BaseHTTPResponse:
    """`request`, asked again with the login that this machine has for the server when it wants one."""
    response = request(url, offset, method)
    if response.status == 401 and (whole := _with_login(response.url or "", url)):
        response.close()
        response = request(whole, offset, method)
    return response


def request(url: str, offset: int = 0, method: str = "GET") -> BaseHTTPResponse:
    """Ask for `url` from byte `offset` on; the body is not read yet. `response.url` is where it came
    from after redirects. Raises urllib3's errors, RedirectError, OfflineError, and UsageError for a setting
    of the network's that cannot be used."""
    if offline.is_on():
        raise OfflineError("must not be asked for offline", subject=redacted(url), advice=offline.ADVICE)
    unchecked = url.startswith(UNCHECKED)
    url = url.replace(UNCHECKED, "https", 1) if unchecked else url
    # Compression on the way would change the bytes that are hashed.
    headers = {"User-Agent": f"envd/{VERSION}", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    start, count = url, 0
    while True:
        own = redirects.same_server(url, start)  # else neither the login nor the trust is for it
        response = _connections(url, checked=not (unchecked and own)).request(
            method,
            without_login(url),
            headers=headers | (_authorization(start) if own else {}),
            preload_content=False,
            redirect=False,
            timeout=urllib3.Timeout(connect=retry.CONNECT, read=retry.SILENCE),
            retries=pools.once(),
        )
        location = response.get_redirect_location()
        if not location:
            response.url = without_login(url)
            return response
        response.close()
        url = redirects.followed(url, location, count)
        count += 1


def pieces(response: BaseHTTPResponse, *, decode: bool = False) -> Iterator[bytes]:
    """The body as it comes in, so that whoever reads it can stop soon; with `decode` without the
    compression that was on its way. Raises TransientError, urllib3's errors."""
    found = bodies.pieces(response)
    return bodies.decoded(found, response.headers.get("Content-Encoding", "")) if decode else found


def advice(error: BaseException) -> str:
    """What to do about a `hopeless` error."""
    if isinstance(error, redirects.RedirectError):
        return "ask who runs the server, or give another URL"
    if isinstance(getattr(error, "reason", error), urllib3.exceptions.ProxyError):
        return "check the proxy that http_proxy, https_proxy or all_proxy names, and its login"
    return "check the URL, and SSL_CERT_FILE when it is the certificate"


def _with_login(asking: str, url: str) -> str:
    """`url` with the login that this machine is configured with for its server, or "". Only for
    the server itself, and only when it is known to be the one: `asking` is who answered."""
    parts = urlsplit(url)
    if parts.scheme == UNCHECKED or not redirects.same_server(asking, url):
        return ""
    if parts.username is not None or not (login := configured_login(url)):
        return ""
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc}"))


def _authorization(url: str) -> dict[str, str]:
    """The header for the login that a URL holds."""
    parts = urlsplit(url)
    if parts.username is None:
        return {}
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return dict(urllib3.make_headers(basic_auth=login))


def _connections(url: str, *, checked: bool) -> PoolManager:
    """The connections that `url` is asked through. Raises UsageError."""
    proxy, also = machine.way_out()
    if certificates.named():
        also = ""
    try:
        return _pool(proxies.proxy_of(url, proxy), certificates.authorities(), also, checked)
    except SettingError as error:
        raise UsageError(str(error)) from error
