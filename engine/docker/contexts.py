"""envd's own contexts: Docker endpoints under names, in one TOML file of the user's settings.

The file holds `current = "NAME"` and a table [context.NAME] with `host` and, for TLS, `ca`, `cert`,
`key` and `verify`. `engine.docker.endpoint` reads it; here it is changed, atomically.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from engine.core.atomic import write_text
from engine.core.paths import docker_directory
from engine.docker import endpoint
from engine.errors import UsageError
from grammar.nearest import suggest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_HOST = re.compile(r"unix:///.+|(tcp|http)://[^/\s]+|ssh://[^/\s]+")


@dataclass(frozen=True)
class Context:
    """A context that can be chosen. `source` is "envd" or "docker"; `current`: it is in force."""

    name: str
    host: str
    source: str
    current: bool
    tls: bool


def listed() -> list[Context]:
    """docker's default, envd's contexts, docker's own. Raises UsageError for a broken file."""
    document = endpoint.read_contexts()
    rows = document.get("context", {})
    chosen = endpoint.current()
    found = [
        Context(
            name, str(rows[name]["host"]), "envd", chosen.context == name, endpoint.named(name, document).tls
        )
        for name in sorted(rows)
    ]
    for name in _docker_contexts():
        if name not in rows:
            of = endpoint.docker_context(name)
            found.append(Context(name, of.host, "docker", chosen.context == name, of.tls))
    local = endpoint.docker_context(endpoint.DEFAULT)
    overridden = bool(os.environ.get("DOCKER_HOST"))
    default = Context(
        endpoint.DEFAULT,
        chosen.host if overridden else local.host,
        "DOCKER_HOST" if overridden else "docker",
        not chosen.context,
        chosen.tls and overridden,
    )
    return [default, *found]


def _docker_contexts() -> list[str]:
    names = []
    for path in Path(docker_directory()).glob("contexts/meta/*/meta.json"):
        try:
            names.append(str(json.loads(path.read_text("utf-8"))["Name"]))
        except (OSError, ValueError, LookupError, TypeError):
            continue  # docker's file, docker's to complain about
    return sorted(names)


def create(
    name: str,
    host: str,
    *,
    ca: str = "",
    cert: str = "",
    key: str = "",
    verify: bool = True,
    use: bool = False,
) -> None:
    """Add a context. Raises UsageError for a bad name or host, or a name that is taken."""
    if not _NAME.fullmatch(name) or name == endpoint.DEFAULT:
        raise UsageError(
            f"'{name}' is not a valid context name", advice="use letters, digits, '_', '.' and '-'"
        )
    if not _HOST.fullmatch(host):
        raise UsageError(
            f"'{host}' is not a valid Docker host",
            advice="write unix:///PATH, tcp://HOST:PORT or ssh://USER@HOST",
        )
    if bool(cert) != bool(key):
        raise UsageError("a certificate and its key go together: give both --cert and --key")
    for file in (ca, cert, key):
        if file and not Path(file).is_file():
            raise UsageError("no such file", subject=file)
    document = endpoint.read_contexts()
    rows = document.setdefault("context", {})
    if name in rows or name in _docker_contexts():
        raise UsageError(f"there is a context '{name}' already", advice="remove it or choose another name")
    row: dict[str, Any] = {"host": host}
    row.update({k: str(Path(v).absolute()) for k, v in (("ca", ca), ("cert", cert), ("key", key)) if v})
    if not verify:
        row["verify"] = False
    rows[name] = row
    if use:
        document["current"] = name
    _write(document)


def use(name: str) -> None:
    """Make `name` the context in force ("default" for docker's choice). Raises UsageError."""
    document = endpoint.read_contexts()
    _known(name)
    document["current"] = name
    _write(document)


def remove(name: str, *, force: bool = False) -> None:
    """Forget a context of envd's. Raises UsageError for one in use, unless `force`."""
    document = endpoint.read_contexts()
    if name not in document.get("context", {}):
        _known(name)
        raise UsageError(f"context '{name}' is docker's own; `docker context rm` removes it")
    if document.get("current") == name:
        if not force:
            raise UsageError(
                f"context '{name}' is in use",
                advice="choose another with `envd context use`, or give --force",
            )
        del document["current"]
    del document["context"][name]
    _write(document)


def _known(name: str) -> None:
    names = [context.name for context in listed()]
    if name not in names:
        hint = suggest(name, names) or "; `envd context ls` lists them"
        raise UsageError(f"no context '{name}'{hint}")


def _write(document: Mapping[str, Any]) -> None:
    path = Path(endpoint.contexts_file())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "# Kept by `envd context`.\n" + tomli_w.dumps(document))
