"""One HTTP exchange with a registry: bounded in time and memory, with a login for the registry alone,
and with its failures told apart, those that pass by from those that do not.

Redirections lead where `store.redirects` lets them; a request with a body is sent again only by 307
and 308 (RFC 9110, section 15.4). Proxies and certificates: `store.proxies`, `store.certificates`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from store import bodies, certificates, limits, offline, pools, proxies, redirects, retry
from store.errors import RegistryError, TooLargeError
from store.libraries import urllib3

_AGENT = {"User-Agent": "envd"}
# Seconds that a registry may take to answer when it has all of a blob, at so many bytes a second.
_DIGESTING, _DIGESTED = 300.0, 10e6


class UnreachableError(Exception):
    """What another attempt cannot change. Its text is the reason."""


class BrokenError(retry.TransientError):
    """The connection broke off, or never was."""


class Source(Protocol):
    """What the bytes of a body are read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes, b"" at the end."""

    def close(self) -> None:
        """Let go of it."""


@dataclass(frozen=True)
class Body:
    """What is sent: its size in bytes, and how it is opened, anew for each attempt."""

    size: int
    open: Callable[[], bytes | Source]


@dataclass(frozen=True)
class Answer:
    """What a registry answered. `url` is who did, after redirections; `raw` is what a body that was
    asked for as a stream is read from."""

    status: int
    headers: Mapping[str, str]
    url: str
    body: bytes = b""
    raw: Any = None

    def json(self) -> Any:
        """The body as JSON. Raises ValueError, RecursionError."""
        return json.loads(self.body)

    def close(self) -> None:
        """Let go of a stream. What is left of it is not read, and its connection not used again."""
        if self.raw is not None:
            self.raw.close()


def ask(
    method: str,
    url: str,
    headers: Mapping[str, str],
    *,
    authorization: Callable[[str], Mapping[str, str]] = lambda url: {},
    body: Body | None = None,
    stream: bool = False,
    first: float = retry.SILENCE,
) -> Answer:
    """Send a request; the answer. `authorization` are the headers for the server of a URL; `first`
    the seconds until its first byte.

    Raises TransientError, UnreachableError, RegistryError for an answer that is too large.
    """
    with _explained():
        for count in range(redirects.LIMIT + 2):
            response = _sent(method, url, {**_AGENT, **headers, **authorization(url)}, body, first)
            location = response.get_redirect_location()
            if location and ((body is None and method in ("GET", "HEAD")) or response.status in (307, 308)):
                response.close()
                url = redirects.followed(url, location, count)
                continue
            return _answer(response, url, stream)
    raise AssertionError("unreachable")


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except redirects.RedirectError as error:
        raise UnreachableError(str(error)) from error
    except (urllib3.exceptions.HTTPError, ConnectionError, TimeoutError) as error:
        if pools.hopeless(error) or _of_tls(error):
            raise UnreachableError(retry.reason(error)) from error
        raise BrokenError(retry.reason(error)) from error


def _of_tls(error: BaseException) -> bool:
    """Whether both sides do not agree about TLS; one that broke off may do better."""
    found: BaseException | None = error
    while isinstance(found, urllib3.exceptions.MaxRetryError):
        found = found.reason
    return isinstance(found, urllib3.exceptions.SSLError) and "EOF" not in str(found)


def _sent(
    method: str, url: str, headers: Mapping[str, str], body: Body | None, first: float
) -> urllib3.BaseHTTPResponse:
    if offline.is_on():
        raise RegistryError(f"{urlsplit(url).netloc}: must not be asked offline; {offline.ADVICE}")
    proxy = proxies.proxy_of(url)
    # Reading certificates takes longer than asking a registry on this machine.
    encrypted = url.startswith("https:") or proxy.startswith("https:")
    authorities = certificates.authorities() if encrypted else ""
    content: Any = body.open() if body is not None else None
    if body is not None:
        headers = {**headers, "Content-Length": str(body.size)}
        first = min(_DIGESTING, retry.SILENCE + body.size / _DIGESTED)
    try:
        return pools.pool(proxy, authorities).request(
            method,
            url,
            body=content,
            headers=headers,
            preload_content=False,
            redirect=False,
            timeout=urllib3.Timeout(connect=min(retry.CONNECT, first), read=first),
            retries=pools.once(),
        )
    finally:
        if content is not None and not isinstance(content, bytes):
            content.close()


def _answer(response: urllib3.BaseHTTPResponse, url: str, stream: bool) -> Answer:
    if stream and response.status in (200, 206):
        return Answer(response.status, response.headers, url, raw=response)
    answer = Answer(response.status, response.headers, url, _read(response, url))
    if answer.status in retry.STATUSES:
        stumble = retry.refused(answer.status, answer.headers)
        raise retry.TransientError(f"{stumble} {problems(answer)}".rstrip(), stumble.after)
    return answer


def _read(response: urllib3.BaseHTTPResponse, url: str) -> bytes:
    limit = limits.current().manifest
    chunks = bodies.decoded(bodies.pieces(response), response.headers.get("Content-Encoding", ""))
    try:
        found = bodies.whole(chunks, "manifest", limit)
    except TooLargeError as error:
        response.close()
        raise RegistryError(f"{urlsplit(url).netloc}: {error}") from error
    except BaseException:
        response.close()
        raise
    response.release_conn()
    return found


def problems(answer: Answer) -> str:
    """What a registry says is wrong, in one line."""
    try:
        text = "; ".join(e.get("message", "") for e in answer.json()["errors"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        text = answer.body.decode("utf-8", "replace").strip()
        text = "" if text.startswith("<") else text
    text = " ".join(text.split())[:400]
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def codes(answer: Answer) -> frozenset[str]:
    """The error codes of an answer (distribution-spec, "Error Codes"), such as "NAME_UNKNOWN"."""
    try:
        return frozenset(str(e.get("code", "")) for e in answer.json()["errors"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return frozenset()
