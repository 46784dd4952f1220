"""How apt, which speaks HTTP itself, reaches archives: as this machine's apt is set up, and with the
proxies and the authorities that envd's own requests have (apt.conf(5), apt-transport-https(1))."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from engine.core import command
from store import certificates, proxies

_KEPT = re.compile(r'^Acquire::https?::(\S*::)?(Proxy|CaInfo|Verify-\S+)\S* ".+";$', re.I)


def settings(sources: Sequence[str]) -> str:
    """Lines of apt.conf for `sources` (of sources.list): the only settings of the host's apt that are
    kept, and what apt would not understand of no_proxy (networks, ports) or look for itself. Raises
    SettingError."""
    own = _own()
    added = list(dict.fromkeys(_direct(sources)))
    if not any("::cainfo" in line.lower() for line in own) and certificates.named():
        place = certificates.authorities()
        if Path(place).is_file():
            added.append(f'Acquire::https::CaInfo "{place}";')
    return "\n".join([*own, *added])


def _own() -> list[str]:
    try:
        done = command.ask_text(["apt-config", "dump", "Acquire"], environment=os.environ)
    except FileNotFoundError:
        return []
    return [line for line in done.stdout.splitlines() if _KEPT.match(line)]


def _direct(sources: Sequence[str]) -> Iterator[str]:
    for url in re.findall(r"https?://[^\s\]]+", "\n".join(sources)):
        parts = urlsplit(url)
        if parts.hostname and proxies.excluded(url):
            yield f'Acquire::{parts.scheme}::Proxy::{parts.hostname} "DIRECT";'


def variables() -> dict[str, str]:
    """The variables that apt takes a proxy from. It knows no all_proxy, and no capitals."""
    found = {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy")}
    for scheme in proxies.SCHEMES:
        proxy = proxies.proxy_of(
            f"{scheme}://envd.invalid",
            environment={k: v for k, v in os.environ.items() if k.lower() != "no_proxy"},
        )
        if proxy:
            found[f"{scheme}_proxy"] = proxy
    return found
