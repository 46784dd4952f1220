"""Connections that can be broken from another thread, so that a download ends when it is told to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from store import retry
from store.libraries import urllib3

if TYPE_CHECKING:
    from urllib3 import PoolManager

    Manager = TypeVar("Manager", bound=PoolManager)

PATIENCE = 4
_open: WeakSet[Any] = WeakSet()


def stop() -> None:
    """Break every connection of `interruptible` managers, and end every pause before another attempt:
    who reads or waits goes on at once, with an error."""
    retry.wake()
    for connection in list(_open):
        if (opened := connection.sock) is not None:
            _break(opened)


def _opened(connection: Any) -> None:
    _open.add(connection)
    if connection.sock is not None:  # what may take long to connect is another thing than to send
        connection.sock.settimeout(retry.SILENCE)


def _break(opened: socket.socket) -> None:
    with suppress(OSError):  # not TLS's own way, which would wait for the other side
        socket.socket.shutdown(opened, socket.SHUT_RDWR)


@contextmanager
def _in_time(connection: Any) -> Iterator[None]:
    """Break the connection when the block, which reads an answer's head, lasts PATIENCE times the
    silence that it may keep: a byte now and then would make it last for ever. Raises TimeoutError."""
    opened: socket.socket | None = connection.sock
    # The socket's own limit is still that of sending; that of reading it gets in the block.
    silence = connection.timeout if isinstance(connection.timeout, int | float) else None
    if opened is None or silence is None:
        yield
        return
    broken = threading.Event()

    def end() -> None:
        broken.set()
        _break(opened)

    watch = threading.Timer(PATIENCE * silence, end)
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()
    if broken.is_set():  # where the head ended does not matter to http.client
        raise TimeoutError(f"no whole answer for {PATIENCE * silence:.0f} s")


def interruptible(manager: Manager) -> Manager:
    """`manager`, whose connections `stop` breaks."""

    class Plain(urllib3.connection.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            _opened(self)

        def getresponse(self) -> urllib3.response.HTTPResponse:  # type: ignore[override]
            with _in_time(self):
                return super().getresponse()

    class Secure(urllib3.connection.HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            _opened(self)

        def getresponse(self) -> urllib3.response.HTTPResponse:  # type: ignore[override]
            with _in_time(self):
                return super().getresponse()

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return manager
