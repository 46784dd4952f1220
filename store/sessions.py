"""Sessions of requests as registries are spoken to: they give up what is silent, read what comes in
bounded memory, tell a stumble from an answer, end when they are told to, go where a redirection may
lead alone, and take proxies and certificates from the environment as all of envd does.

oras makes sessions of requests; they are made to behave here.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from store import bodies, certificates, limits, offline, proxies, redirects, retry
from store.connections import interruptible
from store.errors import RegistryError, TooLargeError

# Seconds that a registry may take to answer when it has all of a blob, at so many bytes a second.
_DIGESTING, _DIGESTED = 300.0, 10e6


def session() -> Any:
    """A session of requests without a login, as registries are spoken to."""
    import requests

    made = requests.Session()
    prepare(made)
    return made


def prepare(session: Any) -> None:
    """Make a session of requests behave as this module says."""
    import requests

    class Adapter(requests.adapters.HTTPAdapter):
        def init_poolmanager(self, *given: Any, **named: Any) -> None:
            super().init_poolmanager(*given, **named)
            interruptible(self.poolmanager)

        def proxy_manager_for(self, *given: Any, **named: Any) -> Any:
            return interruptible(super().proxy_manager_for(*given, **named))

        def send(
            self, request: Any, stream: bool = False, timeout: Any = None, *_: Any, **__: Any
        ) -> requests.Response:
            if offline.is_on():
                raise RegistryError(
                    f"{urlsplit(request.url).netloc}: must not be asked offline; {offline.ADVICE}"
                )
            proxy = proxies.proxy_of(request.url)
            # requests would read all that comes, and of a redirection too.
            answer = super().send(
                request,
                True,
                timeout,
                certificates.authorities(),
                None,
                {scheme: proxy for scheme in proxies.SCHEMES if proxy},
            )
            if not stream or answer.status_code not in (200, 206):
                _read(answer)
            return answer

    # Else requests would send what ~/.netrc has for a host instead of a registry's token.
    session.trust_env = False
    session.max_redirects = redirects.LIMIT

    def check(answer: Any, **_: Any) -> None:
        if location := session.get_redirect_target(answer):
            redirects.followed(answer.url, location)
        if answer.status_code in retry.STATUSES:
            stumble = retry.refused(answer.status_code, answer.headers)
            words = problems(answer)
            raise retry.TransientError(f"{stumble} {words}".rstrip(), stumble.after)

    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter())
    session.hooks["response"].append(check)
    send = session.request

    def request(method: str, url: str, **options: Any) -> Any:
        options.setdefault("timeout", (retry.CONNECT, _silence(options.get("data"))))
        return send(method, url, **options)

    session.request = request


def _silence(body: Any) -> float:
    """Seconds that a registry may take to answer a request with this body, or None."""
    if body is None:
        return retry.SILENCE
    size = len(body) if isinstance(body, bytes) else os.fstat(body.fileno()).st_size
    return min(_DIGESTING, retry.SILENCE + size / _DIGESTED)


def _read(answer: Any) -> None:
    """Read the body of an answer of requests', as far as limits let it. Raises RegistryError."""
    import requests
    import urllib3

    limit = limits.current().manifest
    chunks = bodies.decoded(bodies.pieces(answer.raw), answer.headers.get("Content-Encoding", ""))
    try:
        answer._content = bodies.whole(chunks, "manifest", limit)
    except TooLargeError as error:
        raise RegistryError(f"{urlsplit(answer.url).netloc}: {error}") from error
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(error) from error
    finally:
        answer._content_consumed = True
        if answer._content is False:
            answer.raw.close()
    answer.raw.release_conn()


def problems(answer: Any) -> str:
    """What a registry says is wrong, in one line."""
    try:
        text = "; ".join(e.get("message", "") for e in answer.json()["errors"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        text = answer.text.strip()
        text = "" if text.startswith("<") else text
    text = " ".join(text.split())[:400]
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
