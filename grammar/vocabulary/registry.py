"""All of envd's own functions, bound to one evaluation."""

from __future__ import annotations

from grammar.starlark.values import Module, Value
from grammar.vocabulary import conda, config, core, data, files, python, runtime
from grammar.vocabulary import packages as install
from grammar.vocabulary import tools as toolchains
from grammar.vocabulary.signature import Api
from grammar.vocabulary.state import State

APIS = (
    *core.APIS,
    *config.APIS,
    *runtime.APIS,
    *files.APIS,
    *install.APIS,
    *python.APIS,
    *conda.APIS,
    *toolchains.APIS,
    *data.APIS,
)
_added: list[Api] = []


def register(api: Api) -> None:
    """Add a function to the language, for an ecosystem that envd does not have itself. What it is
    asked for, `State.want` keeps. Raises ValueError for a name that is taken."""
    if any(api.name == other.name for other in (*APIS, *_added)):
        raise ValueError(f"there is a function {api.name} already")
    _added.append(api)


def vocabulary(state: State) -> dict[str, Value]:
    """Names a spec sees beside Starlark's universe."""
    names: dict[str, Value] = {}
    modules: dict[str, dict[str, Value]] = {}
    for api in (*APIS, *_added):
        module, _, name = api.name.rpartition(".")
        target = modules.setdefault(module, {}) if module else names
        target[name] = api.bind(state)
    modules["data"]["path"] = Module("path", dict(data.PATHS))
    return {**names, **{m: Module(m, members) for m, members in modules.items()}}
