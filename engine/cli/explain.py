"""How an error ends a command: what is said, and the exit code."""

from __future__ import annotations

import errno
import os
import stat
import sys
import traceback
from pathlib import Path

from engine.core import paths as locate
from engine.errors import BuildError, EnvdError, exit_code
from grammar.errors import SpecError, together
from store.errors import StoreError
from store.errors import explained as of_store


def explained(error: BaseException) -> tuple[str, int]:
    """(message, exit code) of an error. One that is not meant for the user is a fault of ours."""
    known = _of_output(error) or known_error(error)
    return known or (f"error: internal error: {error!r}; run again with --debug", 1)


def traced(error: BaseException) -> tuple[str, int]:
    """The traceback of an error that is being handled, and its exit code."""
    known = known_error(error)
    return traceback.format_exc().rstrip(), 1 if known is None else known[1]


def known_error(error: BaseException) -> tuple[str, int] | None:
    """(message, exit code) of an error that is meant for the user, or None."""
    if isinstance(error, SpecError):
        return str(error.with_files()), exit_code(error)
    if isinstance(error, EnvdError):
        return _shown(error), exit_code(error)
    if isinstance(error, StoreError):
        return f"error: {error}", exit_code(error)
    if _is("sqlite3", "Error", error):
        return f"error: {locate.store()}/db.sqlite: the store's database fails: {error}", 1
    if isinstance(error, OSError):
        if (said := of_store(error, Path(locate.store()))) is not None:
            return f"error: {said}", 1
        where = f"{error.filename}: " if error.filename else ""
        advice = _ADVICE.get(error.errno or 0, "")
        return f"error: {where}{error.strerror or error}{advice}", 1
    return _of_machine(error)


def _shown(error: EnvdError) -> str:
    """The log of what failed, and each error: with its line and a caret, where it has a place."""
    told = [error.log.rstrip()] if isinstance(error, BuildError) and error.log else []
    placed = [SpecError(e.text, e.position) for e in error.errors if e.position is not None]
    if placed:
        told.append(str(together(placed).with_files()))
    told += [f"error: {e.text}" for e in error.errors if e.position is None]
    return "\n".join(told)


# What a machine lacks, and what to do.
_ADVICE = {
    errno.EMFILE: "; let this process open more files: `ulimit -n 1024`",
    errno.ENFILE: "; the whole machine has too many files open: close some programs",
    errno.ENOMEM: "; close some programs, or build with fewer --jobs",
    errno.EAGAIN: "; let this user have more processes (`ulimit -u`), or build with fewer --jobs",
    errno.ENOSPC: "; free some space there",
    errno.EDQUOT: "; free some of your quota there",
    errno.EIO: "; the disk fails: look at `dmesg`",
}


def _of_machine(error: BaseException) -> tuple[str, int] | None:
    """The message and exit code for what a machine or a network did, where nothing nearer to the cause
    has explained it; None for other errors."""
    if isinstance(error, MemoryError):
        return f"error: out of memory{_ADVICE[errno.ENOMEM]}", 1
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return f"error: no thread can be started{_ADVICE[errno.EAGAIN]}", 1
    if isinstance(error, ImportError) and _too_many_files():
        return f"error: Too many open files{_ADVICE[errno.EMFILE]}", 1
    known = (
        ("urllib3.exceptions", "HTTPError", "the network fails"),
        ("requests.exceptions", "RequestException", "the network fails"),
        ("http.client", "HTTPException", "the network fails"),
        ("docker.errors", "DockerException", "the Docker engine fails"),
        ("subprocess", "SubprocessError", "a command fails"),
        ("zlib", "error", "a file is damaged; run `envd store verify --repair`"),
        ("zstandard", "ZstdError", "a file is damaged; run `envd store verify --repair`"),
        ("tarfile", "TarError", "an archive is damaged"),
        ("zipfile", "BadZipFile", "an archive is damaged"),
        ("ssl", "SSLError", "the network fails"),
    )
    for module, name, what in known:
        if _is(module, name, error):
            from store.retry import reason

            return f"error: {what}: {reason(error)}", 1
    return None


def _is(module: str, name: str, error: BaseException) -> bool:
    """Whether an error is of a class of a module's; what was not imported has raised nothing."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(error, kind)


def _of_output(error: BaseException) -> tuple[str, int] | None:
    """The message and exit code where standard output's disk is full, not the store's; else None."""
    if not isinstance(error, OSError) or error.errno != errno.ENOSPC or error.filename:
        return None
    try:
        output = os.fstat(sys.stdout.fileno())
        full = os.fstatvfs(sys.stdout.fileno()).f_bavail == 0
    except (OSError, ValueError, AttributeError):
        return None
    if output.st_rdev == os.makedev(1, 7) or (stat.S_ISREG(output.st_mode) and full):
        return f"error: cannot write the output: {os.strerror(errno.ENOSPC)}", 1
    return None


def _too_many_files() -> bool:
    """Whether no file can be opened any more: then imports fail with other words."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno == errno.EMFILE
    return False
