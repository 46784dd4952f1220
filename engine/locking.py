"""`Environment` -> `Lock`: resolve what changed, keep what still fits.

Each section of a lock records the request strings that it was resolved from. A section whose
requests are the same is kept as it is, so that adding an extension never moves a wheel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from engine.build.services import packages_for_services
from engine.build.shell import packages_for_shell
from engine.events import Event, Sink
from engine.lock import Lock, LockedBase, LockedPackage
from engine.resolve import debian
from grammar.environment import Environment, Request

# Dependencies between sections: when the one on the right moves, the left is resolved again.
_FOLLOWS = {"apt": ("base",), "python": ("base",), "cuda": ("base",), "conda": (), "vscode": ()}
# Section name in `requests` -> field of Lock.
_FIELDS = {
    "apt": "apt", "python": "wheels", "conda": "conda", "cuda": "cuda", "vscode": "vscode",
}


def _texts(requests: tuple[Request, ...]) -> tuple[str, ...]:
    return tuple(sorted({r.text for r in requests}))


def wants_services(environment: Environment) -> bool:
    """Whether something has to be started with the container."""
    return bool(environment.jupyter or environment.daemons or environment.init)


def apt_requests(environment: Environment) -> tuple[Request, ...]:
    """The user's apt packages, and those that the shell, services and CUDA from apt need."""
    names = {r.text for r in environment.apt_packages}
    implied = list(packages_for_shell(environment.shell))
    if wants_services(environment):
        implied += packages_for_services()
    if environment.cuda is not None and environment.cuda.source == "apt":
        from engine.resolve.cuda import apt_packages

        implied += apt_packages(environment.cuda)
    return environment.apt_packages + tuple(
        Request(name) for name in dict.fromkeys(implied) if name not in names
    )


def python_requests(environment: Environment) -> tuple[Request, ...]:
    """The user's Python packages, with pip, and Jupyter when it is configured but not named."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    requests = environment.python_packages
    if not environment.base.language.startswith("python") and not requests:
        return ()
    names = {canonicalize_name(Requirement(r.text).name) for r in requests}
    if environment.jupyter and not names & {"jupyter", "jupyterlab", "notebook"}:
        requests += (Request("jupyterlab"),)
    if "pip" not in names:
        requests += (Request("pip"),)
    return requests


def requests_of(environment: Environment) -> dict[str, tuple[str, ...]]:
    """The request strings of every section, as a lock records them."""
    base = environment.base
    base_requests = [f"image={base.image}"] if base.image else [f"os={base.os}"]
    base_requests.append(f"language={base.language}")
    if environment.apt_source:
        base_requests.append(f"apt_source={environment.apt_source}")
    python = list(_texts(python_requests(environment)))
    if environment.pip_index and python:
        python.append(f"index={environment.pip_index.url}")
        if environment.pip_index.extra_url:
            python.append(f"extra_index={environment.pip_index.extra_url}")
    conda = list(_texts(environment.conda_packages))
    if conda:
        conda += [f"channel={c}" for c in environment.conda_channels]
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
        "python": tuple(python),
        "conda": tuple(conda),
        "cuda": tuple(cuda),
        "vscode": _texts(environment.vscode_extensions),
    }
    return {name: texts for name, texts in found.items() if texts}


def misfits(lock: Lock, requests: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Sections of the lock that do not fit `requests`, each with what exactly differs."""
    found: dict[str, str] = {}
    for section in sorted({*lock.requests, *requests}):
        had, wants = lock.requests.get(section, ()), requests.get(section, ())
        if had == wants:
            continue
        added = [f"+{text}" for text in wants if text not in had]
        removed = [f"-{text}" for text in had if text not in wants]
        found[section] = " ".join(added + removed) or "order changed"
    return found


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
    requests = requests_of(environment)
    stale = set(requests) if old is None else set(misfits(old, requests))
    for section, sources in _FOLLOWS.items():
        if any(source in stale for source in sources) and section in requests:
            stale.add(section)

    def log(text: str) -> None:
        emit(Event("log", "lock", text=text))

    def said(section: str) -> None:
        emit(Event("resolve", section, text=" ".join(requests.get(section, ()))[:200]))

    base: LockedBase
    if old is not None and "base" not in stale:
        base, python = old.base, old.python
    else:
        said("base")
        base, python = _resolve_base(environment, cache, log)
    lock = Lock(
        base=base,
        python=python,
        requests=requests,
        **{
            field: getattr(old, field) if old is not None and section in requests else ()
            for section, field in _FIELDS.items()
        },
    )
    for section in ("apt", "python", "cuda", "conda", "vscode"):
        if section in stale and section in requests:
            said(section)
            packages = _RESOLVERS[section](environment, lock, cache, log)
            lock = replace(lock, **{_FIELDS[section]: packages})
    return lock
