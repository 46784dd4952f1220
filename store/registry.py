"""Pushing to OCI registries: oras for the session and its authentication, extended by parallel
uploads that skip what is there.

Protocol: OCI distribution specification 1.1. Loopback registries are spoken to in plain HTTP.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store.errors import RegistryError

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
PARALLEL = 6
ATTEMPTS = 3
_TIMEOUT = 60.0
_REFERENCE = re.compile(
    r"(?P<host>[\w.-]+(:\d+)?|\[[0-9a-f:]+\](:\d+)?)/(?P<name>[a-z0-9]+([._/-]+[a-z0-9]+)*)"
    r"(:(?P<tag>[\w][\w.-]{0,127}))?"
)


@dataclass(frozen=True)
class Reference:
    """HOST/NAME:TAG."""

    host: str
    name: str
    tag: str = "latest"

    @property
    def loopback(self) -> bool:
        """Whether the registry is on this machine."""
        bare = self.host.rpartition(":")[0] or self.host
        return bare in ("localhost", "[::1]") or bare.startswith("127.")


def parse_reference(text: str) -> Reference:
    """The parts of "HOST[:PORT]/NAME[:TAG]". Raises ValueError."""
    match = _REFERENCE.fullmatch(text)
    if match is None or not ({".", ":"} & set(match["host"]) or match["host"] == "localhost"):
        raise ValueError(
            f"'{text}' is no image reference; write HOST/NAME:TAG, such as "
            "registry.example.org/team/env:v1"
        )
    return Reference(match["host"], match["name"], match["tag"] or "latest")


class Registry:
    """One repository of a registry. Safe to use from many threads."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        scheme = "http" if reference.loopback else "https"
        self._root = f"{scheme}://{reference.host}/v2/"
        self._base = f"{self._root}{reference.name}"
        self._local = threading.local()
        self._backend = ""

    def _client(self) -> Any:
        """This thread's session: requests' sessions are not to be shared."""
        if not hasattr(self._local, "client"):
            from oras.container import Container
            from oras.provider import Registry as Provider

            client = Provider(
                hostname=self.reference.host, insecure=self.reference.loopback,
                auth_backend=self._scheme(),
            )
            client.auth.load_configs(Container(f"{self.reference.host}/{self.reference.name}"))
            if self._backend == "basic" and not hasattr(client.auth, "_basic_auth"):
                raise self._denied()
            self._local.client = client
        return self._local.client

    def _scheme(self) -> str:
        """How the registry wants to be authenticated with: oras's "basic" or "token"."""
        if not self._backend:
            import requests

            try:
                answer = requests.get(self._root, timeout=_TIMEOUT)
            except requests.RequestException as error:
                raise self._unreachable(error) from error
            challenge = answer.headers.get("Www-Authenticate", "")
            self._backend = "basic" if challenge.lower().startswith("basic") else "token"
        return self._backend

    def _unreachable(self, error: Exception) -> RegistryError:
        return RegistryError(f"cannot reach the registry {self.reference.host}: {error}")

    def _request(
        self, method: str, url: str, *, data: Callable[[], Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """One request, tried again when the registry or the network stumbles."""
        import requests

        for attempt in range(1, ATTEMPTS + 1):
            body = data() if data is not None else None
            try:
                client = self._client()
                given = dict(headers or {})
                if self._backend == "basic":
                    # At once: asked for it after a body was sent, oras would send an empty one.
                    given.update(client.auth.get_auth_header())
                answer = client.do_request(url, method, data=body, headers=given)
            except requests.RequestException as error:
                if attempt == ATTEMPTS:
                    raise self._unreachable(error) from error
                continue
            except ValueError as error:  # oras says so of a login that is missing or refused
                raise self._denied() from error
            finally:
                if body is not None and hasattr(body, "close"):
                    body.close()
            if answer.status_code < 500 or attempt == ATTEMPTS:
                break
        if answer.status_code in (401, 403):
            raise self._denied()
        return answer

    def _denied(self) -> RegistryError:
        host = self.reference.host
        return RegistryError(
            f"{host} refuses access to {self.reference.name}; run `docker login {host}` with a "
            "user who may"
        )

    def _expect(self, answer: Any, what: str, *codes: int) -> Any:
        if answer.status_code in codes:
            return answer
        try:
            problems = "; ".join(e.get("message", "") for e in answer.json()["errors"])
        except (ValueError, KeyError, TypeError):
            problems = answer.text[:200]
        raise RegistryError(
            f"{self.reference.host}: {what}: HTTP status {answer.status_code} {problems}"
        )

    def has_blob(self, digest: str) -> bool:
        """Whether the repository has a blob. Raises RegistryError."""
        answer = self._request("HEAD", f"{self._base}/blobs/{digest}")
        return bool(self._expect(answer, f"blob {digest[:19]}", 200, 404).status_code == 200)

    def push_blob(self, digest: str, content: Path | bytes) -> None:
        """Upload a blob in one piece. Raises RegistryError."""
        from urllib.parse import urljoin

        answer = self._request("POST", f"{self._base}/blobs/uploads/")
        self._expect(answer, "starting an upload", 202)
        location = urljoin(self._root, answer.headers["Location"])
        url = f"{location}{'&' if '?' in location else '?'}digest={digest}"
        def body() -> Any:
            return content if isinstance(content, bytes) else content.open("rb")

        answer = self._request(
            "PUT", url, data=body,
            headers={"Content-Type": "application/octet-stream"},
        )
        self._expect(answer, f"uploading {digest[:19]}", 201)

    def push_manifest(self, manifest: bytes) -> None:
        """Upload a manifest under the reference's tag. Raises RegistryError."""
        media_type = json.loads(manifest).get("mediaType", MANIFEST_TYPE)
        answer = self._request(
            "PUT", f"{self._base}/manifests/{self.reference.tag}", data=lambda: manifest,
            headers={"Content-Type": media_type},
        )
        self._expect(answer, "uploading the manifest", 201)

    def push_image(
        self,
        blobs: Sequence[tuple[str, int, Path | bytes]],
        manifest: bytes,
        sent: Callable[[str, int], None] = lambda digest, size: None,
    ) -> int:
        """Push (digest, size, content) blobs side by side, then the manifest that names them.

        Blobs that the registry has are skipped; `sent` is told of each that was not. Returns
        how many were sent. Raises RegistryError.
        """
        unique = {digest: (digest, size, content) for digest, size, content in blobs}

        def push(blob: tuple[str, int, Path | bytes]) -> bool:
            digest, size, content = blob
            if self.has_blob(digest):
                return False
            self.push_blob(digest, content)
            sent(digest, size)
            return True

        self._scheme()  # asked once, not by each thread
        with ThreadPoolExecutor(PARALLEL) as pool:
            count = sum(pool.map(push, unique.values()))
        self.push_manifest(manifest)
        return count
