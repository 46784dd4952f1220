"""Being told to end: Ctrl-C, SIGTERM and SIGHUP all stop the command at once and leave nothing.

The main thread unwinds by an exception (`Interrupted`). What other threads wait for, connections
and commands, is ended by a watcher, which hears of the signal even while the main thread cannot
(signal.set_wakeup_fd). A second signal, or a clean-up that lasts too long, ends the process as it
is.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

from engine.core import paths as locate

EXIT_STATUS = 128 + signal.SIGINT  # of a command that one of these has ended, Ctrl-C or not
PATIENCE = 10.0  # seconds that cleaning up may take
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}

_received: list[int] = []


class Interrupted(KeyboardInterrupt):
    """A signal ended the command. `number` is which."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def received() -> int:
    """The signal that has ended this command, or 0."""
    return _received[0] if _received else 0


def words(number: int) -> str:
    """What is said when a signal has ended the command."""
    return f"envd: {_WORDS.get(signal.Signals(number), 'interrupted')}"


def install() -> None:
    """From now on these signals raise Interrupted in the main thread; those that are ignored
    (nohup) stay so."""
    if threading.current_thread() is not threading.main_thread():
        return
    wanted = [s for s in _SIGNALS if signal.getsignal(s) is not signal.SIG_IGN]
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    threading.Thread(target=_watch, args=(reader,), daemon=True, name="signals").start()
    for number in wanted:
        signal.signal(number, _raise)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)


def done() -> None:
    """All is done: a signal that comes now comes too late, and must not make a failure of it."""
    for number in _SIGNALS:
        if signal.getsignal(number) is _raise:
            signal.signal(number, signal.SIG_IGN)


def _raise(number: int, _: object) -> None:
    if _received:
        return  # one is enough: the watcher counts
    _received.append(number)
    raise Interrupted(number)


def _watch(reader: int) -> None:
    """Hears every signal's number as one byte."""
    while os.read(reader, 1)[0] not in _SIGNALS:
        continue
    alarm = threading.Timer(PATIENCE, leave, (EXIT_STATUS,))
    alarm.daemon = True
    alarm.start()
    _stop_everything()
    while os.read(reader, 1)[0] not in _SIGNALS:
        continue
    leave(EXIT_STATUS)


def _stop_everything() -> None:
    if (commands := sys.modules.get("engine.core.command")) is not None:  # else none was started
        commands.stop_everything()
    if (connections := sys.modules.get("store.connections")) is not None:  # else there are none
        with contextlib.suppress(Exception):
            connections.stop()


def leave(status: int) -> NoReturn:
    """End this process now: without waiting for its threads, but with what they have under way
    removed."""
    _stop_everything()
    _remove_scratch()
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)


def _remove_scratch() -> None:
    """Of threads that are left behind. Their names hold our process id."""
    with contextlib.suppress(Exception):
        for path in (Path(locate.store()) / "tmp").glob(f"*-{os.getpid()}-*"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
