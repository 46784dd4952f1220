"""Programs that speak HTTP themselves (uv, rattler) and give up when a server says "later": they are run
again, after as long as the server asks for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from engine.command import pause
from engine.net import client
from engine.urls import redacted
from store import redirects, retry

T = TypeVar("T")

ROUNDS = 3  # of the program, which has tried each request again itself
# As reqwest has it, which uv and rattler use: "HTTP status server error (503 Service Unavailable) for
# url (http://…)".
_LATER = re.compile(
    r"HTTP status (?:server|client) error \((408|425|429|500|502|503|504)\b[^)]*\) for url \((https?://[^)\s]+)\)"
)


def patiently(run: Callable[[], T], complaint: Callable[[T], str], whole: Callable[[str], str]) -> T:
    """What `run` gives at last. It is run again when `complaint`, its words when it failed, say that a
    server has no time now; `whole` puts back what the words leave out of the server's URL."""
    for attempt in range(1, ROUNDS + 1):
        found = run()
        later = _LATER.search(complaint(found))
        if later is None or attempt == ROUNDS:
            return found
        status, url = later.groups()
        error = retry.TransientError(f"HTTP status {status}", asked(whole(url)))
        seconds = retry.wait(attempt, error)
        if seconds is None:
            return found
        told = redacted(url)
        retry.announce(told, attempt, seconds, error, ROUNDS)
        pause(seconds, told)
    raise AssertionError("unreachable")


def asked(url: str) -> float | None:
    """How long the server wants to be left alone: it is asked once more, for the program does not
    tell. None when it says nothing, or has time again."""
    import urllib3

    try:
        response = client.send(url)
    except (urllib3.exceptions.HTTPError, redirects.RedirectError, OSError):
        return None
    response.close()
    if response.status not in retry.STATUSES:
        return None
    return retry.refused(response.status, response.headers).after
