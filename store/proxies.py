"""Which proxy a request goes through, as the environment says: http_proxy, https_proxy and all_proxy,
and what no_proxy leaves out. Used by everything here that speaks HTTP itself.

The variables are of no standard; what is read is what curl, Python and Go agree upon. Small letters
win over capitals, and HTTP_PROXY is not taken where a web server may have made it of a request's
header (REQUEST_METHOD is set). An entry of no_proxy is a domain, which stands for what lies below it,
too; an address or a network of addresses ("10.0.0.0/8"); each with a port or without; or "*".
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from store.errors import SettingError

SCHEMES = ("http", "https")  # of a proxy; a bare HOST:PORT is http
_PORTS = {"http": 80, "https": 443}


def proxy_of(url: str, default: str = "", environment: Mapping[str, str] = os.environ) -> str:
    """The proxy for `url` ("http://[USER:PASSWORD@]HOST:PORT"), "" for none; `default` is taken when
    no variable names any. Raises SettingError."""
    parts = urlsplit(url)
    if excluded(url, environment):
        return ""
    for variable in (f"{parts.scheme}_proxy", "all_proxy"):
        name, value = _variable(variable, environment)
        if name:
            return _checked(name, value) if value else ""
    return _checked("pip's proxy", default) if default else ""


def excluded(url: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether no_proxy says that `url` is asked directly."""
    parts = urlsplit(url)
    try:
        host, port = (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(parts.scheme)
    except ValueError:  # a port that is none: who asks it says so
        return False
    entries = re.split(r"[\s,]+", _variable("no_proxy", environment)[1])
    return any(_fits(entry.lower(), host, port) for entry in entries if entry)


def _variable(name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """The variable that counts, in small letters or capitals, and its value; "", "" for neither."""
    if name in environment:
        return name, environment[name].strip()
    upper = name.upper()
    if upper in environment and not (upper == "HTTP_PROXY" and "REQUEST_METHOD" in environment):
        return upper, environment[upper].strip()
    return "", ""


def _checked(name: str, value: str) -> str:
    given = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(given)
        usable = parts.scheme.lower() in SCHEMES and parts.hostname and (parts.port or True)
    except ValueError:
        usable = False
    if not usable:
        shown = f"{given.partition('://')[0]}://{given.partition('://')[2].rpartition('@')[2]}"
        raise SettingError(
            f"{name}={shown}: no proxy that can be used; write http://HOST:PORT (SOCKS is not spoken "
            "here; / and @ in a login are %2F and %40)"
        )
    return given


def _fits(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    address = _address(host)
    if address is not None:
        try:
            if address in ipaddress.ip_network(entry.strip("[]"), strict=False):
                return True
        except ValueError:
            pass
    name, wanted = entry, ""
    if match := re.fullmatch(r"(\[[^\]]*\]|[^:]*):(\d+)", entry):
        name, wanted = match[1], match[2]
    if wanted and int(wanted) != port:
        return False
    name = name.strip("[]")
    if address is not None:
        return _address(name) == address
    name = name.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
