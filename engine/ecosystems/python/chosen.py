"""Which Python an environment has: the distribution's, one of its own, or conda's.

A distribution's Python joins the section "apt", and conda's the section "conda"; one of its own is a
tool.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.ecosystems.debian import releases as debian
from engine.errors import UsageError
from engine.lock.model import Lock
from engine.net.upstream import begins
from grammar.environment import Environment, Request, Toolchain
from grammar.errors import SpecError

# Debian packages most of distutils apart, and pip needs all of it below Python 3.10.
DISTUTILS = "python3-distutils"
SPLIT_DISTUTILS = ("3.8", "3.9")


def _asked(environment: Environment) -> dict[str, Toolchain]:
    return {t.name: t for t in environment.toolchains}


@dataclass(frozen=True)
class TargetPython:
    """The environment's Python. `version` is as it was asked for ("3.12", "3.12.4"); `source` is
    "distribution", "standalone" (below /opt/python) or "conda" (/opt/conda's)."""

    version: str
    source: str

    @property
    def series(self) -> str:
        """Its "X.Y"."""
        return ".".join(self.version.split(".")[:2])


def python_of(environment: Environment) -> TargetPython | None:
    """The environment's Python, None when it asks for none.

    Raises UsageError when it asks for two, or for one that is no Python 3.
    """
    wanted = _asked(environment)
    language = environment.base.language
    named = language.removeprefix("python") if language.startswith("python") else ""
    if "python" in wanted:
        toolchain = wanted["python"]
        if "." in named and toolchain.version and not _agree(named, toolchain.version):
            raise UsageError(
                f'install.python("{toolchain.version}") beside base(language="{language}"): an '
                "environment has one Python",
                position=toolchain.position,
                advice="leave one out",
            )
        named = toolchain.version or named
    elif not language.startswith("python"):
        return None
    # What an image has is not known yet: it is looked at when it is locked.
    own = "" if environment.base.image else debian.release_of(environment.base).python
    position = wanted["python"].position if "python" in wanted else environment.base.position
    if named.split(".")[0] not in ("", "3"):
        raise UsageError(f"there is no Python {named} for an environment, only 3.x", position=position)
    version = named if "." in named else own
    if "conda" in wanted:
        return TargetPython(version or debian.release_of(environment.base).python, "conda")
    if environment.base.image and not ("python" in wanted and wanted["python"].version):
        return TargetPython(version, "distribution")
    return TargetPython(version, "distribution" if version == own else "standalone")


def _agree(first: str, second: str) -> bool:
    return begins(first, second) or begins(second, first)


def wants_python(environment: Environment) -> bool:
    """Whether a Python was asked for."""
    return environment.base.language.startswith("python") or "python" in _asked(environment)


def jupyter_fault(environment: Environment) -> SpecError | None:
    """The error when Jupyter is to start, and nothing brings a Python for it. What an image has is
    known only when it is looked at."""
    jupyter = environment.jupyter
    if jupyter is None or environment.base.image or wants_python(environment):
        return None
    from_apt = any("jupyter" in request.text for request in environment.apt_packages)
    if conda_requests(environment) or from_apt:
        return None
    return SpecError("config.jupyter needs a Python: write install.python()", jupyter.position)


def python_version(lock: Lock, series: str) -> str:
    """The whole version of the Python "X.Y" that a lock has, as its package says; "" if unknown."""
    rows = [p for p in (*lock["tools"], *lock["conda"]) if p.name == "python"]
    rows += [p for p in (*lock.base.packages, *lock["apt"]) if p.name == f"python{series}"]
    return rows[0].version if rows else ""


def brings_pip(environment: Environment) -> bool:
    """Whether pip comes with the Python, and not as a wheel: conda packages hold both."""
    python = python_of(environment)
    return python is not None and python.source == "conda"


def python_facts(environment: Environment) -> list[str]:
    """What the Python section's requests say of a Python that is not the distribution's."""
    python = python_of(environment)
    if python is None or python.source == "distribution":
        return []
    return [f"python={python.version}", f"python_from={python.source}"]


# -- what joins other sections ----------------------------------------------------------------


def of_release(environment: Environment) -> str:
    """The "X.Y" that the base's release carries; "" for an image, which is looked at when it is
    locked."""
    return "" if environment.base.image else debian.release_of(environment.base).python


def of_uv(environment: Environment) -> str:
    """The Python that uv is to manage; "" for none."""
    toolchain = _asked(environment).get("uv")
    return "" if toolchain is None else dict(toolchain.options).get("python_version", "")


def apt_packages(environment: Environment) -> list[str]:
    """The distribution's packages that the Pythons are, beyond what the base has."""
    found: list[str] = []
    python, own = python_of(environment), of_release(environment)
    distributed = python is not None and python.source == "distribution"
    of_base = "" if environment.base.image else debian.python_of(environment.base)
    if not of_base and (distributed or (own and of_uv(environment) == own)):
        found.append("python3")  # one that an image has is not brought again
    if distributed and own in SPLIT_DISTUTILS:
        found.append(DISTUTILS)
    return found


def conda_requests(environment: Environment) -> tuple[Request, ...]:
    """The user's conda packages, and those that `install.conda` means."""
    requests = environment.conda_packages
    toolchain = _asked(environment).get("conda")
    if toolchain is None:
        return requests
    at = toolchain.position
    named = {r.text.split("=")[0].split()[0].lower() for r in requests}
    mamba = ("use_mamba", "true") in toolchain.options
    implied = ["micromamba" if mamba else "conda"]
    python = python_of(environment)
    if python is not None:
        implied += [f"python={python.version}", "pip"]
    return requests + tuple(Request(text, at) for text in implied if text.split("=")[0] not in named)
