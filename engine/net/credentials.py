"""Logins that this machine has for servers: in uv's and pip's index settings, and in netrc."""

from __future__ import annotations

import netrc
import os
from urllib.parse import quote, urlsplit

from engine.net import machine
from store import notices


def configured_login(url: str) -> str:
    """The login ("user:password") that this machine has for `url`'s server; "" for none. For servers
    that asked for one."""
    for index in machine.current().known:
        if login := _login_of(index, url):
            return login
    try:
        found = netrc.netrc(os.environ.get("NETRC")).authenticators(urlsplit(url).hostname or "")
    except FileNotFoundError:
        return ""
    except (OSError, netrc.NetrcParseError) as error:
        name = os.environ.get("NETRC") or "~/.netrc"
        notices.once(name, f"its logins are not taken: {error}")
        return ""
    return f"{quote(found[0], '')}:{quote(found[2], '')}" if found else ""


def _login_of(index: str, url: str) -> str:
    """The login ("user:password") in `index` when it is on the same server as `url`."""
    one, other = urlsplit(index), urlsplit(url)
    login, _, host = one.netloc.rpartition("@")
    return login if login and (one.scheme, host) == (other.scheme, other.netloc) else ""
