"""One repository of an OCI registry: oras for the session and its authentication, extended by
parallel uploads that skip what is there, and by downloads that can be continued.

Protocol: OCI distribution specification 1.1. Loopback registries are spoken to in plain HTTP.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from store import bodies, redirects, retry, sessions
from store.blobs import check
from store.errors import BrokenOffError, DeniedError, RegistryError
from store.layers import printable
from store.references import PushReport, Reference, count
from store.threads import workers

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
PARALLEL = 6
_TOKEN_LIVES = 50.0  # seconds: one may end after 60 that does not say when it does
# Docker's own registry answers at another host than its name, and logins are kept under a third.
_DOCKER_HUB = "docker.io"
_ANSWERS_AT = {_DOCKER_HUB: "registry-1.docker.io"}
_LOGIN_OF = {_DOCKER_HUB: "https://index.docker.io/v1/"}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAMED = re.compile(rf"{_DIGEST.pattern}|\w[\w.-]{{0,127}}", re.ASCII)


class Registry:
    """One repository of a registry. Safe to use from many threads.

    `endpoint` ("http://127.0.0.1:5000") is a mirror that is asked in the registry's place.
    """

    def __init__(self, reference: Reference, endpoint: str = "") -> None:
        self.reference = reference
        if not endpoint:
            host = _ANSWERS_AT.get(reference.host, reference.host)
            endpoint = f"{'http' if reference.loopback else 'https'}://{host}"
        self._endpoint = endpoint
        self._host = urlsplit(endpoint).netloc
        self._insecure = endpoint.startswith("http:")
        self._login = _LOGIN_OF.get(reference.host, "") if self._host in _ANSWERS_AT.values() else ""
        self._root = f"{endpoint.rstrip('/')}/v2/"
        self._base = f"{self._root}{reference.name}"
        self._local = threading.local()
        self._backend = ""
        self._challenge = ""

    @property
    def place(self) -> str:
        """The host (and port) that is asked."""
        return self._host

    def _client(self) -> Any:
        """This thread's session: requests' sessions are not to be shared."""
        if not hasattr(self._local, "client"):
            from oras.container import Container
            from oras.provider import Registry as Provider

            client = Provider(hostname=self._host, insecure=self._insecure, auth_backend=self._scheme())
            sessions.prepare(client.session)
            sessions.prepare(client.auth.session)
            self._guard(client.auth)
            client.auth.load_configs(Container(f"{self._host}/{self.reference.name}"), _docker_config())
            if self._login and not hasattr(client.auth, "_basic_auth"):
                client.auth._load_auth(self._login)
            if self._backend == "basic" and not hasattr(client.auth, "_basic_auth"):
                raise self._denied()
            self._local.client = client
        return self._local.client

    def _guard(self, auth: Any) -> None:
        """Have oras send logins only where the registry may want them, and ask for them only when
        the registry itself does: what it redirects to may not."""
        answer = auth.authenticate_request

        def authenticate(original: Any, headers: Any, refresh: bool = False) -> Any:
            if not redirects.same_server(original.url, self._endpoint):
                return headers or {}, False
            return answer(original, headers, refresh)

        auth.authenticate_request = authenticate
        for name in ("request_token", "request_anonymous_token"):
            if ask := getattr(auth, name, None):
                setattr(auth, name, self._checked(ask))

    def _checked(self, ask: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def checked(wanted: Any) -> Any:
            if wanted.realm is None:
                return None
            redirects.check_realm(self._endpoint, wanted.realm)
            return ask(wanted)

        return checked

    def _scheme(self) -> str:
        """How the registry wants to be authenticated with: oras's "basic" or "token"."""
        if not self._backend:
            answer = self._tried("GET /v2/", lambda: sessions.session().get(self._root))
            if redirects.same_server(answer.url, self._endpoint):
                self._challenge = answer.headers.get("Www-Authenticate", "")
            basic = self._challenge.lower().startswith("basic")
            self._backend = "basic" if basic else "token"
        return self._backend

    def _token(self, client: Any, actions: str, source: str) -> str | None:
        """This thread's token for `actions` ("pull", "pull,push"), and for reading the repository
        `source` ("" for none); None when none is wanted.

        oras would ask for one after a request was refused, by which time its body is spent, and
        use it for other actions too (distribution's "Token Authentication Specification").
        """
        from oras.auth.utils import parse_auth_header

        if not self._challenge.lower().startswith("bearer"):
            return None
        known: dict[tuple[str, str], tuple[str | None, float]]
        known = self._local.__dict__.setdefault("tokens", {})
        token, since = known.get((actions, source), (None, 0.0))
        if token is None or time.monotonic() - since > _TOKEN_LIVES:
            wanted = parse_auth_header(self._challenge)
            scopes = [f"repository:{self.reference.name}:{actions}"]
            wanted.scope = scopes + [f"repository:{source}:pull"] * bool(source)
            asked = time.monotonic()
            token = ask_token(client.auth, wanted, self._host)
            known[actions, source] = (token, asked)
        return token

    def _unreachable(self, error: Exception) -> RegistryError:
        return RegistryError(f"cannot reach the registry {self._host}: {retry.reason(error)}")

    def _tried(self, what: str, once: Callable[[], Any]) -> Any:
        """`once()`, tried again, and that said, when the registry or the network stumbles."""
        import requests

        for attempt in range(1, retry.ATTEMPTS + 1):
            cause: Exception
            try:
                return once()
            except (requests.exceptions.SSLError, redirects.RedirectError) as error:
                raise self._unreachable(error) from error
            except retry.TransientError as error:
                stumble, cause = error, error
            except requests.RequestException as error:
                stumble, cause = retry.TransientError(retry.reason(error)), error
                if isinstance(
                    error,
                    requests.exceptions.InvalidURL
                    | requests.exceptions.InvalidSchema
                    | requests.exceptions.TooManyRedirects,
                ):
                    raise self._unreachable(error) from error
            seconds = retry.wait(attempt, stumble)
            if seconds is None:
                raise RegistryError(
                    f"cannot reach the registry {self._host}: {what}: {stumble} "
                    f"({retry.tried(attempt, stumble)}); check the network and run this again: what "
                    "is there already is not sent twice"
                ) from cause
            retry.announce(self._host, attempt, seconds, f"{what}: {stumble}")
            self._pause(seconds)
        raise AssertionError("unreachable")

    def _pause(self, seconds: float) -> None:
        if not retry.pause(seconds):
            raise RegistryError(f"{self._host}: stopped while waiting for it")

    def _request(
        self,
        method: str,
        url: str,
        *,
        data: Callable[[], Any] | None = None,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
        source: str = "",
    ) -> Any:
        """One request, tried again when the registry or the network stumbles. `source` is another
        repository that it reads."""
        what = f"{method} {urlsplit(url).path.rpartition(self.reference.name)[2]}"
        return self._tried(what, lambda: self._once(method, url, data, headers or {}, stream, source))

    def _once(
        self,
        method: str,
        url: str,
        data: Callable[[], Any] | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        stream: bool = False,
        source: str = "",
    ) -> Any:
        """One request, not tried again."""
        body = data() if data is not None else None
        try:
            if not redirects.same_server(url, self._endpoint):
                # The registry has uploads sent elsewhere: its login is not for there.
                answer = sessions.session().request(method, url, data=body, headers=dict(headers))
                return self._allowed(answer)
            client = self._client()
            given = dict(headers)
            if self._backend == "basic":
                # At once: asked for it after a body was sent, oras would send an empty one.
                given.update(client.auth.get_auth_header())
            else:
                actions = "pull" if method in ("GET", "HEAD") else "pull,push"
                client.auth.token = self._token(client, actions, source)
            # Without oras's own retries, which would send what is left of a body that was read.
            send = type(client).do_request.__wrapped__
            answer = send(client, url, method, data=body, headers=given, stream=stream)
        except ValueError as error:  # oras says so of a login that is missing or refused
            import requests

            if isinstance(error, json.JSONDecodeError):
                raise _malformed(self._host) from error
            if isinstance(error, requests.RequestException):
                raise
            raise self._denied() from error
        except (AttributeError, TypeError, LookupError, RecursionError) as error:
            raise _malformed(self._host) from error  # oras takes the form of a challenge for granted
        finally:
            if body is not None and hasattr(body, "close"):
                body.close()
        return self._allowed(answer)

    def _allowed(self, answer: Any) -> Any:
        if answer.status_code in (401, 403):
            raise self._denied()
        return answer

    def _denied(self) -> DeniedError:
        host = self.reference.host if self._login else self._host
        return DeniedError(
            f"{host} refuses access to {self.reference.name}; run `envd login {host}` (or `docker "
            f"login {host}`) with a user who may"
        )

    def _expect(self, answer: Any, what: str, *codes: int) -> Any:
        if answer.status_code in codes:
            return answer
        raise RegistryError(
            f"{self._host}: {what}: HTTP status {answer.status_code} {sessions.problems(answer)}"
        )

    def _blob_url(self, digest: str) -> str:
        if not _DIGEST.fullmatch(digest):  # it may be an answer's
            raise RegistryError(f"{self._host}: '{printable(digest.encode())}' is not a valid sha256 digest")
        return f"{self._base}/blobs/{digest}"

    def has_blob(self, digest: str) -> bool:
        """Whether the repository has a blob. Raises RegistryError."""
        answer = self._request("HEAD", self._blob_url(digest))
        return bool(self._expect(answer, f"blob {digest[:19]}", 200, 404).status_code == 200)

    def push_blob(self, digest: str, content: Path | bytes, mount: str | None = None) -> bool:
        """Upload a blob in one piece, or have it mounted from the repository `mount`; whether it
        was. Raises RegistryError, and CorruptError for a stored file that is damaged."""
        self._blob_url(digest)  # or it raises

        def upload() -> bool:
            # An upload that broke off is begun anew: what is left of it is of no use.
            location = self._begin(digest, mount)
            if location is None:
                return True
            url = f"{location}{'&' if '?' in location else '?'}digest={digest}"

            if not isinstance(content, bytes):
                check(content, digest, digest[:19])  # a registry would not say what is wrong

            def body() -> Any:
                return content if isinstance(content, bytes) else content.open("rb")

            answer = self._once("PUT", url, body, {"Content-Type": "application/octet-stream"})
            self._expect(answer, f"uploading {digest[:19]}", 201)
            return False

        return bool(self._tried(f"uploading {digest[:19]}", upload))

    def _begin(self, digest: str, mount: str | None) -> str | None:
        """Where to upload a blob to; None when it was mounted from the repository `mount`."""
        from urllib.parse import quote, urljoin

        start = f"{self._base}/blobs/uploads/"
        if mount:
            try:
                answer = self._once("POST", f"{start}?mount={digest}&from={quote(mount)}", source=mount)
            except DeniedError:  # whom it belongs to may not be who pushes
                answer = self._once("POST", start)
        else:
            answer = self._once("POST", start)
        # 201: mounted; 202: it is not there (or may not be read), so upload it.
        if self._expect(answer, "starting an upload", 201, 202).status_code == 201:
            return None
        location = answer.headers.get("Location", "")
        if not location:
            raise RegistryError(
                f"{self._host}: starting an upload: its answer does not say where to send the data"
            )
        return redirects.followed(self._root, urljoin(self._root, location))

    def push_manifest(self, manifest: bytes, tag: str = "") -> None:
        """Upload a manifest under a tag [the reference's]. Raises RegistryError."""
        media_type = json.loads(manifest).get("mediaType", MANIFEST_TYPE)
        answer = self._request(
            "PUT",
            f"{self._base}/manifests/{tag or self.reference.tag}",
            data=lambda: manifest,
            headers={"Content-Type": media_type},
        )
        self._expect(answer, "uploading the manifest", 201)

    def _check_kept(self, tag: str) -> None:
        """Ask for a manifest that was just uploaded: some answer 201 and keep nothing (a full disk,
        a proxy in the registry's place). Raises RegistryError."""
        for attempt in range(1, retry.ATTEMPTS + 1):
            answer = self._request("HEAD", f"{self._base}/manifests/{tag}", headers={"Accept": MANIFEST_TYPE})
            if self._expect(answer, f"manifest {tag}", 200, 404).status_code == 200:
                return
            reason = retry.TransientError(f"it has taken {self.reference.name}:{tag}, and has it not")
            seconds = retry.wait(attempt, reason)
            if seconds is None:
                raise RegistryError(
                    f"{self._host}: {reason} ({retry.tried(attempt, reason)}); is its disk full, or "
                    "does another server answer in its place?"
                )
            retry.announce(self._host, attempt, seconds, reason)
            self._pause(seconds)

    def push_image(
        self,
        blobs: Sequence[tuple[str, int, Path | bytes]],
        manifest: bytes,
        sent: Callable[[str, int], None] = lambda digest, size: None,
        also: Sequence[str] = (),
        elsewhere: Callable[[str], str | None] = lambda digest: None,
    ) -> PushReport:
        """Push (digest, size, content) blobs side by side, then the manifest that names them, under
        the reference's tag and those in `also`.

        Blobs that the registry has are skipped; `sent` is told of each that was not. `elsewhere`
        names another repository of this registry that may have a blob: then it is mounted.
        Raises RegistryError, CorruptError.
        """
        unique = {digest: (digest, size, content) for digest, size, content in blobs}

        def push(blob: tuple[str, int, Path | bytes]) -> tuple[str, int]:
            digest, size, content = blob
            if self.has_blob(digest):
                return "skipped", size
            there = elsewhere(digest)
            if self.push_blob(digest, content, there if there != self.reference.name else None):
                return "mounted", size
            sent(digest, size)
            return "sent", size

        self._scheme()  # asked once, not by each thread
        with workers(PARALLEL) as pool:
            done = list(pool.map(push, unique.values()))
        for tag in dict.fromkeys((self.reference.tag, *also)):
            self.push_manifest(manifest, tag)
        for tag in dict.fromkeys((self.reference.tag, *also)):
            self._check_kept(tag)
        return PushReport(
            *(count([size for what, size in done if what == kind]) for kind in ("sent", "skipped", "mounted"))
        )

    # Reading

    def manifest(self, name: str, media_types: Sequence[str]) -> bytes | None:
        """The manifest of a tag or digest, or None when there is none. Raises RegistryError."""
        if not _NAMED.fullmatch(name):  # it may be an answer's
            what = printable(name.encode())
            raise RegistryError(f"{self._host}: '{what}' is neither a tag nor a digest")
        answer = self._request(
            "GET", f"{self._base}/manifests/{name}", headers={"Accept": ", ".join(media_types)}
        )
        answer = self._expect(answer, f"manifest {name}", 200, 404)
        return None if answer.status_code == 404 else bytes(answer.content)

    def tags(self) -> list[str]:
        """The repository's tags, the first ten thousand. Raises RegistryError."""
        answer = self._expect(self._request("GET", f"{self._base}/tags/list?n=10000"), "its tags", 200, 404)
        try:
            return [str(tag) for tag in answer.json().get("tags") or [] if _NAMED.fullmatch(str(tag))]
        except (ValueError, AttributeError, TypeError, RecursionError) as error:
            raise RegistryError(f"{self._host}: its list of tags is malformed") from error

    @contextmanager
    def blob(self, digest: str, offset: int = 0) -> Iterator[tuple[int, Iterator[bytes]] | None]:
        """Open a blob: where its bytes begin (0 or `offset`), and the bytes; None when it is not
        there. Raises RegistryError, also while the bytes are read."""
        # What lies compressed in a registry is wanted as it lies.
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        answer = self._request("GET", self._blob_url(digest), headers=headers, stream=True)
        with answer:
            answer = self._expect(answer, f"blob {digest[:19]}", 200, 206, 404, 416)
            if answer.status_code == 416:  # what we have is longer than the blob: from the start
                with self.blob(digest) as opened:
                    yield opened
                return
            if answer.status_code == 404:
                yield None
                return
            yield offset if answer.status_code == 206 else 0, self._body(answer)

    def _body(self, answer: Any) -> Iterator[bytes]:
        import urllib3

        try:
            yield from bodies.pieces(answer.raw)
        except (urllib3.exceptions.HTTPError, retry.TransientError) as error:
            raise BrokenOffError(str(self._unreachable(error))) from error


def ask_token(auth: Any, wanted: Any, host: str) -> str | None:
    """What a registry's token server answers to `wanted` (oras's reading of the challenge); None when
    it gives no token. Raises RegistryError for an answer that is none."""
    try:
        if hasattr(auth, "_basic_auth"):
            token = auth.request_token(wanted)
        else:
            token = auth.request_anonymous_token(wanted)
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
