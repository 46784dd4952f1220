"""Connections that can be broken from another thread, so that a download ends when it is told to."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

if TYPE_CHECKING:
    from urllib3 import PoolManager

    Manager = TypeVar("Manager", bound=PoolManager)

_open: WeakSet[Any] = WeakSet()


def stop() -> None:
    """Break every connection of `interruptible` managers: who reads from it goes on at once, with
    an error."""
    for connection in list(_open):
        if (opened := connection.sock) is not None:
            with suppress(OSError):  # not TLS's own way, which would wait for the other side
                socket.socket.shutdown(opened, socket.SHUT_RDWR)


def interruptible(manager: Manager) -> Manager:
    """`manager`, whose connections `stop` breaks."""
    import urllib3

    class Plain(urllib3.connection.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            _open.add(self)

    class Secure(urllib3.connection.HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            _open.add(self)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return manager
