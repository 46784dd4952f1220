"""Whose certificates are trusted: SSL_CERT_FILE, else REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or
SSL_CERT_DIR of the environment; else the machine's own authorities, and certifi's where it has none.

OpenSSL's variables come first, for they are what uv, rattler and git know as well.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import certifi

from store.errors import SettingError

VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR")


def authorities(environment: Mapping[str, str] = os.environ) -> str:
    """The file, or the directory, of the certificates that are trusted. Raises SettingError."""
    for name in VARIABLES:
        if not (value := environment.get(name, "")):
            continue
        places = value.split(os.pathsep) if name == "SSL_CERT_DIR" else [value]
        found = next((place for place in places if os.path.exists(place)), "")  # noqa: PTH110
        if found:
            return found
        raise SettingError(
            f"{name}={value}: there is no such file; name the certificates of the authorities that "
            "are trusted (PEM), or unset it"
        )
    return _own()


def named(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment names the authorities that are trusted."""
    return any(environment.get(name) for name in VARIABLES)


def place(authorities: str, also: str = "") -> dict[str, str]:
    """`authorities`, and `also` what is in one more file, as urllib3 takes it. Raises SettingError for
    a file that holds no certificates."""
    found = {}
    if also:
        _check(also)
        found["ca_cert_data"] = Path(also).read_text("ascii", "replace")
    if os.path.isdir(authorities):  # noqa: PTH112
        return {**found, "ca_cert_dir": authorities}
    _check(authorities)
    return {**found, "ca_certs": authorities}


@cache
def _check(file: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except OSError as error:  # of ssl, too
        raise SettingError(
            f"{file}: it cannot be read as certificates (PEM): {error.strerror or error}; "
            f"{', '.join(VARIABLES)} say whose are trusted"
        ) from error


def _own() -> str:
    """This machine's. A Python that was made for any machine may look where nothing is."""
    paths = ssl.get_default_verify_paths()
    candidates = (
        paths.openssl_cafile,
        paths.openssl_capath,
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    )
    for candidate in candidates:
        path = Path(candidate)
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            return candidate
    return certifi.where()
