"""Resolving conda packages with rattler, for the target and not for this machine."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine.core.urls import redacted, without_login
from engine.ecosystems.conda import asking
from engine.ecosystems.conda.question import Question, Solution
from engine.errors import EnvdError, ResolveError, together
from engine.lock.packages import Conda, LockedFile
from engine.net import patience
from engine.net.held import MemoryHeldError
from grammar.environment import Request
from grammar.nearest import nearest
from store.libraries import rattler

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
) -> list[Conda]:
    """Everything that `requests` (MatchSpecs) need. Raises ResolveError."""
    specs, asked = [], list(channels or (DEFAULT_CHANNEL,))
    for request in requests:
        channel, separator, _ = request.text.partition("::")
        if separator and channel_url(channel) not in map(channel_url, asked):
            asked.append(channel)
        specs.append(_spec(request))
    names = [redacted(channel_url(c)) for c in asked]
    log(f"solving with {', '.join(names)}")
    virtual = (
        ("__glibc", glibc, "0"),
        ("__unix", "0", "0"),
        ("__linux", "5.10", "0"),
        ("__archspec", "1", "x86_64"),
    )
    urls = [channel_url(c) for c in asked]
    try:
        with _cache(cache_directory, urls) as kept:
            question = Question(specs, urls, virtual, str(kept))
            solution = patience.patiently(
                lambda: asking.ask(question), lambda found: patience.of_reqwest(found.reason, urls)
            )
    except MemoryHeldError as error:
        place = next((r.position for r in requests if r.position.line), None)
        raise ResolveError(f"channels {', '.join(names)}: {error}", position=place) from error
    if solution.reason:
        raise _explained(solution, requests, names)
    found = []
    for record in solution.records:
        if not record.sha256:
            raise ResolveError("its channel gives no SHA-256 for it", subject=record.file_name)
        python = any(re.match(r"(python|python_abi)(\s|$)", text) for text in record.depends)
        file = LockedFile(record.file_name, redacted(record.url), record.sha256, record.size)
        found.append(
            Conda(record.name, record.version, file, build=record.build, subdir=record.subdir, python=python)
        )
    return found


@contextmanager
def _cache(directory: Path, channels: Sequence[str]) -> Iterator[Path]:
    """Where the channels' indexes are kept: under their URLs, so not when one holds a secret."""
    if all(redacted(url) == url for url in channels):
        yield directory / "conda"
        return
    with tempfile.TemporaryDirectory(prefix="conda-", dir=directory) as name:
        yield Path(name)


def _spec(request: Request) -> tuple[str, bool]:
    """A request as a MatchSpec, and whether that is in the strict form. Raises ResolveError."""
    channel, separator, rest = request.text.rpartition("::")
    text = f"{without_login(channel_url(channel))}::{rest}" if separator else request.text
    try:
        try:
            rattler.MatchSpec(text, strict=True)
            return text, True
        except Exception:  # "numpy=1.26=py311_0", as `conda env export` writes it
            if not re.fullmatch(r"[\w.:/-]+={1,2}[\w.*+!]+=[\w.*]+", text):
                raise
            rattler.MatchSpec(text)
            return text, False
    except Exception as error:  # rattler's exceptions have no common base
        raise ResolveError(
            f"'{request.text}' is not a valid conda package: {error}", position=request.position
        ) from error


def _explained(solution: Solution, requests: Sequence[Request], channels: Sequence[str]) -> EnvdError:
    """What did not fit: the names that no channel has, each at its place, or the solver's words."""
    reason, known = solution.reason, set(solution.known)
    problems = []
    for request in requests:
        match = re.match(r"[\w.-]+", request.text.rpartition("::")[2])
        name = match[0].lower() if match else ""
        if known and name and name not in known:
            close = nearest(name, known)
            hint = f"did you mean '{close}'?" if close else "check its name and the channels"
            problems.append(
                ResolveError(
                    f"no conda package '{name}' in {', '.join(channels)}",
                    position=request.position,
                    subject=name,
                    advice=hint,
                )
            )
    if problems:
        return together(problems)
    asked = [r for r in requests if r.position.line]
    named = [r for r in asked if re.split(r"[\s=<>!~\[]", r.text.rpartition("::")[2])[0] in reason]
    place = next((r.position for r in (*named, *asked)), None)
    return ResolveError(f"cannot resolve the conda packages: {reason}", position=place)
