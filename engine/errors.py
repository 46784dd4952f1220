"""The engine's exception tree. `exit_code` is what the process ends with."""

from __future__ import annotations


class EnvdError(Exception):
    """Base: one clear message for the user, no traceback."""

    exit_code = 1


class BuildError(EnvdError):
    """A builder failed. Carries the last lines of its log."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log

    @property
    def last_line(self) -> str:
        """The last line of the log that says something: what a program that failed says of it."""
        return next((line.strip() for line in reversed(self.log.splitlines()) if line.strip()), "")


class FetchError(EnvdError):
    """A source could not be fetched, or is not what the lock says."""


class ResolveError(EnvdError):
    """Nothing fits what the spec asks for, or a source could not be asked."""


class DockerError(EnvdError):
    """The Docker engine refused or could not be reached."""


class UsageError(EnvdError):
    """The input or the usage is wrong."""

    exit_code = 2


class LockMismatch(UsageError):
    """The lock does not fit the spec, and may not be changed (`--locked`)."""
