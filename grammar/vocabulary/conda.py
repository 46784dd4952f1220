"""`install.conda_packages` and `config.conda_channel`: conda's packages, and where they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grammar.environment import Position, Request, Toolchain
from grammar.errors import Problems, SpecError
from grammar.vocabulary import requirements
from grammar.vocabulary.signature import Api, Given, Parameter, each
from grammar.vocabulary.state import State

if TYPE_CHECKING:
    from yaml import Node

    from grammar.vocabulary.yaml_nodes import Reader

# A channel may be a URL, with a login or a token in it.
_SPEC = re.compile(
    r"((?:[\w+]+://[^\s\[\]]+|[\w./:-]+)::)?[A-Za-z0-9_*][\w.*-]*(\s*[=<>!~\[].*|\s+[\w.*]\S*(\s+\S+)?)?"
)
# Keys of a .condarc that say where channels are; its other keys are about conda's own behaviour.
_CONDARC = ("channels", "default_channels", "custom_channels", "channel_alias")


def _spec(state: State, text: str, position: Position) -> None:
    if not _SPEC.fullmatch(text):
        raise SpecError(f"'{text}' is not a valid conda package, such as 'numpy' or 'numpy>=2'", position)
    state.conda.append(Request(text, position))


def _channel(state: State, text: str, position: Position) -> None:
    if not text or re.search(r"\s", text):
        raise SpecError(f"'{text}' is not the name or URL of a conda channel", position)
    state.conda_channels.names.append(text.rstrip("/"))


def _packages(state: State, given: Given) -> None:
    if given["env_file"]:
        if given["name"] or given["channel"]:
            raise SpecError(
                "install.conda_packages(): env_file and name or channel cannot be used together",
                given.at("env_file"),
            )
        where = given.where("env_file", given["env_file"])
        _environment_file(state, state.file(given["env_file"], where), where)
        return
    problems = Problems()
    with problems:
        each(given, "name", lambda text, where: _spec(state, text, where))
    with problems:
        each(given, "channel", lambda text, where: _channel(state, text, where))
    problems.check()


def _read(text: str, file: str, offset: Position | None = None) -> tuple[Node | None, Reader]:
    """A YAML text's root, and what reads its nodes. Errors stand at `offset`, when the text has no file."""
    from grammar.vocabulary import yaml_nodes  # noqa: PLC0415 (yaml, where it is asked for)

    return yaml_nodes.document(text, file, offset), yaml_nodes.Reader(file, "" if offset else text, offset)


def _environment_file(state: State, path: Path, asked: Position) -> None:
    """conda's environment.yml: channels, dependencies, and pip's among them."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise SpecError(f"cannot read {path}: {reason}", asked) from None
    state.read_files.append(str(path.resolve()))
    root, yaml = _read(text, str(path))
    if root is None:
        raise SpecError(f"{path} is empty", asked)
    keys = yaml.pairs(root, "an environment file")
    if "dependencies" not in keys:
        raise yaml.error("an environment file needs 'dependencies'", root)
    problems = Problems()
    for node in yaml.items(keys["channels"], "channels") if "channels" in keys else ():
        with problems:
            _channel(state, yaml.string(node, "a channel"), yaml.at(node))
    for node in yaml.items(keys["dependencies"], "dependencies"):
        with problems:
            if yaml.is_scalar(node):
                _spec(state, yaml.string(node, "a dependency"), yaml.at(node))
                continue
            for tool, below in yaml.pairs(node, "a dependency").items():
                if tool != "pip":
                    raise yaml.error(f"'{tool}' is not an installer that envd supports: write 'pip'", node)
                for item in yaml.items(below, "pip"):
                    line = yaml.string(item, "a requirement")
                    with problems:
                        _pip_line(state, path, line, yaml.at(item))
    for problem in problems.errors:
        problem.with_source(text, str(path))
    problems.check()


def _pip_line(state: State, path: Path, line: str, position: Position) -> None:
    found = requirements.entry(line, position, path.parent, (state.directory, *state.allowed))
    state.conda_pip += found.requests
    state.python_options += found.options
    state.read_files += found.read
    if found.inputs:
        raise SpecError(f"'{line}': a wheel is named by its URL here", position)


def _condarc(state: State, given: Given) -> None:
    if given["use_mamba"]:
        options = (("use_mamba", "true"),)
        state.toolchains["conda"] = Toolchain("conda", "", options, given.position)
    values = given["channel"]
    if len(values) != 1 or not re.search(r"[\n:]\s|:$|\n", str(values[0])):
        each(given, "channel", lambda text, where: _channel(state, text, where))
        return
    position = given.where("channel", values[0])
    root, yaml = _read(str(values[0]), position.file, position)
    if root is None:
        raise SpecError("the text of a .condarc is empty", position)
    keys = yaml.pairs(root, "a .condarc")
    found = state.conda_channels
    read: dict[str, Any] = {}
    for key in ("channels", "default_channels"):
        if key in keys:
            nodes = yaml.items(keys[key], key)
            read[key] = [yaml.string(node, "a channel").rstrip("/") for node in nodes]
    if not any(key in keys for key in _CONDARC):
        raise SpecError(f"the .condarc has none of {', '.join(_CONDARC)}", position)
    if "default_channels" in read:
        found.defaults = tuple(read["default_channels"])
    if "custom_channels" in keys:
        for name, node in yaml.pairs(keys["custom_channels"], "custom_channels").items():
            found.custom[name] = yaml.string(node, "the URL of a channel")
    if "channel_alias" in keys:
        found.alias = yaml.string(keys["channel_alias"], "channel_alias")
    # conda's own default is "defaults".
    found.names.extend(read.get("channels", ["defaults"] if found.defaults else []))


APIS = (
    Api(
        "install.conda_packages",
        (
            Parameter("name", "list[str]", (), ("names",), 'MatchSpecs, such as "numpy>=2"'),
            Parameter("channel", "list[str]", (), about="channels, names or URLs"),
            Parameter("env_file", "str", None, about="an environment.yml, instead of the other two"),
        ),
        _packages,
        "conda packages, in a prefix at /opt/conda.",
        differs="Needs no install.conda() before it.",
    ),
    Api(
        "config.conda_channel",
        (
            Parameter("channel", "str|list[str]", about="the text of a .condarc, or channels"),
            Parameter("use_mamba", "bool", False, about="as in v0: install micromamba too"),
        ),
        _condarc,
        "Where conda packages are.",
        differs="Takes names and URLs too; of a .condarc it reads channels, default_channels, "
        "custom_channels and channel_alias.",
    ),
)
