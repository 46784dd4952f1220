"""How what a builder or a download raises is told: of which derivation it is, and where it is the disk's
fault."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.core.command import Group, LimitError
from engine.core.events import Sink, failed
from engine.errors import BuildError, EnvdError
from store import Store
from store.errors import LostError, disk_full, explained, full


@contextmanager
def without_scratch(scratch: Path) -> Iterator[None]:
    """Errors of builders speak of paths in the layer, not of where it is being made."""
    try:
        yield
    except EnvdError as error:
        own = re.compile(re.escape(str(scratch)) + r"(/upper|/root|/merged)?")
        error.reword(lambda text: own.sub("", text))
        raise


class failure_events:  # noqa: N801 - reads as a with statement's verb
    """Emit "failed" for what its block raises, and make every error name its derivation."""

    def __init__(self, emit: Sink, name: str, drv_id: str, group: Group, store: Store) -> None:
        self._emit, self._name, self._id, self._group = emit, name, drv_id, group
        self._store = store

    def __enter__(self) -> None:
        if self._group.cancelled:
            raise BuildError("cancelled", subject=self._name)

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is None or self._group.cancelled or isinstance(error, LostError):
            return  # what was lost is built next: nothing has failed
        named = self._named(error)
        self._emit(failed(self._name, self._id, named))
        if isinstance(error, Exception) and named is not error:
            raise named from error

    def _named(self, error: BaseException) -> EnvdError:
        """The error as it is told: at the place in the spec, where there is one."""
        told = self._told(error)
        log = error.log if isinstance(error, BuildError) else ""
        if not isinstance(error, EnvdError):
            return BuildError(told or str(error) or type(error).__name__, subject=self._name)
        if told is None and self._name in error.text:
            return error
        told = told or error.text
        return BuildError(
            told, log, position=error.position, subject="" if self._name in told else self._name
        )

    def _told(self, error: BaseException) -> str | None:
        """What a full disk, or one that cannot be written, is told as; None for other errors.

        A command's own words about it are in its log.
        """
        if isinstance(error, OSError):
            return explained(error, self._store.path)
        cause = error.__cause__
        while cause is not None:  # a builder may have blamed its input for it
            if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
                return explained(cause, self._store.path)
            cause = cause.__cause__
        if (
            isinstance(error, BuildError)
            and not isinstance(error, LimitError)
            and (os.strerror(errno.ENOSPC) in error.log or disk_full(self._store.path))
        ):
            return f"{error.text}: {full(self._store.path)}"
        return None
