"""The Pythons of an environment: which packages each gets, and where it lies in the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from engine.core.derivation import Derivation
from engine.ecosystems.conda import builder as conda
from engine.ecosystems.python import chosen as chosen_python
from engine.ecosystems.python.interpreter import Interpreter
from engine.ecosystems.python.requests import Wanted
from engine.ecosystems.tools import builder as tool
from engine.lock.model import Lock
from grammar.environment import Environment, Request


def wanted(environment: Environment) -> Wanted:
    """What the distribution's Python gets: the user's Python packages, unless conda's is the only
    Python there is."""
    return Wanted() if in_conda(environment) else _all(environment)


def wanted_in_conda(environment: Environment) -> Wanted:
    """What conda's Python gets: an env_file's `pip:`, and all when it is the only Python."""
    if in_conda(environment):
        everything = _all(environment)
        return replace(everything, requests=(*environment.conda_pip, *everything.requests))
    return Wanted(environment.conda_pip, options=environment.python_options, index=environment.pip_index)


def in_conda(environment: Environment) -> bool:
    """Whether conda's Python is the environment's: `install.conda` says so, or there is no other."""
    python = chosen_python.python_of(environment)
    if python is not None:
        return python.source == "conda"
    return bool(chosen_python.conda_requests(environment))


def _all(environment: Environment) -> Wanted:
    """The user's Python packages, with pip, and Jupyter when it is configured but not named."""
    asked = Wanted(
        environment.python_packages,
        environment.python_inputs,
        environment.python_constraints,
        environment.python_options,
        environment.pip_index,
    )
    if (
        not chosen_python.wants_python(environment)
        and not asked
        and not (environment.jupyter and in_conda(environment))
    ):
        return Wanted()
    requests = asked.requests
    names = {canonicalize_name(Requirement(r.text).name) for r in requests}
    if environment.jupyter and not names & {"jupyter", "jupyterlab", "notebook"}:
        requests += (Request("jupyterlab"),)
    if "pip" not in names and not chosen_python.brings_pip(environment):
        requests += (Request("pip"),)
    return replace(asked, requests=requests)


# -- in an image ------------------------------------------------------------------------------


def standalone(version: str) -> Interpreter:
    """A Python of its own, below /opt/python. `version` may be longer than "X.Y"."""
    series = ".".join(version.split(".")[:2])
    return Interpreter(series, f"/opt/python/{series}")


def interpreter(environment: Environment, lock: Lock) -> Interpreter:
    """The Python that a lock's wheels are for."""
    python = chosen_python.python_of(environment)
    if python is None or python.source == "distribution":
        return Interpreter(lock.python, lock.base.facts.get("prefix", ""))
    if python.source == "conda":
        return Interpreter(python.series, conda.PREFIX)
    return standalone(python.version)


def holding(python: Interpreter, layers: Sequence[Derivation]) -> list[Derivation]:
    """Those of `layers` that hold a Python which is not the base's: sdists are built with it."""
    if python.prefix == conda.PREFIX:
        return [layer for layer in layers if layer.kind == conda.KIND]
    name = f"python-{python.python}."
    return [x for x in layers if python.prefix and x.kind == tool.KIND and x.name.startswith(name)]
