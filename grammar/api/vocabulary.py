"""All of envd's own functions, bound to one evaluation."""

from __future__ import annotations

from grammar.api import conda, data, install, python, settings, toolchains
from grammar.api.state import State
from grammar.values import Module, Value

APIS = (
    *settings.APIS, *install.APIS, *python.APIS, *conda.APIS, *toolchains.APIS, *data.APIS,
)


def vocabulary(state: State) -> dict[str, Value]:
    """Names a spec sees beside Starlark's universe."""
    names: dict[str, Value] = {}
    modules: dict[str, dict[str, Value]] = {}
    for api in APIS:
        module, _, name = api.name.rpartition(".")
        target = modules.setdefault(module, {}) if module else names
        target[name] = api.bind(state)
    modules["data"]["path"] = Module("path", dict(data.PATHS))
    return {**names, **{m: Module(m, members) for m, members in modules.items()}}
