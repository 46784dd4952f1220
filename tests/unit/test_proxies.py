"""Which proxy a URL goes through, and whose certificates are trusted, as the environment says."""

from __future__ import annotations

from pathlib import Path

import pytest

from store import certificates, proxies
from store.errors import SettingError

P = "http://proxy:3128"


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "http://h/x", ""),
        ({"http_proxy": P}, "http://h/x", P),
        ({"http_proxy": P}, "https://h/x", ""),
        ({"https_proxy": P}, "https://h/x", P),
        ({"HTTPS_PROXY": P}, "https://h/x", P),
        ({"https_proxy": "", "HTTPS_PROXY": P}, "https://h/x", ""),
        ({"all_proxy": P}, "http://h/x", P),
        ({"ALL_PROXY": P, "http_proxy": ""}, "http://h/x", ""),
        ({"http_proxy": "proxy:3128"}, "http://h/x", P),
        ({"HTTP_PROXY": P, "REQUEST_METHOD": "GET"}, "http://h/x", ""),
        ({"https_proxy": "http://ann:s%2Fx@proxy:3128"}, "https://h/x", "http://ann:s%2Fx@proxy:3128"),
    ],
)
def test_the_proxy_of_a_url(environment: dict[str, str], url: str, proxy: str) -> None:
    assert proxies.proxy_of(url, environment=environment) == proxy


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("", "http://h/x", False),
        ("*", "http://h/x", True),
        ("example.org", "http://example.org/x", True),
        ("example.org", "http://a.example.org/x", True),
        (".example.org", "http://a.example.org/x", True),
        (".example.org", "http://example.org/x", True),
        ("*.example.org", "http://a.example.org/x", True),
        ("example.org", "http://badexample.org/x", False),
        ("EXAMPLE.org", "http://Example.ORG./x", True),
        ("example.org:8080", "http://example.org:8080/x", True),
        ("example.org:8080", "http://example.org/x", False),
        ("example.org:80", "http://example.org/x", True),
        ("a, b,c", "http://b/x", True),
        ("127.0.0.1", "http://127.0.0.1:5000/x", True),
        ("127.0.0.1:5001", "http://127.0.0.1:5000/x", False),
        ("10.0.0.0/8", "http://10.1.2.3/x", True),
        ("10.0.0.0/8", "http://11.1.2.3/x", False),
        ("10.0.0.0/8", "http://10.example.org/x", False),
        ("0.0.1", "http://127.0.0.1/x", False),
        ("::1", "http://[::1]:80/x", True),
        ("[::1]:80", "http://[::1]/x", True),
        ("fd00::/8", "http://[fd00::7]/x", True),
        ("127.0.0.1", "http://127.0.0.1:80-security/x", False),  # no port: whoever asks it says so
    ],
)
def test_what_is_asked_directly(no_proxy: str, url: str, direct: bool) -> None:
    environment = {"all_proxy": P, "no_proxy": no_proxy}
    assert proxies.excluded(url, environment) is direct
    assert proxies.proxy_of(url, environment=environment) == ("" if direct else P)


@pytest.mark.parametrize("value", ["socks5://ann:s3cret@h:1", "http://", "http://h:port", "ftp://h"])
def test_a_proxy_that_cannot_be_used_is_said_without_its_login(value: str) -> None:
    with pytest.raises(SettingError, match=r"https_proxy=.*write http://HOST:PORT") as caught:
        proxies.proxy_of("https://x/", environment={"https_proxy": value})
    assert "s3cret" not in str(caught.value)


def test_whose_certificates_are_trusted(tmp_path: Path) -> None:
    bundle, other = tmp_path / "a.pem", tmp_path / "b.pem"
    for path in (bundle, other):
        path.write_text("x")
    given = {"REQUESTS_CA_BUNDLE": str(other), "SSL_CERT_FILE": str(bundle)}
    assert certificates.authorities(given) == str(bundle)
    assert certificates.authorities({**given, "SSL_CERT_FILE": ""}) == str(other)
    assert certificates.authorities({"SSL_CERT_DIR": f"/nowhere:{tmp_path}"}) == str(tmp_path)
    assert Path(certificates.authorities({})).exists()
    with pytest.raises(SettingError, match="SSL_CERT_FILE=/nowhere: there is no such file"):
        certificates.authorities({"SSL_CERT_FILE": "/nowhere"})
    with pytest.raises(SettingError, match=r"b\.pem: it cannot be read as certificates"):
        certificates.place(str(other))
