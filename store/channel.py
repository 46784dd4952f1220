"""What is asked of one repository of a registry goes through here: one loop that tries again what
stumbles, one place that knows who we are, one wording of what a registry refuses.

Protocol: OCI distribution specification 1.1. Loopback registries are spoken to in plain HTTP.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

from store import access, exchange, redirects, retry
from store.errors import RegistryError
from store.exchange import Answer, Body
from store.layers import printable
from store.references import Reference

T = TypeVar("T")

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAMED = re.compile(rf"{_DIGEST.pattern}|\w[\w.-]{{0,127}}", re.ASCII)
_ROUNDS = 3  # of one request: without a login, with one, with a new token
_NONE: Mapping[str, str] = MappingProxyType({})


def is_named(name: str) -> bool:
    """Whether a text is a tag or a digest: nothing else becomes a part of a URL."""
    return bool(_NAMED.fullmatch(name))


class Channel:
    """One repository of a registry; `endpoint` as in `Registry`. Safe to use from many threads."""

    def __init__(self, reference: Reference, endpoint: str, patience: retry.Patience) -> None:
        self.reference = reference
        self.patience = patience
        if not endpoint:
            host = access.ANSWERS_AT.get(reference.host, reference.host)
            endpoint = f"{'http' if reference.loopback else 'https'}://{host}"
        self._endpoint = endpoint
        self.host = urlsplit(endpoint).netloc
        self.root = f"{endpoint.rstrip('/')}/v2/"
        self.base = f"{self.root}{reference.name}"
        self._access = access.Access(reference, endpoint, self.host, patience.first)
        self._asking = threading.Lock()

    # -- addresses

    def blob(self, digest: str) -> str:
        """The URL of a blob. Raises RegistryError for what is no digest: it may be an answer's."""
        if not _DIGEST.fullmatch(digest):
            raise RegistryError(f"{self.host}: '{printable(digest.encode())}' is not a valid sha256 digest")
        return f"{self.base}/blobs/{digest}"

    def manifest(self, name: str) -> str:
        """The URL of the manifest of a tag or a digest. Raises RegistryError for another text."""
        if not is_named(name):
            what = printable(name.encode())
            raise RegistryError(f"{self.host}: '{what}' is neither a tag nor a digest")
        return f"{self.base}/manifests/{name}"

    def location(self, answer: Answer, what: str) -> str:
        """Where an answer says that an upload goes on. Raises RegistryError, RedirectError."""
        location = answer.headers.get("Location", "")
        if not location:
            raise RegistryError(f"{self.host}: {what}: its answer does not say where to send the data")
        return redirects.followed(self.root, urljoin(self.root, location))

    # -- requests

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = _NONE,
        body: Body | None = None,
        stream: bool = False,
    ) -> Answer:
        """One request, tried again when the registry or the network stumbles. Raises RegistryError."""
        what = f"{method} {urlsplit(url).path.rpartition(self.reference.name)[2]}"
        return self.tried(
            what, lambda first: self.once(method, url, headers=headers, body=body, stream=stream, first=first)
        )

    def tried(self, what: str, once: Callable[[float], T], *, patient: bool = False) -> T:
        """`once(first)`, tried again, and that said, when the registry or the network stumbles; `first`
        is how many seconds it may wait for an answer. Those who are `patient` send much: the time
        that their attempts take does not count. Raises RegistryError."""
        patience, spent, attempt = self.patience, 0.0, 0
        while True:
            attempt += 1
            begin = time.monotonic()
            try:
                return once(max(1.0, min(patience.first, patience.silent - spent)))
            except (exchange.UnreachableError, redirects.RedirectError) as error:
                raise self.unreachable(str(error)) from error
            except retry.TransientError as error:
                stumble = error
            spent += 0.0 if patient else time.monotonic() - begin
            seconds = retry.wait(attempt, stumble, of=patience.attempts)
            if seconds is None or spent >= patience.silent:
                raise RegistryError(
                    f"cannot reach the registry {self.host}: {what}: {stumble} "
                    f"({retry.tried(attempt, stumble)}); check the network and run this again: what "
                    "is there already is not sent twice"
                ) from stumble
            self.wait(attempt, seconds, f"{what}: {stumble}")

    def wait(self, attempt: int, seconds: float, reason: object) -> None:
        """Wait before the next attempt, and say so. Raises RegistryError when envd is told to end."""
        seconds = retry.scattered(seconds)
        retry.announce(self.host, attempt, seconds, reason, self.patience.attempts)
        if not retry.pause(seconds):
            raise RegistryError(f"{self.host}: stopped while waiting for it")

    def once(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = _NONE,
        body: Body | None = None,
        stream: bool = False,
        source: str = "",
        first: float = 0.0,
    ) -> Answer:
        """One request, not tried again. `source` is another repository that it reads. Raises
        TransientError, UnreachableError, RedirectError, RegistryError; DeniedError of 401 and 403."""
        first = first or self.patience.first
        actions = {"GET": "pull", "HEAD": "pull", "DELETE": "pull,delete"}.get(method, "pull,push")
        ours = redirects.same_server(url, self._endpoint)
        for _ in range(_ROUNDS):
            # The registry may have uploads sent elsewhere: its login is not for there.
            given = self._access.headers(actions, source) if ours else {}
            answer = exchange.ask(
                method,
                url,
                headers,
                authorization=lambda place, given=given: (  # type: ignore[misc]
                    given if redirects.same_server(place, self._endpoint) else {}
                ),
                body=body,
                stream=stream,
                first=first,
            )
            if answer.status not in (401, 403, 404):
                self._access.known = True
                return answer
            if not (ours and self._challenged(answer, given, first)):
                break
        if answer.status == 404:
            return answer
        raise self._access.denied()

    def _challenged(self, answer: Answer, given: Mapping[str, str], first: float) -> bool:
        """Whether a request that was refused may do better with what is known now. Only what the
        registry itself says of logins counts: what it redirects to may not ask for one."""
        if not redirects.same_server(answer.url, self._endpoint):
            return False
        challenge = answer.headers.get("Www-Authenticate", "")
        if answer.status == 401:
            return self._access.learn(challenge, given)
        with self._asking:  # one thread asks for all
            if self._access.known:
                return not given and self._access.learn("", given)
            # Some say 404 to whom they do not know: only /v2/ tells whether they would know a login.
            answer = exchange.ask("GET", self.root, {}, first=first)
            ours = redirects.same_server(answer.url, self._endpoint) and answer.status == 401
            return self._access.learn(answer.headers.get("Www-Authenticate", "") if ours else "", given)

    # -- answers

    def expect(self, answer: Answer, what: str, *statuses: int) -> Answer:
        """The answer, when its status is one of these. Raises RegistryError, with what it says."""
        if answer.status in statuses:
            return answer
        hint = ""
        if answer.status == 404 and "NAME_UNKNOWN" in exchange.codes(answer):
            hint = (
                f"; create the repository {self.reference.name} first: not every registry does it by "
                "itself (Amazon's never does)"
            )
        raise RegistryError(
            f"{self.host}: {what}: HTTP status {answer.status} {exchange.problems(answer)}".rstrip() + hint
        )

    def unreachable(self, reason: str) -> RegistryError:
        """The error of a registry that cannot be reached for that reason."""
        return RegistryError(f"cannot reach the registry {self.host}: {reason}")
