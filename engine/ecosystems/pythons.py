"""Which Python packages an environment wants, and for which of its Pythons."""

from __future__ import annotations

from dataclasses import replace

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from engine.resolve import tools
from engine.resolve.wanted import Wanted
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
    return Wanted(
        environment.conda_pip, options=environment.python_options, index=environment.pip_index
    )


def in_conda(environment: Environment) -> bool:
    """Whether conda's Python is the environment's: `install.conda` says so, or there is no other."""
    python = tools.python_of(environment)
    if python is not None:
        return python.source == "conda"
    return bool(tools.conda_requests(environment))


def _all(environment: Environment) -> Wanted:
    """The user's Python packages, with pip, and Jupyter when it is configured but not named."""
    asked = Wanted(
        environment.python_packages, environment.python_inputs, environment.python_constraints,
        environment.python_options, environment.pip_index,
    )
    if not tools.wants_python(environment) and not asked and not (
        environment.jupyter and in_conda(environment)
    ):
        return Wanted()
    requests = asked.requests
    names = {canonicalize_name(Requirement(r.text).name) for r in requests}
    if environment.jupyter and not names & {"jupyter", "jupyterlab", "notebook"}:
        requests += (Request("jupyterlab"),)
    if "pip" not in names and not tools.brings_pip(environment):
        requests += (Request("pip"),)
    return replace(asked, requests=requests)
