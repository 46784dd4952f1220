"""Answers at lock time: what galleries, registries and indexes say, read whole and within limits."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin

from engine.core.urls import redacted
from engine.errors import ResolveError
from engine.net import attempts
from engine.net.client import pieces, send
from grammar.environment import Position
from store import bodies, limits, retry
from store.errors import TooLargeError

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """The body of a successful answer, and the `url` that it came from after redirects."""

    body: bytes
    url: str = ""

    def json(self) -> Any:
        """The body as JSON, of finite numbers. Raises ValueError."""
        try:
            return json.loads(self.body, parse_float=_finite, parse_constant=_finite)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error

    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")


def _finite(text: str) -> float:
    """A number of JSON text, whose NaN, Infinity and 1e999 nothing can count with."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text} is not finite")
    return number


def get(url: str, position: Position) -> Answer | None:
    """GET `url`; None when it is not there (404). Raises ResolveError for all else."""

    def once() -> Answer | None:
        with answered(url, position) as response:
            try:
                body = _whole(response) if response.status == 200 else b""
            except TooLargeError as error:
                raise ResolveError(str(error), position=position, subject=redacted(url)) from error
        if response.status == 404:
            return None
        if response.status != 200:
            raise ResolveError(f"HTTP status {response.status}", position=position, subject=redacted(url))
        return Answer(body, urljoin(url, response.geturl() or ""))

    return tried(once, url, position)


def _whole(response: BaseHTTPResponse) -> bytes:
    return bodies.whole(pieces(response, decode=True), "answer", limits.current().answer)


def tried(once: Callable[[], T], url: str, position: Position) -> T:
    """`attempts.tried`, for a URL that somebody has written at `position`. Raises ResolveError."""

    def refused(failure: attempts.Failure) -> ResolveError:
        what = "fetch" if failure.answered else "reach"
        return ResolveError(
            f"cannot {what} {redacted(url)}: {failure.reason}", position=position, advice=failure.advice
        )

    return attempts.tried(once, redacted(url), refused)


@contextmanager
def answered(url: str, position: Position, method: str = "GET") -> Iterator[BaseHTTPResponse]:
    """An answer whose status is final. Raises TransientError for another, urllib3's errors and
    RedirectError."""
    response = send(url, method=method)
    try:
        if response.status in retry.STATUSES:
            raise retry.refused(response.status, response.headers)
        yield response
        response.release_conn()
    finally:
        response.close()
