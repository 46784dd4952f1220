"""Resolving conda packages with rattler, for the target and not for this machine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.errors import ResolveError
from engine.lock import LockedFile, LockedPackage
from grammar.environment import Request

DEFAULT_CHANNEL = "conda-forge"
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
        MatchSpec,
        PackageName,
        Version,
    )
    from rattler import solve as rattler_solve

    specs = []
    for request in requests:
        try:
            specs.append(MatchSpec(request.text, strict=True))
        except Exception as error:  # rattler's exceptions have no common base
            raise ResolveError(
                f"{request.position}: '{request.text}' is no conda package: {error}"
            ) from error
    urls = [channel_url(c) for c in channels or (DEFAULT_CHANNEL,)]
    virtual = [
        GenericVirtualPackage(PackageName(name), Version(version), BuildString(build))
        for name, version, build in (
            ("__glibc", glibc, "0"), ("__unix", "0", "0"), ("__linux", "5.10", "0"),
            ("__archspec", "1", "x86_64"),
        )
    ]
    log(f"solving with {', '.join(urls)}")
    try:
        records = asyncio.run(
            rattler_solve(
                sources=[Channel(url) for url in urls], specs=specs,
                platforms=["linux-64", "noarch"], virtual_packages=virtual,
                gateway=Gateway(cache_dir=cache_directory / "conda"),
            )
        )
    except Exception as error:
        where = next((f"{r.position}: " for r in requests if r.position.line), "")
        raise ResolveError(f"{where}cannot resolve the conda packages: {error}") from error
    found = []
    for record in records:
        if record.sha256 is None:
            raise ResolveError(f"{record.file_name}: its channel gives no SHA-256 for it")
        found.append(
            LockedPackage(
                "conda", record.name.normalized, str(record.version),
                LockedFile(record.file_name, str(record.url), record.sha256.hex(), record.size or 0),
                {"build": str(record.build), "subdir": str(record.subdir)},
            )
        )
    return found
