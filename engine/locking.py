"""`Environment` -> `Lock`: resolve what changed, keep what still fits.

Each section of a lock records the request strings that it was resolved from. A section whose
requests are the same is kept as it is, so that adding an extension never moves a wheel.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine import languages, lock_check, lock_rows
from engine.build import dev
from engine.build.services import packages_for_services
from engine.build.shell import packages_for_shell
from engine.errors import EnvdError, FetchError, ResolveError, UsageError
from engine.events import Event, Sink
from engine.fetch import shown
from engine.located import located
from engine.lock import Lock, LockedBase, LockedPackage
from engine.resolve import apt, cuda, cuda_apt, debian, image_system, pypi, system, tools, web
from engine.resolve import languages as by_language
from engine.resolve.apt import Apt
from engine.resolve.system import Archives
from engine.resolve.target import Target
from engine.resolve.wanted import Wanted
from engine.urls import hidden
from grammar.environment import Cuda, Environment, Position, Request

# Dependencies between sections: when the one on the right moves, the left is resolved again.
_FOLLOWS = {
    "apt": ("base",), "python": ("base",), "cuda": ("base",), "conda": (), "vscode": (),
    "dev": ("base", "apt"), "tools": (), "r": ("base",), "julia": (), "rstudio": ("base",),
    "conda_wheels": ("base", "conda"), "files": (), "images": (),
}
# Sections that mean nothing when the one on the right could not be resolved.
_NEEDS = {"dev": ("apt",), "conda_wheels": ("conda",)}
# Section name in `requests` -> field of Lock.
_FIELDS = {
    "apt": "apt", "python": "wheels", "conda": "conda", "cuda": "cuda", "vscode": "vscode",
    "dev": "dev", "tools": "tools", "r": "r", "julia": "julia", "rstudio": "rstudio",
    "conda_wheels": "conda_wheels", "files": "files", "images": "images",
}


def _texts(requests: tuple[Request, ...]) -> tuple[str, ...]:
    return tuple(sorted({r.text for r in requests}))


def wants_services(environment: Environment) -> bool:
    """Whether something has to be started with the container."""
    return bool(
        environment.jupyter or environment.daemons or environment.init
        or environment.rstudio_server
    )


def apt_requests(environment: Environment) -> tuple[Request, ...]:
    """The user's apt packages, and those that the shell, services and CUDA from apt need."""
    names = {r.text for r in environment.apt_packages}
    implied = [*packages_for_shell(environment.shell), *tools.apt_packages(environment)]
    implied += languages.packages_for_r(environment)
    if wants_services(environment):
        implied += packages_for_services()
    return environment.apt_packages + tuple(
        Request(name) for name in dict.fromkeys(implied) if name not in names
    ) + tuple(r for r in _cuda_requests(environment) if r.text not in {*names, *implied})


def _cuda_requests(environment: Environment) -> tuple[Request, ...]:
    """What CUDA from apt is asked for as, in the names that every release has."""
    wanted = environment.cuda
    if wanted is None or wanted.source != "apt":
        return ()
    return tuple(Request(name, wanted.position) for name in cuda_apt.packages(wanted))


def python_wanted(environment: Environment) -> Wanted:
    """What the distribution's Python gets: the user's Python packages, unless conda's is the only
    Python there is."""
    return Wanted() if _in_conda(environment) else _wanted(environment)


def conda_wanted(environment: Environment) -> Wanted:
    """What conda's Python gets: an env_file's `pip:`, and all when it is the only Python."""
    if _in_conda(environment):
        wanted = _wanted(environment)
        return replace(wanted, requests=(*environment.conda_pip, *wanted.requests))
    return Wanted(
        environment.conda_pip, options=environment.python_options, index=environment.pip_index
    )


def _in_conda(environment: Environment) -> bool:
    """Whether conda's Python is the environment's: `install.conda` says so, or there is no other."""
    python = tools.python_of(environment)
    if python is not None:
        return python.source == "conda"
    return bool(tools.conda_requests(environment))


def _wanted(environment: Environment) -> Wanted:
    """The user's Python packages, with pip, and Jupyter when it is configured but not named."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    wanted = Wanted(
        environment.python_packages, environment.python_inputs, environment.python_constraints,
        environment.python_options, environment.pip_index,
    )
    if not tools.wants_python(environment) and not wanted and not (
        environment.jupyter and _in_conda(environment)
    ):
        return Wanted()
    requests = wanted.requests
    names = {canonicalize_name(Requirement(r.text).name) for r in requests}
    if environment.jupyter and not names & {"jupyter", "jupyterlab", "notebook"}:
        requests += (Request("jupyterlab"),)
    if "pip" not in names and not tools.brings_pip(environment):
        requests += (Request("pip"),)
    return replace(wanted, requests=requests)


def requests_of(environment: Environment) -> dict[str, tuple[str, ...]]:
    """The request strings of every section, as a lock records them."""
    base = environment.base
    base_requests = [f"image={base.image}"] if base.image else [f"os={base.os}"]
    base_requests.append(f"language={base.language}")
    if environment.apt_source:
        base_requests.append(f"apt_source={hidden(environment.apt_source)}")
    for name, content in debian.own_keys(environment).items():
        base_requests.append(f"apt_key={name} sha256:{hashlib.sha256(content).hexdigest()}")
    python = python_wanted(environment).texts()
    if python:
        python += tuple(tools.python_facts(environment))
    conda = list(_texts(tools.conda_requests(environment)))
    if conda:
        conda += [f"channel={shown(c)}" for c in environment.conda_channels]
    cuda: list[str] = []
    if environment.cuda is not None:
        wanted = environment.cuda
        cuda = [f"version={wanted.version}", f"source={wanted.source}"]
        if wanted.cudnn:
            cuda.append(f"cudnn={wanted.cudnn}")
        cuda += [f"component={c}" for c in sorted(wanted.components)]
    found = {
        "base": tuple(base_requests),
        "apt": _texts(apt_requests(environment)),
        "python": python,
        "conda": tuple(conda),
        "conda_wheels": conda_wanted(environment).texts(),
        "cuda": tuple(cuda),
        "vscode": _texts(environment.vscode_extensions),
        "dev": dev.packages_for(environment) if dev.wanted(environment) else (),
        "tools": tools.requests(environment),
        "includes": web.include_requests(environment),
        "files": web.file_requests(environment),
        "images": web.image_requests(environment),
    }
    found.update(languages.requests(environment))
    return {name: texts for name, texts in found.items() if texts}


def settled(environment: Environment, lock: Lock | None) -> Environment:
    """`environment` with CUDA from where `lock` has it, when it may come from either source."""
    if environment.cuda is None or environment.cuda.source != "auto" or lock is None:
        return environment
    had = lock.requests.get("cuda", ())
    source = next((t.removeprefix("source=") for t in had if t.startswith("source=")), "auto")
    return replace(environment, cuda=replace(environment.cuda, source=source))


def misfits(lock: Lock, requests: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Sections of the lock that do not fit `requests`, each with what exactly differs.

    What `envd up` has added is no misfit of a plain build.
    """
    found: dict[str, str] = {}
    for section in sorted({*lock.requests, *requests}):
        had, wants = lock.requests.get(section, ()), requests.get(section, ())
        if had == wants or (section == "dev" and not wants):
            continue
        added = [f"+{text}" for text in wants if text not in had]
        removed = [f"-{text}" for text in had if text not in wants]
        found[section] = " ".join(added + removed) or "order changed"
    return found


def outdated(
    lock: Lock, environment: Environment, requests: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    """Sections of the lock to resolve anew, each with the reason: it does not fit `requests`, or
    pins nothing for one of them, as a faulty lock of an older envd's."""
    found = misfits(lock, requests)
    for section, texts in _unpinned(lock, environment).items():
        if section in requests:
            found.setdefault(section, f"nothing pinned for {' '.join(texts)}")
    return found


# What envd asks for by itself since a later version: an older lock without it holds what it held.
_SINCE = {"apt": {tools.DISTUTILS}, "dev": set(dev.EDITORS.values())}


def older(lock: Lock, requests: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Sections that lack only what an older envd did not ask for, each with what that is: such a
    lock can be used as it is."""
    found = {}
    for section, since in _SINCE.items():
        had, wants = set(lock.requests.get(section, ())), set(requests.get(section, ()))
        if had < wants and wants - had <= since and lock.provided is None:
            found[section] = " ".join(sorted(wants - had))
    return found


def _unpinned(lock: Lock, environment: Environment) -> dict[str, tuple[str, ...]]:
    implied = [
        r.text for r in apt_requests(environment)
        if not r.position.line and r.text != tools.DISTUTILS
    ]
    return lock_check.unpinned(lock, implied)


class _Session:
    """One resolution: opens apt once, and only when a section needs it."""

    def __init__(self, environment: Environment, cache: Path, emit: Sink) -> None:
        self.environment = environment
        self.cache = cache
        self.emit = emit
        self.base: LockedBase | None = None  # once it is known
        self._system: system.System | None = None
        self._stack = ExitStack()
        self._apt: apt.Apt | None = None
        self._archives: system.Archives | None = None
        self._nvidia: tuple[cuda_apt.Repository, apt.Apt] | None = None
        self.lacking: EnvdError | None = None  # why nothing can be asked of the base's archives

    def __enter__(self) -> _Session:
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
                self._system = image_system.of_image(
                    self.environment, self.base, self.cache, self.log
                )
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
        return self._stack.enter_context(
            apt.open_apt(lines, found.keyring, self.cache, self.log, found.keys)
        )

    def nvidia(self, wanted: Cuda) -> tuple[cuda_apt.Repository, Apt]:
        """NVIDIA's repository, by itself: what is wrong with it is said where CUDA is asked for."""
        if self._nvidia is None:
            if not self.system.apt:
                raise ResolveError(
                    f"{wanted.position}: the base {self.system.title} has no apt, which "
                    "install.cuda(source=\"apt\") needs"
                )
            repository = cuda_apt.repository(wanted, self.system.os, self.cache)
            try:
                lists = self._stack.enter_context(
                    apt.open_apt([repository.line], "", self.cache, self.log)
                )
            except ResolveError as error:
                raise ResolveError(
                    f"{wanted.position}: {repository.title}: "
                    f"{str(error).partition('; check config.apt_source')[0]}; check "
                    "ENVD_CUDA_APT_REPO, its key, and the network"
                ) from error
            self._nvidia = repository, lists
        return self._nvidia

    def settle_cuda(self, problems: _Problems) -> None:
        """Decide from where CUDA comes. One that cannot be had is a problem, and the rest is
        resolved without it: what else apt is asked for may have faults of its own."""
        try:
            self._choose_cuda()
        except _COLLECTED as error:
            problems.add(error, _place("cuda", self.environment))
            self.environment = replace(self.environment, cuda=None)

    def _choose_cuda(self) -> None:
        """Take CUDA from NVIDIA's wheels, or from apt when these lack that version.

        Raises ResolveError when both do, or when its repository cannot be read.
        """
        wanted = self.environment.cuda
        if wanted is None:
            return
        if wanted.source == "apt":
            self.nvidia(wanted)
        if wanted.source != "auto":
            return
        source, lacking = "pypi", cuda.lacks(wanted, self.environment.pip_index)
        if lacking:
            try:
                repository, lists = self.nvidia(wanted)
            except (ResolveError, UsageError) as error:
                if error is self.lacking:
                    raise
                reason = str(error).removeprefix(f"{wanted.position}: ")
                raise type(error)(
                    f"{wanted.position}: there is no {lacking}; and from apt: {reason}"
                ) from error
            if also := cuda_apt.lacks(wanted, lists, repository.title):
                raise ResolveError(
                    f"{wanted.position}: there is no {lacking}; and no {also}"
                )
            source = "apt"
            text = f"there is no {lacking.partition(';')[0]}: taking it from {repository.title}"
            self.emit(Event("message", "cuda", text=text))
        self.environment = replace(self.environment, cuda=replace(wanted, source=source))

    def target(self, lock: Lock) -> Target:
        """What wheels are for; the interpreter's whole version is its package's."""
        python = lock.python or self.system.python
        version = tools.python_version(lock, python)
        full = re.match(rf"{re.escape(python)}\.\d+", version)
        glibc = self.glibc(lock)
        return Target(
            python, glibc, full[0] if full else "", "" if glibc else self.system.musl
        )

    def glibc(self, lock: Lock) -> str:
        return system.version_of(lock.base.packages, "libc6") or self.system.glibc

    def python(self, lock: Lock) -> str:
        """The target's Python, once base and apt are known."""
        base, found = self.environment.base, tools.python_of(self.environment)
        if found is not None and found.source != "distribution":
            return found.series
        if base.image:
            wanted = found is not None or python_wanted(self.environment)
            added = system.version_of(lock.apt, "python3")
            jupyter = self.environment.jupyter
            if jupyter and not (added or self.system.python or _in_conda(self.environment)):
                raise ResolveError(
                    f"{jupyter.position}: config.jupyter needs a Python, and {self.system.title} "
                    "has none: write install.python()"
                )
            return system.python_of(base, self.system, added) if wanted else ""
        if found is None:
            return ""
        return system.version_of((*lock.base.packages, *lock.apt), "python3") or found.series

    def status(self, lock: Lock, added: tuple[LockedPackage, ...] = ()) -> str:
        """dpkg's status of the base with `added` upon it."""
        own = self.system.status
        if own is None:
            return apt.installed_status(self.apt, (*lock.base.packages, *added))
        return system.status_with(own, added, apt.installed_status(self.apt, added))

    def new_base(self, old: Lock | None) -> LockedBase:
        environment, base = self.environment, self.environment.base
        if base.image:
            if old is not None and f"image={base.image}" in old.requests.get("base", ()):
                return old.base  # something else about it changed: the tag stays where it was
            from engine.resolve import image

            return image.base(base.image, base.position, self.cache, self.log)
        names = ["ca-certificates"]
        if debian.python_of(self.environment.base):
            names.append("python3")
        packages = apt.bootstrap(self.apt, names)
        return LockedBase(
            "debootstrap", self.system.os, debian.release_of(base).suite,
            tuple(map(hidden, self.archives.sources)),
            packages=tuple(packages), keys=debian.own_keys(environment),
        )

    def section(self, name: str, lock: Lock) -> list[LockedPackage]:
        environment = self.environment
        store = self.cache.parent  # `cache` is STORE/cache
        if name in by_language.SECTIONS:
            return by_language.resolve(
                name, environment, lock, lambda: self.apt, lambda: self.system, store, self.log
            )
        if name == "apt":
            debs = self._debs_wanted(self._for_pip(self._apt_requests(), lock))
            if not self.system.apt:
                return []
            asked = by_language.apt_requests(self.apt, environment, self.system, lock, debs)
            with by_language.local_debs(lock, store) as local:
                packages = apt.resolve(self.apt, asked, self.status(lock), local)
            tools.check_distributed(environment, packages)
            return packages
        if name == "dev":
            debs = self._debs_wanted(tuple(Request(n) for n in dev.packages_for(environment)))
            return apt.resolve(self.apt, debs, self.status(lock, lock.apt))
        if name == "python":
            wanted = python_wanted(environment)
            places = [r.position for r in wanted.requests] + [i.position for i in wanted.inputs]
            where = next((p for p in places if p.line), environment.base.position)
            system.check_library(where, self.system, self.glibc(lock), only_glibc=False)
            if not lock.python:
                raise system.no_python(where, self.system)
            return pypi.resolve(
                wanted, self.target(lock), self.cache, self.log, preferred=lock.wheels
            )
        if name == "cuda" and environment.cuda is not None:
            where = environment.cuda.position
            system.check_library(where, self.system, self.glibc(lock), only_glibc=True)
            if environment.cuda.source == "apt":
                return []
            return cuda.resolve(
                environment.cuda, self.target(lock), environment.pip_index, self.cache, self.log
            )
        if name == "conda":
            from engine.resolve import conda

            where = next(
                (r.position for r in environment.conda_packages), environment.base.position
            )
            system.check_library(where, self.system, self.glibc(lock), only_glibc=True)
            return conda.resolve(
                tools.conda_requests(environment), environment.conda_channels, self.glibc(lock),
                self.cache, self.log,
            )
        if name == "tools":
            return tools.resolve(
                environment, lock.tools, self.target(lock), self.cache, self.log
            )
        if name == "conda_wheels":
            from engine.resolve import conda_wheels

            return conda_wheels.resolve(
                conda_wanted(environment), lock.conda, self.glibc(lock), self.cache, self.log,
                lock.conda_wheels,
            )
        if name == "files":
            return web.resolve_files(environment, lock.files, store, self.log)
        if name == "images":
            return web.resolve_images(environment, lock.images, self.log)
        from engine.resolve import vscode

        return vscode.resolve(environment.vscode_extensions, self.log)

    def _apt_requests(self) -> tuple[Request, ...]:
        """All that is asked of apt; CUDA's packages with the versions of the release asked for."""
        wanted, requests = self.environment.cuda, apt_requests(self.environment)
        if wanted is None or wanted.source != "apt":
            return requests
        repository, lists = self.nvidia(wanted)
        own = {r.text.partition("=")[0] for r in self.environment.apt_packages}
        implied = {r.text for r in _cuda_requests(self.environment)} - own
        return (
            *(r for r in requests if r.text not in implied),
            *(r for r in cuda_apt.requests(wanted, lists, repository.title)
              if r.text.partition("=")[0] not in own),
        )

    def distutils(self, lock: Lock) -> bool:
        """Whether pip needs Debian's distutils beside the Python that an image has, or gets."""
        environment, own = self.environment, self.system.python
        python = tools.python_of(environment)
        if _in_conda(environment) or not (python or python_wanted(environment)) or not self.system.apt \
                or (python is not None and python.source != "distribution"):
            return False
        if environment.base.image and own:
            return own in tools.SPLIT_DISTUTILS and not lock.base.facts.get("prefix")
        known = system.version_of(lock.base.packages, "python3")
        carried = known or max(
            (m[1] for s in self.apt.stanzas("python3") if (m := re.match(r"(3\.\d+)", s["Version"]))),
            default="", key=lambda v: int(v[2:]),
        )
        return carried in tools.SPLIT_DISTUTILS and self.apt.provides(tools.DISTUTILS)

    def _for_pip(self, requests: tuple[Request, ...], lock: Lock) -> tuple[Request, ...]:
        """`requests` with what pip needs of the Python that is there, and without where it does not."""
        others = tuple(r for r in requests if r.position.line or r.text != tools.DISTUTILS)
        named = any(r.text == tools.DISTUTILS for r in others)
        if named or not (self.environment.base.image or len(others) < len(requests)):
            return others
        return (*others, Request(tools.DISTUTILS)) if self.distutils(lock) else others

    def _debs_wanted(self, requests: tuple[Request, ...]) -> tuple[Request, ...]:
        wanted = system.without_what_is_there(requests, self.system)
        system.refuse_debs(wanted, self.system, self.environment.base)
        return wanted


def _unsound(fault: str) -> ResolveError:
    return ResolveError(
        f"a source answered with something that cannot be used: {fault}; do not trust that source"
    )


def resolve(
    environment: Environment,
    *,
    old: Lock | None,
    cache: Path,
    emit: Sink,
) -> Lock:
    """A lock for `environment`; sections of `old` that still fit are kept.

    `cache` is a directory for package lists. Raises ResolveError.
    """
    problems = _Problems()
    if _same_cuda(environment, old):
        environment = settled(environment, old)
    with _Session(environment, cache, emit) as session:
        if not environment.base.image:
            session.settle_cuda(problems)
        session.base = base = _base(session, environment, old, problems, emit)
        if environment.base.image:  # which system that is had to be known
            session.settle_cuda(problems)
        environment = session.environment
        requests = requests_of(environment)
        stale = _stale(environment, requests, old)
        if old is not None and "dev" in old.requests and not stale & {"base", "apt"}:
            # a plain build keeps what `envd up` has added, as long as it still fits
            requests.setdefault("dev", old.requests["dev"])
        # What pip needs of an image's Python is known only now, and no request of the spec's.
        implied: set[str] = set()
        if base.kind == "image" and "apt" not in requests and "python" in requests:
            implied = {"apt"}
        keeps = requests.keys() | (implied if old is not None and "apt" not in old.requests else ())
        if stale & {"base", "python"} and implied and base.packages and session.distutils(Lock(base)):
            stale.add("apt")
        kept: dict[str, Any] = {
            field: getattr(old, field) if old is not None and section in keeps else ()
            for section, field in _FIELDS.items()
        }
        lock = Lock(
            base=base, requests=requests, includes=web.includes(environment), **kept
        )
        before = () if old is None else by_language.apt_needs(old)
        failed: set[str] = set()
        # The Python comes before its packages: its whole version is known then.
        for section in (
            *by_language.SECTIONS, "apt", "tools", "conda", "conda_wheels", "python", "cuda",
            "vscode", "dev", "files", "images",
        ):
            if section == "apt" and by_language.apt_needs(lock) != before:
                stale |= {"apt", "dev"}
            needed = set(_NEEDS.get(section, ()))
            asked = section in requests or section in implied
            if section in stale and asked and not failed & needed:
                emit(Event("resolve", section, text=" ".join(requests.get(section, ()))[:200]))
                try:
                    packages = tuple(session.section(section, lock))
                    lock_rows.check(packages, _unsound)
                except _COLLECTED as error:
                    # The other sections may have faults, too.
                    problems.add(error, _place(section, environment))
                    failed.add(section)
                else:
                    changed: dict[str, Any] = {_FIELDS[section]: packages}
                    lock = replace(lock, **changed)
            if section == "apt":
                same = old is not None and not stale & {"base", "apt", "python"}
                try:
                    python = old.python if same and old is not None else session.python(lock)
                except _COLLECTED as error:
                    problems.add(error, _place("base", environment))
                    failed |= {"python", "tools"}
                else:
                    lock = replace(lock, python=python)
    problems.check()
    lock = replace(lock, provided=lock_check.satisfied_elsewhere(lock))
    if lost := _unpinned(lock, environment):
        names = "; ".join(f"{section}: {' '.join(texts)}" for section, texts in lost.items())
        raise ResolveError(
            f"{environment.base.position}: nothing was found for {names}: no source has it under "
            "that name, or envd left it out; please report it with the spec"
        )
    return lock


_COLLECTED = (ResolveError, UsageError, FetchError)


class _Problems:
    """Errors of several sections, said together and each once."""

    def __init__(self) -> None:
        self._found: dict[str, EnvdError] = {}  # by what is said

    def add(self, error: EnvdError, where: Position) -> None:
        """Keep an error; one that names no place of the spec gets `where`."""
        text = str(error)
        if located(text) is None and where.line:
            self._found.pop(text, None)  # the same, when no place was known
            text = f"{where}: {text}"
        if not any(said == text or said.endswith(f": {text}") for said in self._found):
            self._found[text] = error

    def check(self) -> None:
        """Raise what was kept: UsageError when all is the input's fault, else ResolveError."""
        if not self._found:
            return
        # what names no place comes last: it would be read as part of the error before it
        texts = sorted(self._found, key=lambda text: located(text) is None)
        usage = all(isinstance(e, UsageError) for e in self._found.values())
        raise (UsageError if usage else ResolveError)("\n".join(texts))


def _base(
    session: _Session, environment: Environment, old: Lock | None, problems: _Problems, emit: Sink
) -> LockedBase:
    """The lock's base, kept or resolved. One that cannot be is a problem, and an empty one stands
    in for it, so that the spec's other faults are found."""
    # CUDA is no part of it, and from where it comes may not be known yet
    wanted = requests_of(replace(environment, cuda=None))["base"]
    if old is not None and old.requests.get("base") == wanted:
        return old.base
    emit(Event("resolve", "base", text=" ".join(wanted)[:200]))
    try:
        base = session.new_base(old)
        lock_rows.check(base.packages, _unsound)
        return base
    except _COLLECTED as error:
        where = _place("base", environment)
        problems.add(error, where)
        session.lacking = error if located(str(error)) or not where.line \
            else type(error)(f"{where}: {error}")
    return LockedBase("image" if environment.base.image else "debootstrap", "", "", ())


def _same_cuda(environment: Environment, old: Lock | None) -> bool:
    """Whether a lock has what CUDA is asked for, wherever from."""
    if old is None or "cuda" not in old.requests:
        return False
    return requests_of(settled(environment, old)).get("cuda") == old.requests["cuda"]


def _stale(
    environment: Environment, requests: Mapping[str, tuple[str, ...]], old: Lock | None
) -> set[str]:
    """The sections to resolve."""
    stale = set(requests) if old is None else set(outdated(old, environment, requests))
    had = () if old is None else old.requests.get("cuda", ())
    if "cuda" in stale and "source=apt" in (*had, *requests.get("cuda", ())):
        stale |= {"apt", "dev"} & set(requests)  # its packages are among apt's
    for section, sources in _FOLLOWS.items():
        if any(source in stale for source in sources) and section in requests:
            stale.add(section)
    return stale


def _place(section: str, environment: Environment) -> Position:
    """Where the spec asks for what a section holds; else where it asks for the base, or, without
    a base(), for anything at all."""
    rows: dict[str, Sequence[Any]] = {
        "apt": environment.apt_packages,
        "python": (*environment.python_packages, *environment.python_inputs),
        "conda": environment.conda_packages, "conda_wheels": environment.conda_pip,
        "cuda": (environment.cuda,) if environment.cuda is not None else (),
        "vscode": environment.vscode_extensions, "tools": environment.toolchains,
        "r": environment.r_packages, "julia": environment.julia_packages,
        "files": environment.steps, "images": environment.steps,
    }
    places = [row.position for row in rows.get(section, ())]
    if section == "rstudio" and environment.rstudio_server is not None:
        places.append(environment.rstudio_server)
    if section == "base":
        places.append(environment.apt_source_position)  # what cannot be read may be that
    places.append(environment.base.position)
    places += sorted(row.position for held in rows.values() for row in held)
    return next((place for place in places if place.line), environment.base.position)
