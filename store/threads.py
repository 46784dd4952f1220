"""Threads that share one job, and end with it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def workers(count: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """A pool of at most `count` threads. When the block fails, nothing more is begun, and what is
    under way is not waited for: it may hang in the network."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
