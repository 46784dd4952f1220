"""`Host NAME.envd` in the user's ssh config, and the environment's host key in a file of ours.

All entries stand in one region at the top of ~/.ssh/config, for ssh takes the first value that it
finds; the region ends with `Host *`, so that settings of the user's that stand before any `Host`
still apply to every host. What is outside of the region is never touched, and without entries
there is no region. Format: ssh_config(5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.core import atomic
from engine.ecosystems.inside import USER
from engine.runtime.keys import directory
from store import locking

_BEGIN = "# >>> envd: made and removed by `envd up` and `envd destroy` >>>\n"
# The same, where there was no file before.
_BEGIN_NEW = "# >>> envd (and the file): made and removed by `envd up` and `envd destroy` >>>\n"
_END = "# <<< envd <<<\n"
_REGION = re.compile(
    f"(?P<begin>{re.escape(_BEGIN)}|{re.escape(_BEGIN_NEW)})(?P<body>.*?){re.escape(_END)}", re.DOTALL
)
_CLOSING = "Host *\n"


@dataclass(frozen=True)
class Entry:
    """How ssh reaches an environment; `host_key` is "TYPE BASE64". With `forward_agent`, whoever is
    root in the environment may use the user's keys while somebody is attached."""

    name: str
    address: str
    port: int
    identity: Path
    host_key: str
    forward_agent: bool = False


def host(name: str) -> str:
    """What one gives to ssh(1)."""
    return f"{name}.envd"


def path() -> Path:
    """The user's ssh config."""
    return Path.home() / ".ssh/config"


def known_hosts() -> Path:
    """The host keys of environments."""
    return directory() / "known_hosts"


def add(entry: Entry) -> None:
    """Add the entry, or replace the one of its name."""
    with _locked():
        lines = [line for line in _known_lines() if line.split(" ")[0] != host(entry.name)]
        _replace(known_hosts(), "".join([*lines, f"{host(entry.name)} {entry.host_key}\n"]), 0o600)
        _edit(entry.name, _text(entry))


def remove(name: str) -> bool:
    """Remove the entry of that name; False when there is none."""
    with _locked():
        lines = _known_lines()
        left = [line for line in lines if line.split(" ")[0] != host(name)]
        if left != lines:
            if left:
                _replace(known_hosts(), "".join(left), 0o600)
            else:
                known_hosts().unlink()
        return _edit(name, "")


def _text(entry: Entry) -> str:
    return (
        f"Host {host(entry.name)}\n"
        f"  HostName {entry.address}\n"
        f"  Port {entry.port}\n"
        f"  User {USER}\n"
        f"  IdentityFile {_quoted(entry.identity)}\n"
        "  IdentitiesOnly yes\n"
        f"  HostKeyAlias {host(entry.name)}\n"
        f"  UserKnownHostsFile {_quoted(known_hosts())}\n"
        "  StrictHostKeyChecking yes\n"
        f"  ForwardAgent {'yes' if entry.forward_agent else 'no'}\n"
    )


def _quoted(file: Path) -> str:
    # % starts a token in both options
    return '"' + str(file).replace("%", "%%") + '"'


def _edit(name: str, text: str) -> bool:
    """Put `text` in place of the entry of that name; whether one was there."""
    target = path().resolve()  # a link (dotfiles in a repository, say) stays one
    try:
        # newline="": a file's own line ends stay
        with target.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            before: str | None = file.read()
    except FileNotFoundError:
        before = None
    content = before or ""
    begin = _BEGIN if before is not None else _BEGIN_NEW
    entries: dict[str, str] = {}
    region = _REGION.search(content)
    if region is not None:
        begin = region["begin"]
        content = content[: region.start()] + content[region.end() :]
        body = region["body"].removesuffix(_CLOSING)
        for part in re.split(r"^(?=Host )", body, flags=re.MULTILINE):
            if part:
                entries[part.split("\n")[0].removeprefix("Host ")] = part
    had = entries.pop(host(name), None) is not None
    if text:
        entries[host(name)] = text
    elif not had:
        return False
    if entries:
        inside = "".join(entries[key] for key in sorted(entries))
        content = f"{begin}{inside}{_CLOSING}{_END}{content}"
    elif begin == _BEGIN_NEW and not content:
        target.unlink()
        return had
    _replace(target, content, 0o600)
    return had


def _known_lines() -> list[str]:
    try:
        return known_hosts().read_text("utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []


@contextmanager
def _locked() -> Iterator[None]:
    with locking.locked(directory() / "lock", doing="changes the ssh configuration"):
        yield


def _replace(target: Path, text: str, mode: int) -> None:
    """Write atomically; a file that is there keeps its mode and its owner."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    before = target.stat() if target.exists() else None
    owner = None
    if before is not None:
        mode = before.st_mode & 0o7777
        owner = (before.st_uid, before.st_gid) if os.geteuid() == 0 else None
    atomic.write(target, text.encode("utf-8", "surrogateescape"), mode, owner)
