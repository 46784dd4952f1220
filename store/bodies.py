"""Reading what a server answers: in bounded memory, and not for ever."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from store.compression import inflated
from store.errors import TooLargeError
from store.limits import advice, shown_size
from store.retry import TransientError

_PIECE = 1 << 18
# A server that sends less is as good as silent: what git calls http.lowSpeedLimit and lowSpeedTime.
SLOW, SLOWEST = 60.0, 10 << 10  # seconds, and the bytes that come in them at least


class Pace:
    """Watches how fast a body comes in. Counts only the time that the server is waited for."""

    def __init__(self) -> None:
        self._seconds, self._bytes = 0.0, 0

    def add(self, size: int, seconds: float) -> None:
        """`size` bytes came after `seconds`. Raises TransientError when that is too slow."""
        self._seconds += seconds
        self._bytes += size
        if self._seconds < SLOW:
            return
        if self._bytes < SLOWEST:
            raise TransientError(f"only {self._bytes} bytes came within {self._seconds:.0f} s")
        self._seconds, self._bytes = 0.0, 0


def pieces(raw: Any) -> Iterator[bytes]:
    """The body of an answer of urllib3's as it comes in, so that whoever reads it can stop soon.

    Raises TransientError, urllib3's errors.
    """
    pace = Pace()
    while True:
        begin = time.monotonic()
        piece = raw.read1(_PIECE, decode_content=False)
        if not piece:
            return
        yield piece
        pace.add(len(piece), time.monotonic() - begin)


def decoded(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """A body without the compression that was on its way, its Content-Encoding, in bounded pieces.

    Raises TransientError when it is damaged, or compressed in a way that we did not ask for.
    """
    names = [name for name in (n.strip().lower() for n in encoding.split(",")) if name != "identity"]
    found = iter(chunks)
    for name in reversed([n for n in names if n]):
        if name in ("gzip", "x-gzip"):
            found = inflated(found)
        elif name == "deflate":
            found = _deflated(found)
        else:
            raise TransientError(f"it is compressed with '{name[:20]}', which nobody asked for")
    try:
        yield from found
    except (zlib.error, EOFError) as error:
        raise TransientError(f"it cannot be decompressed: {error}") from error


def _deflated(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """RFC 9110, section 8.4.1.2: a zlib stream; some servers send it bare."""
    first = next(chunks, b"")
    is_zlib = len(first) > 1 and first[0] & 15 == 8 and int.from_bytes(first[:2], "big") % 31 == 0
    return inflated(chain([first], chunks), zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)


def whole(chunks: Iterable[bytes], name: str, limit: float) -> bytes:
    """All of a body, which may have `limit` bytes, the limit called `name`. Raises TooLargeError."""
    found = bytearray()
    for chunk in chunks:
        found += chunk
        if len(found) > limit:
            raise TooLargeError(f"the answer is larger than {shown_size(limit)}; {advice(name, limit)}")
    return bytes(found)
