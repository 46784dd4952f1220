"""Where this machine finds Python packages, as its user has set uv and pip: the UV_… variables, then
uv's files, then pip's settings.

uv's settings come first. pip's indexes are taken only when uv's settings name no index of their own to
begin with: who has given uv a private index does not mean pip's to be asked beside it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from engine.core.redaction import know
from engine.errors import UsageError
from engine.net import pip_settings, uv_settings
from engine.net.uv_settings import bare
from store import certificates, notices

PYPI = "https://pypi.org/simple"  # where uv and pip look when nobody says anything
_ANY_ORDER = "unsafe-best-match"  # pip's: the best of all indexes
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_OWN_VARIABLES = ("UV_INDEX", "UV_EXTRA_INDEX_URL")


@dataclass(frozen=True)
class Machine:
    """`index` "" is PyPI; it and `extra` may be "NAME=URL"; `strategy` is uv's for several indexes."""

    index: str = ""
    extra: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    no_index: bool = False
    strategy: str = ""
    trusted: tuple[str, ...] = ()
    keyring: str = ""
    certificates: str = ""
    proxy: str = ""
    known: tuple[str, ...] = ()  # every index and page of links, with the login that it may hold
    not_taken: tuple[str, ...] = ()

    def say_what_is_not_taken(self) -> None:
        """Tell once what uv's and pip's settings say in vain."""
        if self.not_taken:
            notices.once(
                "lock",
                f"of uv's and pip's settings not taken: {', '.join(self.not_taken)}; "
                "a lock is for other machines, too: say it in the spec or in a file of the "
                "project",
            )


@cache
def current() -> Machine:
    """This machine's. Raises UsageError for settings that cannot be read."""
    return _known_of(merged(os.environ, uv_settings.current(), pip_settings.current()))


@cache
def of_uv() -> Machine:
    """The same without pip's indexes: for what uv itself has locked."""
    pip = pip_settings.current()
    kept = pip_settings.PipSettings(
        trusted=pip.trusted, certificates=pip.certificates, proxy=pip.proxy, keyring=pip.keyring
    )
    return _known_of(merged(os.environ, uv_settings.current(), kept))


def _known_of(found: Machine) -> Machine:
    know((*found.known, found.proxy))
    return found


def merged(
    environment: Mapping[str, str], uv: uv_settings.UvSettings, pip: pip_settings.PipSettings
) -> Machine:
    """What all of them say together."""
    index = environment.get("UV_DEFAULT_INDEX") or environment.get("UV_INDEX_URL") or uv.index
    own = [word for name in _OWN_VARIABLES for word in environment.get(name, "").split()]
    links = [word for word in environment.get("UV_FIND_LINKS", "").split(",") if word]
    strategy = environment.get("UV_INDEX_STRATEGY") or uv.strategy
    of_pip = not (index or uv.no_index)
    if of_pip and pip.extra:
        strategy = strategy or _ANY_ORDER
    return Machine(
        index=index or pip.index,
        extra=tuple(dict.fromkeys((*own, *uv.extra, *(pip.extra if of_pip else ())))),
        links=tuple(dict.fromkeys((*links, *uv.links, *(pip.links if of_pip else ())))),
        no_index=uv.no_index or (of_pip and pip.no_index),
        strategy=strategy,
        trusted=tuple(
            dict.fromkeys((*environment.get("UV_INSECURE_HOST", "").split(), *uv.trusted, *pip.trusted))
        ),
        keyring=uv.keyring or ("subprocess" if pip.keyring == "subprocess" else ""),
        certificates=pip.certificates,
        proxy=pip.proxy,
        known=tuple(
            dict.fromkeys(
                filter(
                    None, (bare(index), *map(bare, own), *links, *uv.urls, pip.index, *pip.extra, *pip.links)
                )
            )
        ),
        not_taken=(*uv.not_taken, *pip.not_taken),
    )


def way_out() -> tuple[str, str]:
    """The proxy and the authorities of pip's settings, for where the environment names none. Settings
    that cannot be read stop nobody who wants no Python package: that is said."""
    try:
        pip = pip_settings.current()
    except UsageError as error:
        notices.once("pip", str(error))
        return "", ""
    return pip.proxy, pip.certificates


def reaching(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that give a program which speaks HTTP itself (uv, rattler) the proxy and the
    authorities that envd's own requests have, where `environment` does not say it in a way it knows."""
    proxy, also = way_out()
    found = {}
    if not any(environment.get(n) or environment.get(n.upper()) for n in _PROXIES) and proxy:
        found = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy}
    if not (environment.get("SSL_CERT_FILE") or environment.get("SSL_CERT_DIR")):
        place = certificates.authorities() if certificates.named() else also
        if place:
            found["SSL_CERT_DIR" if Path(place).is_dir() else "SSL_CERT_FILE"] = place
    return found
