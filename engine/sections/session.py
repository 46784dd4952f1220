"""`Session`: what one resolution has in hand, for every section of a lock.

It opens apt once, and only when a section needs it; so the base's system, and its archives.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from engine.core.events import Event, Sink
from engine.ecosystems.cuda import apt as cuda_apt
from engine.ecosystems.debian import apt, system
from engine.ecosystems.debian.apt import Apt
from engine.ecosystems.debian.system import Archives
from engine.ecosystems.images import system as image_system
from engine.ecosystems.python import chosen as chosen_python
from engine.ecosystems.python.target import Target
from engine.errors import EnvdError, ResolveError
from engine.lock.model import Lock, LockedBase
from engine.lock.packages import LockedPackage
from engine.sections import pythons
from engine.sections.section import Section
from grammar.environment import Cuda, Environment, Request

_CUDA_ADVICE = "check ENVD_CUDA_APT_REPO, its key, and the network"


class Session:
    """One resolution of `environment`; `sections` are all that take part in it. `cache` is
    STORE/cache."""

    def __init__(
        self, environment: Environment, cache: Path, emit: Sink, sections: Sequence[Section]
    ) -> None:
        self.environment = environment
        self.cache = cache
        self.store = cache.parent
        self.emit = emit
        self.sections = sections
        self.base: LockedBase | None = None  # once it is known
        self._system: system.System | None = None
        self._stack = ExitStack()
        self._apt: apt.Apt | None = None
        self._archives: system.Archives | None = None
        self._nvidia: tuple[cuda_apt.Repository, apt.Apt] | None = None
        self.lacking: EnvdError | None = None  # why nothing can be asked of the base's archives

    def __enter__(self) -> Session:
        return self

    def log(self, text: str) -> None:
        """Say what takes a while."""
        kind = "message" if text.startswith("warning: ") else "log"
        self.emit(Event(kind, "lock", text=text))

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def system(self) -> system.System:
        if self._system is None:
            if not self.environment.base.image:
                self._system = system.bootstrapped(self.environment)
            else:
                if self.lacking is not None:
                    raise self.lacking
                assert self.base is not None
                self._system = image_system.of_image(self.environment, self.base, self.cache, self.log)
        return self._system

    @property
    def archives(self) -> Archives:
        """Where the base's .debs come from. Raises ResolveError."""
        if self._archives is None:
            self._archives = self.system.archives or system.archives(self.environment, self.cache)
        return self._archives

    @property
    def apt(self) -> Apt:
        if self.lacking is not None:
            raise self.lacking
        if self._apt is None:
            system.refuse_debs((Request("packages"),), self.system, self.environment.base)
            lines = list(self.archives.sources)
            wanted = self.environment.cuda
            if wanted is not None and wanted.source == "apt":
                lines.append(self.nvidia(wanted)[0].line)
            self._apt = self._opened(lines)
        return self._apt

    def _opened(self, lines: list[str]) -> Apt:
        found = self.archives
        return self._stack.enter_context(apt.open_apt(lines, found.keyring, self.cache, self.log, found.keys))

    def nvidia(self, wanted: Cuda) -> tuple[cuda_apt.Repository, Apt]:
        """NVIDIA's repository, by itself: what is wrong with it is said where CUDA is asked for."""
        if self._nvidia is None:
            if not self.system.apt:
                raise ResolveError(
                    f'the base {self.system.title} has no apt, which install.cuda(source="apt") needs',
                    position=wanted.position,
                )
            repository = cuda_apt.repository(wanted, self.system.os, self.cache)
            try:
                lists = self._stack.enter_context(
                    apt.open_apt([repository.line], "", self.cache, self.log, advice=_CUDA_ADVICE)
                )
            except ResolveError as error:
                raise ResolveError(
                    error.message, position=wanted.position, subject=repository.title, advice=error.advice
                ) from error
            self._nvidia = repository, lists
        return self._nvidia

    def target(self, lock: Lock) -> Target:
        """What wheels are for; the interpreter's whole version is its package's."""
        python = lock.python or self.system.python
        version = chosen_python.python_version(lock, python)
        full = re.match(rf"{re.escape(python)}\.\d+", version)
        glibc = self.glibc(lock)
        return Target(python, glibc, full[0] if full else "", "" if glibc else self.system.musl)

    def glibc(self, lock: Lock) -> str:
        return system.version_of(lock.base.packages, "libc6") or self.system.glibc

    def python(self, lock: Lock) -> str:
        """The target's Python, once base and apt are known."""
        base, found = self.environment.base, chosen_python.python_of(self.environment)
        if found is not None and found.source != "distribution":
            return found.series
        if base.image:
            wanted = found is not None or pythons.wanted(self.environment)
            added = system.version_of(lock["apt"], "python3")
            jupyter = self.environment.jupyter
            if jupyter and not (added or self.system.python or pythons.in_conda(self.environment)):
                raise ResolveError(
                    f"config.jupyter needs a Python, and {self.system.title} "
                    "has none: write install.python()",
                    position=jupyter.position,
                )
            return system.python_of(base, self.system, added) if wanted else ""
        if found is None:
            return ""
        return system.version_of((*lock.base.packages, *lock["apt"]), "python3") or found.series

    def status(self, lock: Lock, added: tuple[LockedPackage, ...] = ()) -> str:
        """dpkg's status of the base with `added` upon it."""
        own = self.system.status
        if own is None:
            return apt.installed_status(self.apt, (*lock.base.packages, *added))
        return system.status_with(own, added, apt.installed_status(self.apt, added))
