"""How a registry wants to know who asks, and what this user has for it: Docker's own logins, read by
oras with the credential helpers that they name, and tokens.

Nothing is asked for before a registry challenges: an open one costs no request more. Protocol: OCI
distribution specification 1.1; distribution's "Token Authentication Specification". Thread-safe.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from store import exchange, redirects
from store.errors import DeniedError, RegistryError
from store.libraries import oras_auth, oras_challenges, oras_names
from store.references import Reference

if TYPE_CHECKING:
    from collections.abc import Callable

_TOKEN_LIVES = 50.0  # seconds: one may end after 60 that does not say when it does
# Docker's own registry answers at another host than its name, and logins are kept under a third.
_DOCKER_HUB = "docker.io"
ANSWERS_AT = {_DOCKER_HUB: "registry-1.docker.io"}
_LOGIN_OF = {_DOCKER_HUB: "https://index.docker.io/v1/"}


class Access:
    """What one repository of the registry at `endpoint` is asked with. `first` is as in
    `exchange.ask`."""

    def __init__(self, reference: Reference, endpoint: str, host: str, first: float) -> None:
        self._reference, self._endpoint, self._host, self._first = reference, endpoint, host, first
        self._login = _LOGIN_OF.get(reference.host, "") if host in ANSWERS_AT.values() else ""
        self._challenge = ""
        self._auth: Any = None
        self._tokens: dict[tuple[str, str], tuple[str, float]] = {}
        self._lock = threading.RLock()
        self.known = False  # whether it is known if the registry wants a login

    def learn(self, challenge: str, given: Mapping[str, str]) -> bool:
        """Take note of the challenge of an answer to a request with the headers `given`; whether
        there is more to give now. Raises RedirectError for one that a login must not go to."""
        with self._lock:
            self.known = True
            if challenge:
                self._challenge = challenge
            scheme = self._challenge.lower()
            if not given:
                return scheme.startswith(("basic", "bearer"))
            if not scheme.startswith("bearer"):
                return False
            # A token may have ended; another is worth asking for when this one was not given just now.
            mine = [key for key, (token, _) in self._tokens.items() if _bearer(token) == given]
            fresh = [key for key in mine if time.monotonic() - self._tokens[key][1] < 1]
            for key in mine:
                del self._tokens[key]
            return not fresh

    def headers(self, actions: str, source: str = "") -> Mapping[str, str]:
        """The headers for `actions` ("pull", "pull,push", "pull,delete"), and for reading the repository
        `source` ("" for none) as well. Raises DeniedError, RegistryError, RedirectError, TransientError."""
        with self._lock:
            scheme = self._challenge.lower()
            if scheme.startswith("basic"):
                login = self._logins("basic")
                if not hasattr(login, "_basic_auth"):
                    raise self.denied()
                return dict(login.get_auth_header())
            if not scheme.startswith("bearer"):
                return {}
            token, since = self._tokens.get((actions, source), ("", 0.0))
            if not token or time.monotonic() - since > _TOKEN_LIVES:
                asked = time.monotonic()
                token = self._token(actions, source)
                self._tokens[actions, source] = (token, asked)
            return _bearer(token)

    def denied(self) -> DeniedError:
        """What is said of a registry that refuses."""
        host = self._reference.host if self._login else self._host
        return DeniedError(
            f"{host} refuses access to {self._reference.name}; run `envd login {host}` (or `docker "
            f"login {host}`) with a user who may"
        )

    def _token(self, actions: str, source: str) -> str:
        wanted = oras_challenges.parse_auth_header(self._challenge)
        if wanted.realm is None:
            raise _malformed(self._host)
        redirects.check_realm(self._endpoint, wanted.realm)
        scopes = [f"repository:{self._reference.name}:{actions}"]
        wanted.scope = scopes + [f"repository:{source}:pull"] * bool(source)
        token = ask_token(self._logins("token"), wanted, self._host)
        if token is None:  # final: another attempt has the same login
            raise self.denied()
        return token

    def _logins(self, backend: str) -> Any:
        """oras's reading of the logins that this user has."""
        if self._auth is None:
            insecure = self._endpoint.startswith("http:")
            named = oras_names.Container(f"{self._host}/{self._reference.name}")
            auth = oras_auth.get_auth_backend(backend, session=_Session(self._first), insecure=insecure)
            try:
                auth.load_configs(named, _docker_config())
                if self._login and not hasattr(auth, "_basic_auth"):
                    auth._load_auth(self._login)
            except (AttributeError, TypeError, LookupError, ValueError) as error:
                raise RegistryError(
                    f"{self._host}: Docker's config.json, or what its credential helper gives, is malformed"
                ) from error
            self._auth = auth
        return self._auth


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def ask_token(auth: Any, wanted: Any, host: str) -> str | None:
    """What a registry's token server answers to `wanted` (oras's reading of the challenge); None when
    it gives no token. Raises RegistryError for an answer that is none."""
    request: Callable[[Any], Any]
    request = auth.request_token if hasattr(auth, "_basic_auth") else auth.request_anonymous_token
    try:
        token = request(wanted)
    except (AttributeError, TypeError, LookupError, RecursionError, json.JSONDecodeError) as error:
        raise _malformed(host) from error
    if token is not None and not (isinstance(token, str) and re.fullmatch(r"[\x21-\x7e]+", token)):
        raise RegistryError(f"{host}: the token that it gives is malformed")
    return token


def _malformed(host: str) -> RegistryError:
    return RegistryError(f"{host}: its challenge, or the token for it, is malformed")


def _docker_config() -> list[str] | None:
    """Docker's configuration, when DOCKER_CONFIG says that it is not in the home directory."""
    directory = os.environ.get("DOCKER_CONFIG")
    path = Path(directory or ".") / "config.json"
    return [str(path)] if directory and path.is_file() else None


@dataclass(frozen=True)
class _Given:
    """An answer as oras reads it."""

    status_code: int
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


class _Session:
    """What oras asks token servers through: requests' interface, as far as it uses it."""

    def __init__(self, first: float) -> None:
        self._first = first

    def get(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> _Given:
        query = urlencode(params or {}, doseq=True)
        whole = f"{url}{'&' if '?' in url else '?'}{query}" if query else url
        own = dict(headers or {})
        login = {"Authorization": own.pop("Authorization")} if "Authorization" in own else {}
        answer = exchange.ask(
            "GET",
            whole,
            own,
            authorization=lambda place: login if redirects.same_server(place, url) else {},
            first=self._first,
        )
        return _Given(answer.status, answer.body.decode("utf-8", "replace"))

    def request(self, method: str, url: str, **options: Any) -> _Given:
        """A GET: oras sends nothing else."""
        return self.get(url, **options)
