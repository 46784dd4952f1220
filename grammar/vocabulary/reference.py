"""The reference of the language (docs/language.md) and stubs for editors, from the signatures.

`python -m grammar.vocabulary.reference` writes the reference again (`make docs`).
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from grammar.starlark import limits
from grammar.vocabulary import core, data
from grammar.vocabulary.registry import APIS
from grammar.vocabulary.signature import REQUIRED, Api, Parameter

TYPES = {
    "str": "str",
    "bool": "bool",
    "int": "int",
    "list[str]": "list[str]",
    "dict[str]": "dict[str, str]",
    "list[list[str]]": "list[list[str]]",
    "str|list[str]": "str | list[str]",
    "str|data": "str | DataSource",
}
# What calls return; None for all others.
_RETURNS = {"data.envd": "DataSource", "include": "Module"}
MODULES = {
    "": "Functions without a module",
    "install": "`install`: packages, languages and tools",
    "config": "`config`: settings of the environment",
    "runtime": "`runtime`: the running container",
    "io": "`io`: files",
    "data": "`data`: where data sets live",
}


def default_of(parameter: Parameter) -> str:
    """A parameter's default, as a spec would write it."""
    value = parameter.default
    if isinstance(value, str):
        return '"' + value + '"'
    return "[]" if value == () else repr(value)


def signature(api: Api) -> str:
    """A function as a reader sees it: `shell(name="bash")`."""
    parts = [p.name if p.required else f"{p.name}={default_of(p)}" for p in api.parameters]
    return f"{api.name}({', '.join(parts)})"


def described(api: Api) -> Iterator[str]:
    """Lines on a function: what it does, its parameters, what differs."""
    yield api.about
    for parameter in api.parameters:
        optional = "" if parameter.required else f", default {default_of(parameter)}"
        yield f"- `{parameter.name}` ({TYPES[parameter.kind]}{optional}): {parameter.about}"
    if api.differs:
        yield f"Unlike tensorchord/envd: {api.differs}"
    if api.instead:
        yield f"Deprecated: write `{api.instead}`."


def _of_module(module: str) -> list[Api]:
    return [api for api in APIS if api.name.rpartition(".")[0] == module]


# -- docs/language.md


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _parameters(api: Api) -> str:
    rows = []
    for p in api.parameters:
        default = "" if p.required else f" = `{_cell(default_of(p))}`"
        names = "".join(f", or `{alias}`" for alias in p.aliases)
        kind = TYPES[p.kind] + (" or None" if p.default is None else "")
        rows.append(f"`{p.name}`{names}: {_cell(kind)}{default}. {_cell(p.about)}")
    return "<br>".join(rows) or "none"


_INTRODUCTION = (
    "# The language",
    "",
    "<!-- Made by `make docs` from the signatures in grammar/vocabulary: do not edit. -->",
    "",
    "A `build.envd` is a file of Starlark, which is a small Python: functions, loops,",
    "comprehensions, strings, lists and dicts, but no imports, no classes, no recursion and",
    "no way to reach the machine. `envd` calls its function `build` (`-f FILE:FUNCTION`",
    "chooses another one) without arguments; each call in it asks for a part of the",
    "environment. The order of calls matters only among `run`, `io.copy` and `io.http`.",
    "",
    "Every optional parameter takes `None` for its default. Tuples are accepted wherever lists",
    "are. Functions that set one thing may be called again with the same arguments only.",
    "",
    "The first line may say `# syntax=v0` or `# syntax=v1`. v1 is the default; v0 is",
    'the same, except that `base(dev=True, language="python3")` is then the default.',
    "",
)


def markdown(tests: Mapping[str, str]) -> str:
    """The reference. `tests` names for each function the test that shows it."""
    lines = [*_INTRODUCTION]
    for module, title in MODULES.items():
        lines += [f"## {title}", "", "| function | parameters | what it does | test |", "|---|---|---|---|"]
        for api in _of_module(module):
            about = api.about + (f" Deprecated: write `{api.instead}`." if api.instead else "")
            lines.append(
                f"| `{api.name}` | {_parameters(api)} | {_cell(about)} | `{tests.get(api.name, 'none')}` |"
            )
        lines.append("")
        if module == "data":
            lines += [f'`data.path.{n}` is `"{p}"`.' for n, p in data.PATHS.items()] + [""]
    lines += [
        "## Known names",
        "",
        f"- `base(os=…)`: {', '.join(core.SYSTEMS)}.",
        f"- `base(language=…)`: {', '.join(core.LANGUAGES)}, each with a version or without "
        "(`python3.11`, `r4.2`, `julia1.8`).",
        f"- `shell(…)`: {', '.join(core.SHELLS)}.",
        "",
        "## Limits",
        "",
        "A spec cannot make envd hang. One evaluation may use:",
        "",
        "| what | at most |",
        "|---|---|",
        *(f"| {what} | {number:,} |" for what, number in _LIMITS),
        "",
        "## Differences from tensorchord/envd",
        "",
        "A `build.envd` written for it works here, or one message says what differs:",
        "",
        *(f"- `{api.name}`: {api.differs}" for api in APIS if api.differs),
        "- An image that is not a development environment has services, too: what `config.jupyter`,",
        "  `runtime.daemon` and `runtime.init` ask for starts with it, in its working directory, unless",
        "  there is a `config.entrypoint`. There, they are only for development environments.",
        "- Build steps have no network (`run`), and what they install is not locked.",
        "- A function that sets one thing (`base`, `install.cuda`, `install.python`, …) may not be",
        "  called again with other arguments; there, the last call wins.",
        "- Unknown values of `# syntax=` are an error.",
        "",
    ]
    return "\n".join(lines)


_LIMITS = (
    ("characters of a file", limits.MAX_SOURCE),
    ("steps, about as many as expressions are evaluated", limits.MAX_STEPS),
    ("calls inside each other", limits.MAX_CALLS),
    ("expressions, brackets or blocks inside each other", limits.MAX_NESTING),
    ("elements or characters of one value", limits.MAX_LENGTH),
    ("bits of an int", limits.MAX_BITS),
    ("bytes of memory, about", limits.MAX_MEMORY),
)


# -- stubs


def stubs() -> str:
    """A .pyi of the vocabulary, for editors that know Python."""
    lines = [
        '"""What a build.envd can call, for editors that know Python.',
        "",
        "Pyright and Pylance read it when it lies as __builtins__.pyi beside the build.envd.",
        '"""',
        "",
        "from typing import Literal",
        "",
        "class DataSource: ...",
        "class Module:",
        "    def __getattr__(self, name: str) -> object: ...",
        "",
    ]
    for api in _of_module(""):
        lines += _stub(api, "")
    for module in list(MODULES)[1:]:
        lines += [f"class _{module}:"]
        if module == "data":
            lines += ["    class path:", *(f"        {name}: str" for name in data.PATHS)]
        for api in _of_module(module):
            lines += _stub(api, "    ")
        lines += [f"{module}: _{module}", ""]
    return "\n".join(lines)


def _stub(api: Api, indentation: str) -> list[str]:
    parts = ["self"] if indentation else []
    for parameter in api.parameters:
        kind = TYPES[parameter.kind]
        if parameter.choices and api.name != "base":  # base's language takes a version, too
            kind = f"Literal[{', '.join(repr(c) for c in parameter.choices)}]"
        if parameter.default is REQUIRED:
            parts.append(f"{parameter.name}: {kind}")
        else:
            parts.append(f"{parameter.name}: {kind} | None = ...")
    text = "\n".join(described(api)).replace("\\", "\\\\").replace('"""', "'''")
    name, returns = api.name.rpartition(".")[2], _RETURNS.get(api.name, "None")
    body = "\n".join(f"{indentation}    {line}".rstrip() for line in text.split("\n")).strip()
    return [
        f"{indentation}def {name}({', '.join(parts)}) -> {returns}:",
        f'{indentation}    """{body}"""' if not body.endswith('"') else f'{indentation}    """{body} """',
        "",
    ]


ROOT = Path(__file__).parents[2]


def tests_of(root: Path = ROOT) -> Mapping[str, str]:
    """Function -> the test that shows it (tests/functions.toml)."""
    found: dict[str, Any] = tomllib.loads((root / "tests" / "functions.toml").read_text("utf-8"))
    return {str(k): str(v) for k, v in found.items()}


def main() -> None:
    """Write docs/language.md."""
    path = ROOT / "docs" / "language.md"
    path.write_text(markdown(tests_of()), "utf-8")
    print(path, file=sys.stderr)


if __name__ == "__main__":
    main()
