"""Small GETs at lock time: metadata of galleries and registries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from engine.errors import ResolveError
from engine.fetch import request, shown
from grammar.environment import Position


@dataclass(frozen=True)
class Answer:
    """The body of a successful answer, and the `url` that it came from after redirects."""

    body: bytes
    url: str = ""

    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        return json.loads(self.body)

    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")


def get(url: str, position: Position) -> Answer | None:
    """GET `url`; None when it is not there (404). Raises ResolveError for all else."""
    import urllib3

    try:
        response = request(url)
        body = response.read(decode_content=True)
        response.release_conn()
    except urllib3.exceptions.HTTPError as error:
        raise ResolveError(f"{position}: cannot reach {shown(url)}: {error}") from error
    if response.status == 404:
        return None
    if response.status != 200:
        raise ResolveError(f"{position}: {shown(url)}: HTTP status {response.status}")
    return Answer(body, urljoin(url, response.geturl() or ""))
