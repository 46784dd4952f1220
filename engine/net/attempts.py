"""Trying a request again when the network or a server stumbles; each wait is said (`store.retry` says
when and for how long)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from engine.core.command import pause, raise_if_cancelled
from engine.net.client import advice, hopeless
from store import redirects, retry
from store.libraries import urllib3

T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """Why a request came to nothing, and what to do. `answered`: the server said something."""

    reason: str
    advice: str
    answered: bool


def tried(once: Callable[[], T], subject: str, refused: Callable[[Failure], Exception]) -> T:
    """`once()`, tried again, and that said of `subject`, when it raises TransientError or the connection
    breaks. Raises what `refused` makes of the last failure, and CancelledError."""
    cause: Exception | None
    for attempt in range(1, retry.ATTEMPTS + 1):
        try:
            return once()
        except retry.TransientError as error:
            stumble, cause = error, None
        except (
            urllib3.exceptions.HTTPError,
            redirects.RedirectError,
            ConnectionError,
            TimeoutError,
        ) as error:
            raise_if_cancelled(subject)
            if hopeless(error):
                raise refused(Failure(retry.reason(error), advice(error), True)) from error
            stumble, cause = retry.TransientError(retry.reason(error)), error
        seconds = retry.wait(attempt, stumble)
        if seconds is None:
            reason = f"{stumble} ({retry.tried(attempt, stumble)})"
            raise refused(Failure(reason, "check the network", cause is None)) from cause
        retry.announce(subject, attempt, seconds, stumble)
        pause(seconds, subject)
    raise AssertionError("unreachable")
