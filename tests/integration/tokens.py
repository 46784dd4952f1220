"""A token server for a registry, as Docker Hub and GitHub have one.

Protocol: distribution's "Token Authentication Specification". Anybody may pull what is below
public/; all else wants `servers.USER` and `servers.PASSWORD`.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.integration import servers, web

SERVICE = "envd-tests"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class _Signer:
    """Signs tokens (RFC 7519) with a certificate that the registry trusts."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, SERVICE)])
        now = datetime.now(UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(self._key, hashes.SHA256())
        )

    @property
    def bundle(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def token(self, access: list[dict[str, Any]]) -> str:
        chain = base64.b64encode(self._certificate.public_bytes(serialization.Encoding.DER))
        header = {"typ": "JWT", "alg": "RS256", "x5c": [chain.decode()]}
        now = int(time.time())
        claims = {
            "iss": SERVICE,
            "sub": "",
            "aud": SERVICE,
            "exp": now + 300,
            "nbf": now - 10,
            "iat": now,
            "jti": str(time.time_ns()),
            "access": access,
        }
        text = ".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
        signature = self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{text}.{_encoded(signature)}"


@contextmanager
def registry(directory: Path) -> Iterator[servers.RegistryServer]:
    """A registry that wants tokens, and who gives them out."""
    signer = _Signer()
    right = "Basic " + base64.b64encode(f"{servers.USER}:{servers.PASSWORD}".encode()).decode()

    class Tokens(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Authorization")
            if given not in (None, right):
                self.send_error(401)
                return
            access = []
            for scope in parse_qs(urlsplit(self.path).query).get("scope", []):
                kind, name, actions = scope.split(":")
                allowed = (
                    actions.split(",")
                    if given
                    else [a for a in actions.split(",") if a == "pull" and name.startswith("public/")]
                )
                access.append({"type": kind, "name": name, "actions": allowed})
            body = json.dumps({"token": signer.token(access)}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    directory.mkdir()
    (directory / "bundle.pem").write_bytes(signer.bundle)
    with web.running(Tokens) as address:
        auth = (
            f"auth:\n  token:\n    realm: http://{address}/token\n"
            f"    service: {SERVICE}\n    issuer: {SERVICE}\n"
            f"    rootcertbundle: {directory}/bundle.pem\n"
        )
        with servers.registry(settings=auth) as found:
            yield found
