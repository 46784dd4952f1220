"""One entry of the cache: what a build key gave, or what came of placing a layer upon others, signed.

What is signed is the whole of it, since a machine may push a layer on without ever seeing its bytes:
"envd realisation v1", a line feed, and the canonical JSON of the entry without its signatures, with the
salt of the namespace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.cache import keys
from engine.cache.keys import TrustedKey
from store.hashing import canonical
from store.model import GZIP_LAYER, TAR_LAYER, ZSTD_LAYER, Object

_CONTEXT = b"envd realisation v1\n"
_KEY = re.compile(r"(placed )?[0-9a-f]{64}")
_ID = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_KIND = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_MOST_BYTES = 1 << 50
_MOST_TEXT, _MOST_WARNINGS, _MOST_REFERENCES, _MOST_SIGNATURES = 1000, 50, 4096, 16
_PLACED = "placed "


@dataclass(frozen=True)
class Record:
    """`key` is a build key (64 hex digits), or "placed " and the hash of a placing; `kind` is that of
    the derivation, `object` what it gave, `milliseconds` how long building it took (0: unknown), `warnings`
    what is to be known of it. `signatures` are "NAME:BASE64" (`engine.cache.keys`)."""

    key: str
    kind: str
    object: Object
    milliseconds: int = 0
    warnings: tuple[str, ...] = ()
    signatures: tuple[str, ...] = ()

    @property
    def is_placing(self) -> bool:
        """Whether it says what came of placing a layer: nothing was built."""
        return self.key.startswith(_PLACED)

    def message(self, salt: str) -> bytes:
        """The bytes that are signed."""
        return _CONTEXT + canonical({"salt": salt, **self._unsigned()})

    def signer(self, trusted: Sequence[TrustedKey], salt: str) -> str | None:
        """The name of the trusted key that has signed it; None when none has."""
        return keys.signer(trusted, self.message(salt), self.signatures)

    def signed(self, signature: str) -> Record:
        """Another like it, with one signature more."""
        return replace(self, signatures=(*self.signatures, signature))

    def _unsigned(self) -> dict[str, Any]:
        made = self.object
        return {
            "key": self.key,
            "kind": self.kind,
            "milliseconds": self.milliseconds,
            "warnings": list(self.warnings),
            "object": {
                "id": made.id,
                "name": made.name,
                "diffId": made.diff_id,
                "digest": made.digest,
                "size": made.size,
                "tarSize": made.tar_size,
                "mediaType": made.media_type,
                "references": list(made.references),
            },
        }

    def as_dict(self) -> dict[str, Any]:
        """The record as JSON-ready data."""
        return {**self._unsigned(), "signatures": list(self.signatures)}


def signers(records: Iterable[Record]) -> list[str]:
    """The names that are said to have signed some of these; see `keys.names`."""
    return keys.names(s for r in records for s in r.signatures)


def parse(row: object) -> Record:
    """A record of foreign data. Raises ValueError for whatever is not as `Record.as_dict` writes it."""
    if not isinstance(row, Mapping) or not isinstance(row.get("object"), Mapping):
        raise ValueError("an entry is not an object")
    made = row["object"]
    return Record(
        _text(row, "key", _KEY),
        _text(row, "kind", _KIND),
        Object(
            id=_text(made, "id", _ID),
            name=_printable(made.get("name"), 200),
            diff_id=_text(made, "diffId", _DIGEST),
            digest=_text(made, "digest", _DIGEST),
            size=_count(made, "size"),
            tar_size=_count(made, "tarSize"),
            media_type=_media_type(made.get("mediaType")),
            references=tuple(_matching(x, _ID) for x in _rows(made, "references", _MOST_REFERENCES)),
        ),
        _count(row, "milliseconds"),
        tuple(_printable(x, _MOST_TEXT) for x in _rows(row, "warnings", _MOST_WARNINGS)),
        tuple(_printable(x, _MOST_TEXT) for x in _rows(row, "signatures", _MOST_SIGNATURES)),
    )


def _matching(value: object, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise ValueError(f"{str(value)[:80]!r} is not {pattern.pattern}")
    return value


def _text(row: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    return _matching(row.get(name), pattern)


def _printable(value: object, most: int) -> str:
    if not isinstance(value, str) or len(value) > most or not value.isprintable():
        raise ValueError(f"{str(value)[:80]!r} is no line of text")
    return value


def _count(row: Mapping[str, Any], name: str) -> int:
    value = row.get(name)
    if type(value) is not int or not 0 <= value <= _MOST_BYTES:
        raise ValueError(f"{name} is {str(value)[:80]!r}")
    return value


def _media_type(value: object) -> str:
    if value not in (GZIP_LAYER, ZSTD_LAYER, TAR_LAYER):
        raise ValueError(f"{str(value)[:80]!r} is no layer's media type")
    return str(value)


def _rows(row: Mapping[str, Any], name: str, most: int) -> Sequence[Any]:
    value = row.get(name)
    if not isinstance(value, list) or len(value) > most:
        raise ValueError(f"{name} is no list of at most {most}")
    return value
