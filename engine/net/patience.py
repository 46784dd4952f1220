"""Programs that speak HTTP themselves (uv, rattler, git) and give up when a server says "later": they
are run again, after as long as the server asks for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from engine.core.command import pause
from engine.core.urls import redacted, restored
from engine.net import client
from store import redirects, retry
from store.libraries import urllib3

T = TypeVar("T")

ROUNDS = 3  # of the program, which has tried each request again itself
_STATUS = "|".join(map(str, sorted(retry.STATUSES)))
# As reqwest has it, which uv and rattler use: "HTTP status server error (503 Service Unavailable) for
# url (http://…)".
_LATER = re.compile(
    rf"HTTP status (?:server|client) error \(({_STATUS})\b[^)]*\) for url \((https?://[^)\s]+)\)"
)
_OF_GIT = re.compile(rf"The requested URL returned error: ({_STATUS})\b")

_BROKEN = re.compile(r"Empty reply from server|Connection reset by peer|early EOF|unexpected disconnect")


@dataclass(frozen=True)
class Stumble:
    """Why a server did not serve a program, and the URL to ask it how long it wants to be left alone."""

    reason: str
    url: str


def of_reqwest(words: str, urls: Iterable[str]) -> Stumble | None:
    """What uv or rattler say of a server that has no time now; what their words leave out of its URL is
    in one of `urls`."""
    later = _LATER.search(words)
    if later is None:
        return None
    whole = next((w for url in urls if (w := restored(later[2], url)) != later[2]), later[2])
    return Stumble(f"HTTP status {later[1]}", whole)


def of_git(words: str, url: str) -> Stumble | None:
    """What git says of a server that has no time now, or that broke the connection off, when it asked
    for the repository at `url`."""
    if later := _OF_GIT.search(words):
        return Stumble(f"HTTP status {later[1]}", f"{url.rstrip('/')}/info/refs?service=git-upload-pack")
    broken = _BROKEN.search(words)
    return Stumble(broken[0], url) if broken else None


def patiently(run: Callable[[], T], stumble: Callable[[T], Stumble | None]) -> T:
    """What `run` gives at last. It is run again when that is of a `stumble`."""
    for attempt in range(1, ROUNDS + 1):
        found = run()
        later = stumble(found) if attempt < ROUNDS else None
        if later is None:
            return found
        after = asked(later.url) if later.url.startswith(("http://", "https://")) else None
        error = retry.TransientError(later.reason, after)
        seconds = retry.wait(attempt, error)
        if seconds is None:
            return found
        told = redacted(later.url)
        retry.announce(told, attempt, seconds, error, ROUNDS)
        pause(seconds, told)
    raise AssertionError("unreachable")


def asked(url: str) -> float | None:
    """How long the server wants to be left alone: it is asked once more, for the program does not
    tell. None when it says nothing, or has time again."""
    try:
        response = client.send(url)
    except (urllib3.exceptions.HTTPError, redirects.RedirectError, OSError):
        return None
    response.close()
    if response.status not in retry.STATUSES:
        return None
    return retry.refused(response.status, response.headers).after
