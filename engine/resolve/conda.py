"""Resolving conda packages with rattler, for the target and not for this machine."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from engine.errors import ResolveError
from engine.fetch import shown
from engine.lock import LockedFile, LockedPackage
from grammar.environment import Request

DEFAULT_CHANNEL = "conda-forge"
PLATFORMS: tuple[Literal["linux-64", "noarch"], ...] = ("linux-64", "noarch")
_DEFAULT_ALIAS = "https://conda.anaconda.org"


def channel_url(channel: str) -> str:
    """A channel's URL: itself, or its name below ENVD_CONDA_CHANNEL_ALIAS."""
    if "://" in channel:
        return channel.rstrip("/")
    alias = os.environ.get("ENVD_CONDA_CHANNEL_ALIAS", _DEFAULT_ALIAS)
    return f"{alias.rstrip('/')}/{channel}"


def resolve(
    requests: Sequence[Request],
    channels: Sequence[str],
    glibc: str,
    cache_directory: Path,
    log: Callable[[str], None],
) -> list[LockedPackage]:
    """Everything that `requests` (MatchSpecs) need. Raises ResolveError."""
    from rattler import (
        BuildString,
        Channel,
        Gateway,
        GenericVirtualPackage,
        PackageName,
        Version,
    )
    from rattler import solve as rattler_solve

    specs, asked = [], list(channels or (DEFAULT_CHANNEL,))
    for request in requests:
        channel, separator, _ = request.text.partition("::")
        if separator and channel_url(channel) not in map(channel_url, asked):
            asked.append(channel)
        specs.append(_spec(request))
    sources = [Channel(channel_url(c)) for c in asked]
    virtual = [
        GenericVirtualPackage(PackageName(name), Version(version), BuildString(build))
        for name, version, build in (
            ("__glibc", glibc, "0"), ("__unix", "0", "0"), ("__linux", "5.10", "0"),
            ("__archspec", "1", "x86_64"),
        )
    ]
    names = [shown(channel_url(c)) for c in asked]
    log(f"solving with {', '.join(names)}")
    gateway = Gateway(cache_dir=cache_directory / "conda")
    try:
        records = asyncio.run(
            rattler_solve(
                sources=sources, specs=specs, platforms=PLATFORMS, virtual_packages=virtual,
                gateway=gateway,
            )
        )
    except Exception as error:
        raise ResolveError(_explain(str(error), requests, gateway, sources, names)) from error
    found = []
    for record in records:
        if record.sha256 is None:
            raise ResolveError(f"{record.file_name}: its channel gives no SHA-256 for it")
        extra = {"build": str(record.build), "subdir": str(record.subdir)}
        if any(re.match(r"(python|python_abi)(\s|$)", text) for text in record.depends):
            extra["python"] = "yes"
        file = LockedFile(
            record.file_name, shown(str(record.url)), record.sha256.hex(), record.size or 0
        )
        found.append(
            LockedPackage("conda", record.name.normalized, str(record.version), file, extra)
        )
    return found


def _spec(request: Request) -> Any:
    """A request as a MatchSpec. Raises ResolveError."""
    from rattler import MatchSpec

    channel, separator, rest = request.text.rpartition("::")
    text = f"{shown(channel_url(channel))}::{rest}" if separator else request.text
    try:
        try:
            return MatchSpec(text, strict=True)
        except Exception:  # "numpy=1.26=py311_0", as `conda env export` writes it
            if not re.fullmatch(r"[\w.:/-]+={1,2}[\w.*+!]+=[\w.*]+", text):
                raise
            return MatchSpec(text)
    except Exception as error:  # rattler's exceptions have no common base
        raise ResolveError(
            f"{request.position}: '{request.text}' is no conda package: {error}"
        ) from error


def _explain(
    reason: str, requests: Sequence[Request], gateway: Any, sources: Sequence[Any],
    channels: Sequence[str],
) -> str:
    """What did not fit: the names that no channel has, each at its place, or the solver's words."""
    try:
        found = asyncio.run(gateway.names(sources, PLATFORMS))
        known = {name.normalized for name in getattr(found, "names", found)}
    except Exception:
        known = set()
    problems = []
    for request in requests:
        match = re.match(r"[\w.-]+", request.text.rpartition("::")[2])
        name = match[0].lower() if match else ""
        if known and name and name not in known:
            close = get_close_matches(name, sorted(known), n=1, cutoff=0.6)
            hint = f"did you mean '{close[0]}'?" if close else "check its name and the channels"
            problems.append(
                f"{request.position}: no conda package '{name}' in {', '.join(channels)}; {hint}"
            )
    if problems:
        return "\n".join(problems)
    asked = [r for r in requests if r.position.line]
    named = [r for r in asked if re.split(r"[\s=<>!~\[]", r.text.rpartition("::")[2])[0] in reason]
    where = next((f"{r.position}: " for r in (*named, *asked)), "")
    return f"{where}cannot resolve the conda packages: {reason}"
