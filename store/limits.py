"""How much of this machine foreign things may take: build steps, answers, archives.

One setting holds all: `ENVD_LIMITS`, or `--limit`, as "memory=8G,time=2h". What is not named there
has its default. No limit is part of any hash: they end what goes too far, and change nothing else.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache

from store.errors import TooLargeError

VARIABLE = "ENVD_LIMITS"
NONE = "none"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)", re.IGNORECASE)
_SIZES = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}  # powers of 1024
_SPANS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class LimitError(ValueError):
    """The text of a limit cannot be read. Says what is wrong and what to write."""


@dataclass(frozen=True)
class Share:
    """A part of what there is, from above 0 to 1."""

    part: float

    def of(self, whole: float) -> float:
        return self.part * whole


@dataclass(frozen=True)
class Limits:
    """Sizes are in bytes, times in seconds; infinity is no limit.

    Of one build step: `memory` (a share is of the machine's), `processes` (threads are counted
    too), `disk` that it writes (a share is of what is free), `time` it takes, `silence` (time
    without output), `log` (a line counts as 80 bytes at least).

    Of what comes from elsewhere: `manifest` (a registry's description of an image), `answer` (any
    other metadata, decompressed), `download` (a file of which nobody has said the size),
    `unpacked` (all that one archive holds), `entries` (how many files that is) and `ratio` (how many
    times its own size; an archive of less than `SMALL` when unpacked is not asked).
    """

    memory: float | Share = Share(0.9)
    processes: float = 16384
    disk: float | Share = Share(0.9)
    time: float = 4 * 3600
    silence: float = 3600
    log: float = 64 << 20
    manifest: float = 4 << 20
    answer: float = 256 << 20
    download: float = 64 << 30
    unpacked: float = 64 << 30
    entries: float = 2_000_000
    ratio: float = 250


SMALL = 1 << 30


def _size(text: str) -> float:
    match = _SIZE.fullmatch(text)
    if match is None or not (found := float(match[1]) * 1024 ** _SIZES[match[2].upper()]):
        raise LimitError("a size, such as 500M, 8G or none")
    return math.floor(found) or 1


def _size_or_share(text: str) -> float | Share:
    if text.endswith("%"):
        if re.fullmatch(r"\d+(\.\d+)?", text[:-1]) and 0 < float(text[:-1]) <= 100:
            return Share(float(text[:-1]) / 100)
        raise LimitError("a size or a share, such as 8G, 90% or none")
    return _size(text)


def _span(text: str) -> float:
    match = _SPAN.fullmatch(text)
    if match is None or not (found := float(match[1]) * _SPANS[match[2].lower()]):
        raise LimitError("a time, such as 90s, 30m, 4h or none")
    return found


def _count(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,18}", text) or not int(text):
        raise LimitError("a number, such as 1000, or none")
    return int(text)


_READERS: Mapping[str, Callable[[str], float | Share]] = {
    "memory": _size_or_share,
    "processes": _count,
    "disk": _size_or_share,
    "time": _span,
    "silence": _span,
    "log": _size,
    "manifest": _size,
    "answer": _size,
    "download": _size,
    "unpacked": _size,
    "entries": _count,
    "ratio": _count,
}
NAMES = tuple(field.name for field in fields(Limits))


@cache
def parse(text: str) -> Limits:
    """The limits that "memory=8G,time=2h" means; the last of a name counts. Raises LimitError."""
    found: dict[str, float | Share] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (part.strip() for part in item.partition("="))
        if name not in _READERS:
            raise LimitError(f"'{name}' is not a limit; the limits are {', '.join(NAMES)}")
        if not equals:
            raise LimitError(f"'{item}' says no value; write {name}=VALUE, or {name}=none")
        try:
            found[name] = math.inf if value.lower() == NONE else _READERS[name](value)
        except LimitError as error:
            raise LimitError(f"'{value}' is not a valid value of {name}: it is {error}") from None
    return Limits(**found)  # type: ignore[arg-type]


def current() -> Limits:
    """What is in force. Raises LimitError when ENVD_LIMITS cannot be read."""
    return parse(os.environ.get(VARIABLE, ""))


class Unpacking:
    """Counts what comes out of one archive. `packed` is its own size in bytes, 0 when that is not
    known. Raises TooLargeError as soon as it is too much."""

    def __init__(self, packed: int) -> None:
        self._limits = current()
        self._packed = packed
        self._size = self._entries = 0

    def entry(self, size: int) -> None:
        """Count one file of `size` bytes."""
        self._entries += 1
        if self._entries > self._limits.entries:
            raise TooLargeError(
                f"it holds more than {self._limits.entries:.0f} files; "
                f"{advice('entries', self._limits.entries)}"
            )
        self.bytes(size)

    def bytes(self, size: int) -> None:
        """Count `size` bytes."""
        self._size += size
        limits = self._limits
        if self._size > limits.unpacked:
            raise TooLargeError(
                f"it unpacks to more than {shown_size(limits.unpacked)}; "
                f"{advice('unpacked', limits.unpacked)}"
            )
        if self._packed and self._size > SMALL and self._size > limits.ratio * self._packed:
            raise TooLargeError(
                f"it unpacks to more than {limits.ratio:.0f} times its {shown_size(self._packed)}; "
                f"{advice('ratio', limits.ratio)}"
            )


def shown_size(size: float) -> str:
    """A size as a limit is written: "8G", "1.5M", "200"."""
    for unit in "TGMK":
        whole = 1024 ** _SIZES[unit]
        if size >= whole:
            return f"{size / whole:.4g}{unit}"
    return f"{size:.0f}"


def shown_span(seconds: float) -> str:
    """A time as a limit is written: "4h", "90s"."""
    for unit, whole in (("h", 3600), ("m", 60)):
        if seconds >= whole and seconds % whole == 0:
            return f"{seconds / whole:.0f}{unit}"
    return f"{seconds:.6g}s"


def advice(name: str, limit: float) -> str:
    """How to raise a limit: what an error about it ends with."""
    if name in ("time", "silence"):
        more = shown_span(2 * limit)
    elif name in ("processes", "entries", "ratio"):
        more = f"{2 * limit:.0f}"
    else:
        more = shown_size(2 * limit)
    return f"if that is right, allow more with `--limit {name}={more}` (or {VARIABLE})"
