"""What the functions of `envd` raise. One tree:

    Error                a build or a remote failed, or envd itself did
      UsageError         the input or the usage is wrong
        SpecError        … build.envd is: a mistake in it, with its place
        LockMismatch     … the lock does not fit, and may not be changed (locked=True)
      ResolveError       nothing fits what the spec asks for, or a source could not be asked
      FetchError         a source could not be fetched, or is not what the lock says
      BuildError         a builder failed; `log` has the end of what it printed
      DockerError        the Docker engine refused or could not be reached
      StoreError         the store is damaged, full or not ours to write
        RegistryError    a registry refused or could not be reached

They are classes of their own, and not the engine's: an `engine` that the program has itself stays it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: `message` says what, `subject` what it is about (a package, a
    derivation, an address; "" for nothing named), `advice` what to do ("" where nobody knows). `file`,
    `line` and `column` (from 1) are the place in the spec that asks for it; "", 0, 0 where there is
    none."""

    message: str
    subject: str = ""
    advice: str = ""
    file: str = ""
    line: int = 0
    column: int = 0


class Error(Exception):
    """Base. Its text is what the command would print; `exit_code` is what it would end with;
    `problems` are the single things that are wrong, one or several."""

    def __init__(
        self, text: str, *, exit_code: int = 1, log: str = "", problems: Sequence[Problem] = ()
    ) -> None:
        super().__init__(text)
        self.exit_code = exit_code
        self.log = log
        self.problems = tuple(problems) or (Problem(text),)


class UsageError(Error):
    """The input or the usage is wrong."""


class SpecError(UsageError):
    """A spec is wrong: its text names file, line and column."""


class LockMismatch(UsageError):  # noqa: N818 (it reads as the state that it is)
    """The lock does not fit the spec, and may not be changed."""


class ResolveError(Error):
    """Nothing fits what the spec asks for, or a source could not be asked."""


class FetchError(Error):
    """A source could not be fetched, or is not what the lock says."""


class BuildError(Error):
    """A builder failed. `log` is the end of what it printed."""


class DockerError(Error):
    """The Docker engine refused or could not be reached."""


class StoreError(Error):
    """The store is damaged, full, or not ours to write."""


class RegistryError(StoreError):
    """A registry refused or could not be reached."""


KINDS: dict[str, type[Error]] = {
    kind.__name__: kind
    for kind in (
        BuildError,
        DockerError,
        Error,
        FetchError,
        LockMismatch,
        RegistryError,
        ResolveError,
        SpecError,
        StoreError,
        UsageError,
    )
}
