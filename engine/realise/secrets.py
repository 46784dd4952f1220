"""Secrets of build steps, `run(..., secrets=["NAME"])`: read on this machine, handed to that step.

A value is in no derivation, no key, no lock and no layer: the names alone are part of a step's
definition, so another value builds nothing anew. It reaches the sandbox through a pipe and becomes a
file of the sandbox's own memory, so it is on no disk, and gone with the step however that ends. What
shows events and errors gets them without the values (`Secrets.redact`): a help against accidents, no
wall against a step that wants to tell.

`--secret NAME=env:VAR|file:PATH` says where a value is, never what it is: command lines can be read by
every user of a machine (proc(5)). The greatest size is that of BuildKit's secrets.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from engine.core import redaction
from engine.core.derivation import Derivation
from engine.core.events import Event, Sink
from engine.errors import BuildError, EnvdError, UsageError, together
from grammar.environment import SECRET_NAME, Environment, Run

_LARGEST = 500 * 1024  # bytes
_FORMS = "write --secret NAME=env:VARIABLE or --secret NAME=file:PATH (NAME alone is NAME=env:NAME)"


@dataclass(frozen=True)
class Source:
    """Where the value of the secret `name` is: in the environment variable or the file `place`."""

    name: str
    kind: str  # "env" or "file"
    place: str


def parse(texts: Sequence[str]) -> tuple[Source, ...]:
    """What the --secret options say, each value there and of a size that can be handed on.

    Raises UsageError. Nothing that may be a value itself is repeated in it.
    """
    found: dict[str, Source] = {}
    for text in texts:
        name, equals, place = text.partition("=")
        kind, colon, where = place.partition(":") if equals else ("env", ":", name)
        if not re.fullmatch(SECRET_NAME, name):
            raise UsageError(f"--secret: the name is not one (letters, digits, '_', '.', '-'); {_FORMS}")
        if kind not in ("env", "file") or not colon or not where:
            raise UsageError(f"--secret {name}: say where the value is, not what it is; {_FORMS}")
        if name in found:
            raise UsageError(f"--secret {name}: given twice")
        found[name] = Source(name, kind, where)
        _read(found[name])
    return tuple(found.values())


def _read(source: Source) -> bytes:
    """The value. Raises UsageError when it is not there or is none."""
    about = f"--secret {source.name}"
    if source.kind == "env":
        given = os.environb.get(os.fsencode(source.place))
        if given is None:
            raise UsageError(f"the environment variable {source.place} is not set", subject=about)
        value, what = given, f"the environment variable {source.place}"
    else:
        path = Path(source.place).expanduser()
        what = str(path)
        try:
            # Asked before it is opened: whoever opens a pipe waits for its other end.
            if not stat.S_ISREG(path.stat().st_mode):
                raise UsageError(f"{what} is not a regular file", subject=about)
            with path.open("rb") as file:
                value = file.read(_LARGEST + 1)
        except ValueError as error:
            raise UsageError("the file's name holds a NUL", subject=about) from error
        except OSError as error:
            raise UsageError(f"cannot read {what}: {error.strerror}", subject=about) from error
    if not value:
        raise UsageError(f"{what} is empty", subject=about)
    if len(value) > _LARGEST:
        raise UsageError(f"{what} is larger than {_LARGEST // 1024} KiB", subject=about)
    return value


@dataclass(frozen=True)
class Secrets:
    """The values that were given, by name; nothing that prints an object prints them."""

    values: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    forms: redaction.Forms = field(default_factory=redaction.Forms, repr=False)

    def redact(self, text: str) -> str:
        """`text` without the values, in whatever usual form they stand there."""
        return self.forms.redact(text)

    def sink(self, emit: Sink) -> Sink:
        """A sink that hands events on without the values."""
        return self.forms.sink(emit)

    @contextmanager
    def out_of_errors(self) -> Iterator[None]:
        """Take the values out of every error that the block raises, and of those that caused it."""
        try:
            yield
        except Exception as error:
            _clean(error, self)
            raise

    def say_what_is_odd(self, environment: Environment, emit: Sink) -> None:
        """Tell of secrets that no step wants, and of those too short to be found in a log."""
        wanted = wanted_by(environment)
        for name, value in self.values.items():
            if name not in wanted:
                emit(
                    Event(
                        "message",
                        "secret",
                        text=f'warning: --secret {name}: no run(..., secrets=["{name}"]) asks for it',
                    )
                )
            elif len(value.strip()) < redaction.SHORTEST:
                emit(
                    Event(
                        "message",
                        "secret",
                        text=f"warning: --secret {name}: too short to be taken out of logs",
                    )
                )

    def check(self, derivations: Iterable[Derivation]) -> None:
        """Raise UsageError for every one of `derivations`, which are about to be built, that wants
        a secret that was not given."""
        problems = []
        for derivation in derivations:
            lacking = [n for n in names_of(derivation) if n not in self.values]
            if lacking:
                options = " ".join(f"--secret {n}=env:VARIABLE" for n in lacking)
                problems.append(
                    UsageError(
                        f"the step needs the secret{'s' * (len(lacking) > 1)} {', '.join(lacking)}",
                        position=derivation.where,
                        subject=derivation.name,
                        advice=f"give {options} (or =file:PATH)",
                    )
                )
        if problems:
            raise together(problems)


def read(sources: Sequence[Source]) -> Secrets:
    """The values. Raises UsageError for one that is not there."""
    values = {source.name: _read(source) for source in sources}
    return Secrets(values, redaction.Forms.of(values.values()))


def names_of(derivation: Derivation) -> tuple[str, ...]:
    """The secrets that a step is handed."""
    return tuple(str(name) for name in derivation.parameters.get("secrets", ()))


def wanted_by(environment: Environment) -> frozenset[str]:
    """The names of all secrets that a spec's steps want."""
    return frozenset(name for step in environment.steps if isinstance(step, Run) for name in step.secrets)


def _clean(error: BaseException, secrets: Secrets) -> None:
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, EnvdError):
            one.reword(secrets.redact)
        elif isinstance(one, Exception):
            one.args = tuple(secrets.redact(a) if isinstance(a, str) else a for a in one.args)
        if isinstance(one, BuildError):
            one.log = secrets.redact(one.log)
        todo += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]


NONE = Secrets()
