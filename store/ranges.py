"""A large blob through several connections side by side, in order: many a server gives each of them only
so much a second.

Parts are asked for by ranges (RFC 9110, section 14) ahead of who reads; so the reader hashes and keeps
what comes as if it came at once, and goes on where it stopped as with one connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager

from store.errors import BrokenOffError
from store.threads import workers

LARGE = 32 << 20  # bytes of a blob, or of what is left of it, that comes so
PART = 4 << 20  # bytes of a part; so much is held for each connection
CONNECTIONS = 3  # beside the first

# Opens the bytes from a position on, so many: where they begin, and the bytes; None when it is gone.
Opener = Callable[[int, int], AbstractContextManager[tuple[int, Iterator[bytes]] | None]]


def continued(first: Iterator[bytes], opener: Opener, offset: int, size: int) -> Iterator[bytes]:
    """The bytes of a blob from `offset` to its end at `size`, of which the server gives parts; `first`
    are those of the first PART. Raises RegistryError."""
    with workers(CONNECTIONS) as pool:
        starts = iter(range(offset + PART, size, PART))
        ahead: deque[Future[bytes]] = deque()

        def begin() -> None:
            if (start := next(starts, None)) is not None:
                ahead.append(pool.submit(_part, opener, start, min(PART, size - start)))

        for _ in range(CONNECTIONS):
            begin()
        yield from first
        while ahead:
            part = ahead.popleft().result()
            begin()
            yield part


def _part(opener: Opener, start: int, size: int) -> bytes:
    found = bytearray()
    with opener(start, size) as opened:
        if opened is None or opened[0] != start:
            raise BrokenOffError(f"the server no longer has byte {start} of it")
        for piece in opened[1]:
            found += piece
            if len(found) > size:
                break
    if len(found) != size:
        raise BrokenOffError(f"{len(found)} bytes came of a part of {size}")
    return bytes(found)
