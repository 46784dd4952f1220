"""Trying again what the network or a server spoiled: when, how often, after how long, and what is
said of it. Used by every download and upload.

Retry-After: RFC 9110, section 10.2.3. Statuses: 408, 425, 429 and the 5xx that pass by.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from store import notices
from store.libraries import urllib3

ATTEMPTS = 5  # the first, and four retries
LONGEST = 120.0  # seconds that a server may ask us to wait
PAUSE = 0.5  # seconds before the first retry; it doubles
CONNECT, SILENCE = 10.0, 30.0  # seconds: until a connection is there; without a byte
STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Patience:
    """How long a client waits for a server that does not answer, in seconds: `first` for the first
    byte of an answer to a request without a body, and `silent` for all attempts of one such request
    together. `attempts` are those of any request [ATTEMPTS]."""

    first: float = 10.0
    silent: float = 16.0
    attempts: int = 0


class TransientError(Exception):
    """Worth another attempt. Its text is the reason; `after` is how many seconds the server asks
    to be left alone, or None."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


def refused(status: int, headers: Mapping[str, str]) -> TransientError:
    """The error of an answer whose status is one of STATUSES."""
    return TransientError(f"HTTP status {status}", _after(headers.get("Retry-After", "")))


def _after(text: str) -> float | None:
    text = text.strip()  # str.strip takes separators away that float() stops at
    if text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    except OverflowError:  # in the year 1, east of Greenwich
        return None


def wait(attempt: int, error: TransientError, pause: float = PAUSE, of: int = 0) -> float | None:
    """Seconds to wait after the failed attempt number `attempt` (from 1), None to give up; there are
    `of` [ATTEMPTS]."""
    if attempt >= (of or ATTEMPTS) or (error.after is not None and error.after > LONGEST):
        return None
    own: float = pause * 2 ** (attempt - 1)
    return own if error.after is None else max(own, error.after)


def scattered(seconds: float) -> float:
    """Some more seconds: whom a server has sent away together shall not come back together."""
    return seconds + min(seconds, 1.0) * random.uniform(0, 0.25)


_woken = threading.Condition()


def pause(seconds: float) -> bool:
    """Sleep before another attempt; whether the time was slept out, and not ended by `wake`."""
    with _woken:
        return not _woken.wait(seconds)


def wake() -> None:
    """End every `pause`: whoever waits for a server is to stop."""
    with _woken:
        _woken.notify_all()


def said(attempt: int, seconds: float, reason: object, of: int = 0) -> str:
    """What is said before another attempt after `seconds`; there are `of` [ATTEMPTS]."""
    return f"retrying ({attempt + 1} of {of or ATTEMPTS}) in {seconds:.3g} s: {reason}"


def announce(subject: str, attempt: int, seconds: float, reason: object, of: int = 0) -> None:
    """Say that `subject` is tried again after `seconds`."""
    notices.say(subject, said(attempt, seconds, reason, of))


def tried(attempt: int, error: TransientError) -> str:
    """How often, for the error that ends it: "tried 5 times", or what the server asked for."""
    if error.after is not None and error.after > LONGEST:
        return f"the server asks to be left alone for {error.after:.0f} s; try again then"
    return f"tried {attempt} times" if attempt > 1 else "tried once"


def reason(error: BaseException) -> str:
    """What went wrong with a connection, in a few words, of an error of urllib3's or requests'."""
    found: BaseException = error
    through = ""
    for _ in range(8):  # requests' errors hold urllib3's, those the socket's
        inner = getattr(found, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((a for a in found.args if isinstance(a, BaseException)), None)
        if isinstance(found, urllib3.exceptions.ProxyError):
            through = "the proxy fails: "
        if inner is None or isinstance(found, urllib3.exceptions.NameResolutionError):
            break
        found = inner
    return f"{through}{_words(found)}"


def _words(found: BaseException) -> str:
    if isinstance(found, urllib3.exceptions.NameResolutionError):
        match = re.search(r"resolve '([^']+)'", str(found))
        return f"the name {match[1] if match else 'of the server'} cannot be resolved"
    if isinstance(found, urllib3.exceptions.NewConnectionError):
        return re.sub(r"^.*Failed to establish a new connection: (\[Errno -?\d+\] )?", "", str(found))
    if isinstance(found, urllib3.exceptions.ConnectTimeoutError):
        return f"no connection within {CONNECT:.0f} s"
    if isinstance(found, urllib3.exceptions.ReadTimeoutError | TimeoutError):
        match = re.search(r"read timeout=(\d+)", str(found))
        return f"no answer for {match[1] if match else f'{SILENCE:.0f}'} s"
    if isinstance(found, urllib3.exceptions.IncompleteRead):
        return f"the connection broke off after {found.partial} bytes"
    if isinstance(found, OSError) and found.strerror:
        return found.strerror
    text = str(found) or type(found).__name__
    text = re.sub(r"^.*?: (Failed to establish a new connection: )", "", text)
    return re.sub(r"^\[Errno -?\d+\] ", "", text)
