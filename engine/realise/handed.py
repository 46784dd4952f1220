"""Handing a step what must be on no disk: through pipes that its sandbox reads when it starts."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from engine.realise.sandbox import Bind

PLACE = "/run/envd/handed"  # where the sandbox sees the pipes
_POLL = 0.002  # seconds between two looks for a reader


@contextmanager
def handed(directory: Path, values: Mapping[str, bytes]) -> Iterator[tuple[Bind, ...]]:
    """Pipes below `directory`, each with one of `values` for the first who reads it; what the
    sandbox has to see. They are gone after the block, and so is what nobody has read."""
    if not values:
        yield ()
        return
    place = directory / "handed"
    for path in (place, *sorted({(place / name).parent for name in values} - {place})):
        path.mkdir()
        # Only `directory` is private: within a user namespace its root may be no owner of these.
        path.chmod(0o755)
    for name in values:
        os.mkfifo(place / name)
        (place / name).chmod(0o644)
    over = threading.Event()
    thread = threading.Thread(target=_serve, args=(place, dict(values), over), daemon=True)
    thread.start()
    try:
        yield (Bind(place, PLACE),)
    finally:
        over.set()
        thread.join()
        for name in values:
            (place / name).unlink()


def _serve(place: Path, values: dict[str, bytes], over: threading.Event) -> None:
    while values and not over.is_set():
        for name in list(values):
            try:
                descriptor = os.open(place / name, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:  # nobody reads yet
                    return
                continue
            with os.fdopen(descriptor, "wb", buffering=0) as pipe:
                _send(pipe.fileno(), values.pop(name), over)
        over.wait(_POLL)


def _send(descriptor: int, value: bytes, over: threading.Event) -> None:
    left = memoryview(value)
    while left and not over.is_set():
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            over.wait(_POLL)
        except OSError:  # the reader is gone: its own end says why
            return
