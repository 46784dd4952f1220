"""Which Docker engine is meant: DOCKER_HOST, else the context chosen with `envd context use` (or
ENVD_CONTEXT), else docker's own context (DOCKER_CONTEXT, or currentContext in its config.json),
else the local socket.

Imports nothing beyond `json` and `os` unless a context is chosen: it is part of what an idle build costs.
Format of docker's contexts: docker/cli, cli/context/store (meta/SHA256(name)/meta.json, with TLS
files under tls/SHA256(name)/docker).
"""

from __future__ import annotations

import json
import os

from engine.core import paths as locate
from engine.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOCAL = "unix:///var/run/docker.sock"
DEFAULT = "default"  # the context that is none: docker's own choice


class Endpoint:
    """An engine's address (unix://, tcp://, http:// or ssh://) and the context that gave it.

    `files` are the CA, certificate and key for TLS ("" for none); `verify` is whether the
    engine's certificate is.
    """

    __slots__ = ("ca", "cert", "context", "host", "key", "verify")

    def __init__(
        self, host: str, context: str = "", files: tuple[str, str, str] = ("", "", ""), verify: bool = True
    ) -> None:
        self.host, self.context, self.verify = host, context, verify
        self.ca, self.cert, self.key = files

    @property
    def tls(self) -> bool:
        """Whether it is spoken to in TLS."""
        return bool(self.ca or self.cert) or not self.verify


def _files(folder: str) -> tuple[str, str, str]:
    """ca.pem, cert.pem and key.pem of a directory, "" for what is not there."""
    ca, cert, key = (
        path if os.path.exists(path := os.path.join(folder, f"{name}.pem")) else ""
        for name in ("ca", "cert", "key")
    )
    return ca, cert, key


def contexts_file() -> str:
    """The file that `engine.docker.contexts` keeps."""
    return os.path.join(locate.configuration(), "contexts.toml")


def read_contexts() -> dict[str, Any]:
    """What contexts.toml holds, {} when there is none. Raises UsageError when it is malformed."""
    path = contexts_file()
    if not os.path.exists(path):
        return {}
    import tomllib  # noqa: PLC0415 (an idle build)

    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"not valid TOML: {error}", subject=path, advice="fix or delete it") from None
    rows = document.get("context", {})
    if not isinstance(rows, dict) or not all(
        isinstance(row, dict) and isinstance(row.get("host"), str) for row in rows.values()
    ):
        raise UsageError("each [context.NAME] needs a host", subject=path, advice="fix or delete it")
    return document


def current() -> Endpoint:
    """The engine that is meant. Raises UsageError for a context that is not there."""
    if given := os.environ.get("DOCKER_HOST"):
        return _of_environment(given)
    document = read_contexts()
    name = os.environ.get("ENVD_CONTEXT") or document.get("current") or DEFAULT
    if name != DEFAULT:
        return named(str(name), document)
    return docker_context(os.environ.get("DOCKER_CONTEXT") or _docker_current())


def named(name: str, document: dict[str, Any]) -> Endpoint:
    """envd's context of that name, else docker's. Raises UsageError."""
    row = document.get("context", {}).get(name)
    if row is None:
        return docker_context(name)
    ca, cert, key = (str(row.get(name, "")) for name in ("ca", "cert", "key"))
    return Endpoint(row["host"], name, (ca, cert, key), bool(row.get("verify", True)))


def _of_environment(host: str) -> Endpoint:
    # DOCKER_TLS_VERIFY and DOCKER_CERT_PATH, as docker(1) reads them.
    if not host.startswith("tcp://") or not os.environ.get("DOCKER_TLS_VERIFY"):
        return Endpoint(host)
    folder = os.environ.get("DOCKER_CERT_PATH") or locate.docker_directory()
    return Endpoint(host, "", _files(folder))


def _docker_current() -> str:
    path = os.path.join(locate.docker_directory(), "config.json")
    if not os.path.exists(path):
        return DEFAULT
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file).get("currentContext")
    except (OSError, ValueError, AttributeError):
        return DEFAULT  # docker's file, docker's to complain about
    return str(found or DEFAULT)


def docker_context(name: str) -> Endpoint:
    """The endpoint of one of docker's own contexts. Raises UsageError when there is none."""
    if name == DEFAULT:
        return Endpoint(LOCAL)
    from hashlib import sha256  # noqa: PLC0415 (an idle build)

    identity = sha256(name.encode()).hexdigest()
    folder = os.path.join(locate.docker_directory(), "contexts")
    try:
        with open(os.path.join(folder, "meta", identity, "meta.json"), encoding="utf-8") as file:
            settings = json.load(file)["Endpoints"]["docker"]
        host = str(settings.get("Host") or LOCAL)
        verify = not settings.get("SkipTLSVerify", False)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise UsageError(f"no context '{name}'; `envd context ls` lists them") from None
    return Endpoint(host, name, _files(os.path.join(folder, "tls", identity, "docker")), verify)
