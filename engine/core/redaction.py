"""Taking values that nobody should see out of texts: as they are, and as programs show them.

A step that traces its commands, a client that prints its requests or an encoder shows a value quoted,
escaped or in base64. Base64 of a longer text holds a value at one of three alignments; what is the
same of each is looked for, so `Authorization: Basic …` is found too.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import islice
from urllib.parse import quote, quote_plus

from engine.core.events import Event, Sink
from engine.core.urls import MARK, hidden, secrets_of

SHORTEST = 4  # characters: what is shorter is in every other word
_LONGEST = 8192  # characters of a form: of what is longer, its lines
_MOST = 500  # forms of one value that are looked for: of a long file's lines the first ones


@dataclass(frozen=True)
class Forms:
    """What is looked for, compiled; None for nothing."""

    pattern: re.Pattern[str] | None = None

    @classmethod
    def of(cls, values: Iterable[bytes]) -> Forms:
        """The forms of each of `values`."""
        found: set[str] = set()
        for value in values:
            usable = (f for f in _forms(value) if SHORTEST <= len(f) <= _LONGEST)
            found |= set(list(dict.fromkeys(islice(usable, 20 * _MOST)))[:_MOST])
        kept = sorted(found, key=len, reverse=True)
        return cls(re.compile("|".join(map(re.escape, kept))) if kept else None)

    def redact(self, text: str) -> str:
        """`text` with MARK for each value."""
        return self.pattern.sub(MARK, text) if self.pattern is not None else text

    def sink(self, emit: Sink) -> Sink:
        """A sink that hands on events without the values."""
        if self.pattern is None:
            return emit

        def clean(event: Event) -> None:
            emit(
                replace(
                    event,
                    name=self.redact(event.name),
                    text=self.redact(event.text),
                    subject=self.redact(event.subject),
                    advice=self.redact(event.advice),
                )
            )

        return clean


_known: set[str] = set()  # secrets of URLs that this process has to do with
_pattern: Forms = Forms()


def know(texts: Iterable[str]) -> None:
    """Keep the secrets of all URLs in `texts` out of what `visible` lets through from now on: other
    programs' words may hold them without the URL."""
    global _pattern
    found = {secret for text in texts if "://" in text for secret in secrets_of(text)} - _known
    if found:
        _known.update(found)
        _pattern = Forms.of(secret.encode() for secret in _known)


def know_settings() -> None:
    """Know the secrets in the URLs of this machine's indexes, mirrors and proxies, which environment
    variables name."""
    know(
        value
        for name, value in os.environ.items()
        if name.startswith(("ENVD_", "PIP_", "UV_", "CONDA_")) or name.lower().endswith("_proxy")
    )


def visible(text: str) -> str:
    """`text` as people may see it: no URL in it has a login or a token."""
    return _pattern.redact(hidden(text))


def visible_event(event: Event) -> Event:
    """An event likewise."""
    name, text = visible(event.name), visible(event.text)
    return event if (name, text) == (event.name, event.text) else replace(event, name=name, text=text)


def strings_in(value: object) -> Iterator[str]:
    """Every string in a record of records."""
    if isinstance(value, str):
        yield value
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from strings_in(getattr(value, field.name))
    elif isinstance(value, Mapping):
        yield from strings_in([*value.keys(), *value.values()])
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from strings_in(item)


def _forms(value: bytes) -> Iterable[str]:
    """From the likely to the unlikely."""
    text = value.decode("utf-8", "replace")
    yield from _texts(text.strip())
    yield from _texts(text)
    yield from _encoded(value)
    for line in text.splitlines():
        yield from _texts(line.strip())


def _texts(one: str) -> Iterable[str]:
    return (
        one,
        quote(one, safe=""),
        quote_plus(one),
        quote(one),
        json.dumps(one)[1:-1],
        json.dumps(one, ensure_ascii=False)[1:-1],
        one.replace("'", "'\\''"),
        one.replace("'", "'\"'\"'"),
        "".join(c if c.isalnum() else f"\\{c}" for c in one),
    )


def _encoded(value: bytes) -> Iterable[str]:
    for raw in dict.fromkeys([value, value.strip(), value.strip() + b"\n"]):
        for encoded in (base64.b64encode(raw), base64.urlsafe_b64encode(raw)):
            whole = encoded.decode("ascii")
            yield from (whole, whole.rstrip("="))
            for width in (76, 64):  # base64(1), openssl(1)
                if len(whole) > width:
                    yield from (whole[n : n + width] for n in range(0, len(whole), width))
        yield from (raw.hex(), raw.hex().upper())
    core = value.strip()
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            inner = encode(b"\0" * before + core).decode("ascii")
            start = (before * 8 + 5) // 6  # the first character without a bit of what is before
            end = (before + len(core)) * 8 // 6  # the first one with a bit of what follows
            if end - start >= 2 * SHORTEST:
                yield inner[start:end]


__all__ = ["MARK", "SHORTEST", "Forms", "know", "know_settings", "strings_in", "visible", "visible_event"]
