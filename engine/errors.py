"""Every error that envd tells its user of: one tree in three rooms.

    Exception
    ├── grammar.errors.SpecError     a spec is wrong; always with a place                    ends with 2
    ├── store.errors.StoreError      the store, or a registry that it is copied to or from   ends with 1
    │   ├── CorruptError                 stored bytes do not match their address
    │   │   └── TooLargeError                something from elsewhere is larger than it may be
    │   ├── LostError                    a layer whose bytes were elsewhere cannot be had any more
    │   ├── UnstorableError              a file that cannot be in a layer
    │   ├── DamagedError                 the database cannot be trusted
    │   │   └── UnmadeError                  there is nothing in it
    │   ├── ReadOnlyError                this process cannot write it
    │   ├── SettingError                 a variable of the environment cannot be used        ends with 2
    │   └── RegistryError                a registry refused, or answered something unusable
    │       ├── BrokenOffError               the connection broke while a blob was read
    │       └── DeniedError                  it refuses access to a repository
    └── EnvdError                    everything else                                         ends with 1
        ├── ResolveError                 nothing fits what a spec asks for, or a source cannot be asked
        │   ├── MemoryHeldError              what servers answer takes too much memory
        │   ├── MissingError                 a file to pin is not there
        │   └── NoVersionError               a package has no such version
        ├── FetchError                   a source could not be fetched, or is not what the lock says
        │   └── OfflineError                 the network is needed, and must not be used
        ├── BuildError                   a builder failed; has the end of its log
        │   ├── CancelledError               it was stopped
        │   ├── LimitError                   it went beyond a limit
        │   └── StepChangedError             a step gave other bytes than are pinned
        ├── DockerError                  the Docker engine refused or could not be reached
        └── UsageError                   the input or the usage is wrong                     ends with 2
            └── LockMismatch                 the lock does not fit the spec, and may not be changed

`grammar` and `store` know nothing of this package, so theirs share no base with ours; what of
theirs ends with 2 says so itself.

What an error says is in fields, and nothing reads them back out of its text:

- `message`: what is wrong, a clause without a full stop;
- `position`: the place in the spec (or in a file that it names) that asks for it; None: unknown;
- `subject`: what it is about: a package, a derivation, a file, an address;
- `advice`: what to do, a clause.

`text` makes "SUBJECT: MESSAGE; ADVICE" of them, the command line puts the place and its line with a
caret to that. Several independent errors are one error whose `errors` are several (`together`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

TYPE_CHECKING = False  # typing costs start-up, and so does the grammar
if TYPE_CHECKING:
    from typing import Self

    from grammar.environment import Position


class EnvdError(Exception):
    """Base: one clear message for the user, no traceback. `exit_code` is what the process ends with."""

    exit_code = 1

    def __init__(
        self, message: str, *, position: Position | None = None, subject: str = "", advice: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        # a default's place is none: nobody has written it
        self.position = position if position is not None and position.line else None
        self.subject = subject
        self.advice = advice
        self._several: tuple[EnvdError, ...] = ()

    @property
    def errors(self) -> tuple[EnvdError, ...]:
        """The single errors: this one, or those that `together` made one of. It stands for the first
        of these."""
        return self._several or (self,)

    @property
    def text(self) -> str:
        """What it says, without its place. A subject that the message begins with or quotes as a word
        ('…') is not said twice."""
        subject, message = self.subject, self.message
        named = not subject or message.startswith(f"{subject} ") or f" '{subject}'" in f" {message}"
        told = message if named else f"{subject}: {message}"
        return f"{told}; {self.advice}" if self.advice else told

    def __str__(self) -> str:
        if self._several:
            return "\n".join(map(str, self._several))
        return self.text if self.position is None else f"{self.position}: {self.text}"

    def at(self, position: Position | None) -> Self:
        """Another like it at `position`, unless it knows its place: to be raised from this one."""
        placed = position if position is not None and position.line else None
        return self._like(
            position=self.position or placed, _several=tuple(e.at(position) for e in self._several)
        )

    def advised(self, advice: str) -> Self:
        """Another like it that says what else to do. To be raised from this one."""
        return self._like(
            advice=f"{self.advice}; {advice}" if self.advice else advice,
            _several=tuple(e.advised(advice) for e in self._several),
        )

    def _like(self, **changed: object) -> Self:
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__, **changed)
        other.args = self.args
        return other

    def reword(self, change: Callable[[str], str]) -> None:
        """Change every text of it but a log: a secret has to go, say."""
        for error in dict.fromkeys((self, *self.errors)):
            error.message, error.subject = change(error.message), change(error.subject)
            error.advice = change(error.advice)
            error.args = (error.message,)


class BuildError(EnvdError):
    """A builder failed. `log` has the last lines of what it wrote."""

    def __init__(
        self,
        message: str,
        log: str = "",
        *,
        position: Position | None = None,
        subject: str = "",
        advice: str = "",
    ) -> None:
        super().__init__(message, position=position, subject=subject, advice=advice)
        self.log = log

    @property
    def last_line(self) -> str:
        """The last line of the log that says something: what a program that failed says of it."""
        return next((line.strip() for line in reversed(self.log.splitlines()) if line.strip()), "")


class FetchError(EnvdError):
    """A source could not be fetched, or is not what the lock says."""


class OfflineError(FetchError):
    """The network is needed, and must not be used (`--offline`)."""


class ResolveError(EnvdError):
    """Nothing fits what the spec asks for, or a source could not be asked."""


class DockerError(EnvdError):
    """The Docker engine refused or could not be reached."""


class UsageError(EnvdError):
    """The input or the usage is wrong."""

    exit_code = 2


class LockMismatch(UsageError):
    """The lock does not fit the spec, and may not be changed (`--locked`)."""


def together(errors: Iterable[EnvdError]) -> EnvdError:
    """One error for all of `errors` (at least one): by place, each once, those without a place last.
    What is said with a place and without one is said with it. One of several is a UsageError when all
    is the input's fault, else a ResolveError."""
    single = [one for error in errors for one in error.errors]
    placed = {(one.position, one.text): one for one in single if one.position is not None}
    said = {text for _, text in placed}
    others = {one.text: one for one in single if one.position is None and one.text not in said}
    found = [placed[key] for key in sorted(placed, key=lambda key: key[0])] + [*others.values()]
    if len(found) == 1:
        return found[0]
    first, usage = found[0], all(isinstance(one, UsageError) for one in found)
    whole = (UsageError if usage else ResolveError)(
        first.message, position=first.position, subject=first.subject, advice=first.advice
    )
    whole._several = tuple(found)
    whole.__cause__ = ExceptionGroup("each of them", found)  # for --debug
    return whole


def exit_code(error: BaseException) -> int:
    """What the process ends with: 2 when the input or the usage is wrong, else 1."""
    return int(getattr(error, "exit_code", 1))
