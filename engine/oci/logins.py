"""Logging in to registries, where docker(1) keeps logins: its config.json, or the credential helper
that this names (credsStore, credHelpers). What is written here docker finds, and the other way
round.

Protocols: OCI distribution specification (the challenge of /v2/), Docker's token authentication;
docker-credential-helpers.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from engine.core.atomic import write_text
from engine.core.paths import docker_directory
from engine.core.urls import redacted
from engine.errors import EnvdError, UsageError
from engine.net import attempts, client
from store import redirects, retry
from store.libraries import urllib3
from store.references import Reference

_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d+)?|\[[0-9A-Fa-f:]+\](:\d+)?")
_HUB = "docker.io"
_HUB_KEY = "https://index.docker.io/v1/"  # what docker calls its own registry in config.json


def login(host: str, user: str, password: str) -> None:
    """Check a login with its registry and keep it. Raises UsageError, EnvdError."""
    _check_host(host)
    _ask(host, user, password)
    document = _read()
    if helper := _helper(document, host):
        secret = {"ServerURL": _key(host), "Username": user, "Secret": password}
        _call(helper, "store", json.dumps(secret))
        document.setdefault("auths", {})[_key(host)] = {}
    else:
        auth = base64.b64encode(f"{user}:{password}".encode()).decode()
        document.setdefault("auths", {})[_key(host)] = {"auth": auth}
    _write(document)


def logout(host: str) -> bool:
    """Forget the login for a registry; whether there was one. Raises UsageError, EnvdError."""
    _check_host(host)
    document = _read()
    if helper := _helper(document, host):
        _call(helper, "erase", _key(host))
    if document.get("auths", {}).pop(_key(host), None) is None:
        return False
    _write(document)
    return True


def keeper(host: str) -> str:
    """Who keeps logins for a registry: a credential helper's program, or the file."""
    helper = _helper(_read(), host)
    return helper or str(_file())


def _key(host: str) -> str:
    return _HUB_KEY if host in (_HUB, "index.docker.io", "registry-1.docker.io") else host


def _check_host(host: str) -> None:
    if not _HOST.fullmatch(host):
        raise UsageError(
            f"'{host}' is not a valid registry name", advice="write HOST or HOST:PORT, without a path"
        )


def _file() -> Path:
    return Path(docker_directory()) / "config.json"


def _read() -> dict[str, Any]:
    try:
        document = json.loads(_file().read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UsageError(
            f"invalid JSON ({error})", subject=str(_file()), advice="fix the file and try again"
        ) from None
    if not isinstance(document, dict):
        raise UsageError("not a JSON object", subject=str(_file()), advice="fix the file and try again")
    return document


def _write(document: dict[str, Any]) -> None:
    path = _file()
    path.parent.mkdir(parents=True, exist_ok=True)
    # It may hold passwords: for its owner alone, as docker keeps it.
    write_text(path.resolve(), json.dumps(document, indent="\t") + "\n", mode=0o600)


def _helper(document: dict[str, Any], host: str) -> str:
    name = (document.get("credHelpers") or {}).get(host) or document.get("credsStore") or ""
    return f"docker-credential-{name}" if name else ""


def _call(helper: str, verb: str, text: str) -> None:
    try:
        done = subprocess.run(
            [helper, verb],
            input=text,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )
    except FileNotFoundError:
        raise EnvdError(f"{_file()} names the credential helper {helper}, which is not on PATH") from None
    if done.returncode != 0 and verb != "erase":
        reason = (done.stdout or done.stderr).strip()
        raise EnvdError(f"{helper} {verb}: {reason or f'exit status {done.returncode}'}")


def _ask(host: str, user: str, password: str) -> None:
    """Whether the registry takes the login. Raises EnvdError."""
    place = "registry-1.docker.io" if _key(host) == _HUB_KEY else host
    scheme = "http" if Reference(host, "x").loopback else "https"
    url = f"{scheme}://{place}/v2/"

    def once() -> int:
        status, challenge, answered = _status(url)
        if status != 401:
            return status
        if not redirects.same_server(answered, url):
            raise redirects.RedirectError(f"it redirects to {redacted(answered)}, whose login is another")
        if not challenge.lower().startswith("bearer"):
            return _status(_with_login(url, user, password))[0]
        given = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = given.get("realm", url)
        redirects.check_realm(url, realm)
        asked = urlencode({"service": given.get("service", ""), "account": user})
        realm = _with_login(f"{realm}{'&' if '?' in realm else '?'}{asked}", user, password)
        return _status(realm)[0]

    def refused(failure: attempts.Failure) -> EnvdError:
        return EnvdError(f"cannot reach the registry {host}: {failure.reason}", advice=failure.advice)

    def asked_once() -> int:
        try:
            return once()
        except (urllib3.exceptions.HTTPError, OSError) as error:  # somebody sits and waits
            raise EnvdError(f"cannot reach the registry {host}: {retry.reason(error)}") from error

    status = attempts.tried(asked_once, host, refused)
    if status in (401, 403):
        raise EnvdError(f"{host} refuses this user name and password")
    if status != 200:
        raise EnvdError(f"{host} is not a registry: HTTP status {status} from {url}")


def _status(url: str) -> tuple[int, str, str]:
    """The status of an answer, its challenge, and who answered. Raises TransientError, urllib3's
    errors and RedirectError."""
    response = client.request(url)
    response.close()
    if response.status in retry.STATUSES:
        raise retry.refused(response.status, response.headers)
    return response.status, response.headers.get("Www-Authenticate", ""), response.url or url


def _with_login(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    login = f"{quote(user, '')}:{quote(password, '')}"
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc}"))
