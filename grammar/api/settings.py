"""The rest of the vocabulary: base, shell, run, git_config, config.*, runtime.*, io.*."""

from __future__ import annotations

import re

from grammar.api.data import DataSource
from grammar.api.signature import Api, Given, Parameter, later
from grammar.api.state import State
from grammar.environment import (
    Base,
    Copy,
    Daemon,
    Expose,
    GitConfig,
    Http,
    Jupyter,
    Mount,
    Owner,
    PipIndex,
    Repo,
    Run,
)
from grammar.errors import SpecError, suggest
from grammar.values import type_name

SYSTEMS = ("debian11", "debian12", "debian13", "ubuntu20.04", "ubuntu22.04", "ubuntu24.04")
SHELLS = ("bash", "zsh", "fish")


def _base(state: State, given: Given) -> None:
    state.only_once("base", given.position)
    language, system = str(given["language"]), str(given["os"])
    if given["image"] is None and system not in SYSTEMS:
        hint = suggest(system, SYSTEMS) or f"; known: {', '.join(SYSTEMS)}"
        raise SpecError(f"base has no os '{system}'{hint}", given.at("os"))
    if not re.fullmatch(r"(python(3(\.\d+)?)?)?", language):
        raise SpecError(
            f"language '{language}' is not supported yet; write \"python3\" or leave it out",
            given.at("language"),
        )
    image = None if given["image"] is None else str(given["image"])
    state.base = Base(system, language, image, given["dev"], given.position)


def _shell(state: State, given: Given) -> None:
    name = str(given["name"])
    if name not in SHELLS:
        hint = suggest(name, SHELLS) or f"; known: {', '.join(SHELLS)}"
        raise SpecError(f"no shell '{name}'{hint}", given.at("name"))
    state.shell = name


def _run(state: State, given: Given) -> None:
    if given["mount_host"]:
        raise SpecError("mount_host is not supported: use io.copy", given.at("mount_host"))
    commands = tuple(str(c) for c in given["commands"])
    if commands:
        state.steps.append(Run(commands, False, given.position))


def _git(state: State, given: Given) -> None:
    state.git = GitConfig(str(given["name"]), str(given["email"]), str(given["editor"]))


def _apt_source(state: State, given: Given) -> None:
    state.apt_source = None if given["source"] is None else str(given["source"])


def _pip_index(state: State, given: Given) -> None:
    for name in ("url", "extra_url"):
        if given[name] and not re.match(r"(https?|file)://", given[name]):
            raise SpecError(f"'{given[name]}' is no URL", given.at(name))
    extra = str(given["extra_url"]) or None
    state.pip_index = PipIndex(str(given["url"]), extra, given["trust"])


def _channel(state: State, given: Given) -> None:
    state.conda_channels.extend(str(c) for c in given["channel"])


def _jupyter(state: State, given: Given) -> None:
    _port(given, "port")
    state.jupyter = Jupyter(str(given["token"]), given["port"])


def _entrypoint(state: State, given: Given) -> None:
    state.entrypoint = tuple(str(a) for a in given["args"])


def _port(given: Given, name: str) -> None:
    if given[name] is not None and not 1 <= given[name] <= 65535:
        raise SpecError(f"{name} is from 1 to 65535", given.at(name))


def _environ(state: State, given: Given) -> None:
    for name, value in given["env"].items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise SpecError(f"'{name}' is no variable name", given.at("env"))
        state.environ[str(name)] = str(value)
    state.extra_path.extend(str(p) for p in given["extra_path"])


def _expose(state: State, given: Given) -> None:
    for name in ("envd_port", "host_port"):
        _port(given, name)
    state.expose.append(
        Expose(given["envd_port"], given["host_port"], str(given["service"]),
               str(given["listen_addr"]))
    )


def _mount(state: State, given: Given) -> None:
    source = given["host_path"]
    if isinstance(source, DataSource):
        state.mounts.append(Mount(source.name, str(given["envd_path"]), True))
    elif isinstance(source, str):
        state.mounts.append(Mount(str(source), str(given["envd_path"])))
    else:
        raise SpecError(
            f"runtime.mount(): 'host_path' is a string or data.envd(...), not {type_name(source)}",
            given.at("host_path"),
        )


def _gpu(state: State, given: Given) -> None:
    if not 0 <= given["count"] <= 1024:
        raise SpecError("count is how many GPUs: 0 or more", given.at("count"))
    state.gpu = given["count"]


def _shm_size(state: State, given: Given) -> None:
    if not 1 <= given["size"] <= 1 << 24:
        raise SpecError("size is in megabytes: 1 or more", given.at("size"))
    state.shm_size = given["size"]


def _repo(state: State, given: Given) -> None:
    state.repo = Repo(str(given["url"]), str(given["description"]))


def _owner(state: State, given: Given) -> None:
    for name in ("uid", "gid"):
        if not 0 <= given[name] <= 65535:
            raise SpecError(f"{name} is from 0 to 65535", given.at(name))
    state.owner = Owner(given["uid"], given["gid"])


def _http(state: State, given: Given) -> None:
    if not re.match(r"https?://", given["url"]):
        raise SpecError(f"'{given['url']}' is no http or https URL", given.at("url"))
    checksum = str(given["checksum"] or "").lower()
    if checksum and not re.fullmatch(r"(sha256:)?[0-9a-f]{64}", checksum):
        raise SpecError("checksum is 'sha256:' and 64 hex digits", given.at("checksum"))
    if checksum:
        checksum = f"sha256:{checksum.removeprefix('sha256:')}"
    filename = str(given["filename"] or "")
    if "/" in filename or filename in (".", ".."):
        raise SpecError("filename is a plain name, without '/'", given.at("filename"))
    state.steps.append(Http(str(given["url"]), checksum, filename, given.position))


def _command(state: State, given: Given) -> None:
    state.commands.update({str(k): str(v) for k, v in given["commands"].items()})


def _daemon(state: State, given: Given) -> None:
    state.daemons += [Daemon(tuple(str(w) for w in argv)) for argv in given["commands"]]


def _init(state: State, given: Given) -> None:
    state.init += [str(c) for c in given["commands"]]


def _copy(state: State, given: Given) -> None:
    if not given["source"]:
        raise SpecError("io.copy(): 'source' is empty", given.at("source"))
    image = None if given["image"] is None else str(given["image"])
    state.steps.append(Copy(str(given["source"]), str(given["target"]), image, given.position))


_COMMANDS = Parameter("commands", "str|list[str]")

APIS = (
    Api("base", (Parameter("os", "str", "debian12"), Parameter("language", "str", ""),
                 Parameter("image", "str", None), Parameter("dev", "bool", False)),
        _base, "the bottom layer"),
    Api("shell", (Parameter("name", "str", "bash"),), _shell, "the login shell"),
    Api("run", (_COMMANDS, Parameter("mount_host", "bool", False)), _run,
        "shell commands at build time, without network"),
    Api("git_config", (Parameter("name", "str", ""), Parameter("email", "str", ""),
                       Parameter("editor", "str", "")), _git, "git's settings"),
    later("include"),
    Api("config.apt_source", (Parameter("source", "str", None),), _apt_source,
        "sources.list lines, or one archive's URL"),
    Api("config.pip_index", (Parameter("url", "str", ""), Parameter("extra_url", "str", ""),
                             Parameter("trust", "bool", False)), _pip_index, "the Python index"),
    Api("config.conda_channel", (Parameter("channel", "str|list[str]"),), _channel,
        "conda channels"),
    Api("config.jupyter", (Parameter("token", "str", ""), Parameter("port", "int", 8888)),
        _jupyter, "a Jupyter server in the container"),
    Api("config.entrypoint", (Parameter("args", "list[str]"),), _entrypoint, "the entry point"),
    Api("config.gpu", (Parameter("count", "int", 1),), _gpu, "how many GPUs it wants"),
    Api("config.shm_size", (Parameter("size", "int"),), _shm_size, "shared memory, in megabytes"),
    Api("config.repo", (Parameter("url"), Parameter("description", "str", "")), _repo,
        "where its sources live, for the image's labels"),
    Api("config.owner", (Parameter("uid", "int"), Parameter("gid", "int")), _owner,
        "a fixed uid and gid of the environment's user"),
    Api("runtime.environ", (Parameter("env", "dict[str]", {}),
                            Parameter("extra_path", "list[str]", ())), _environ,
        "environment variables"),
    Api("runtime.expose", (Parameter("envd_port", "int"), Parameter("host_port", "int", None),
                           Parameter("service", "str", ""), Parameter("listen_addr", "str", "")),
        _expose, "a port"),
    Api("runtime.mount", (Parameter("host_path", "any"), Parameter("envd_path")), _mount,
        "a host directory, mounted when it runs"),
    Api("runtime.command", (Parameter("commands", "dict[str]"),), _command, "named commands"),
    Api("runtime.daemon", (Parameter("commands", "list[list[str]]"),), _daemon,
        "long-running commands"),
    Api("runtime.init", (_COMMANDS,), _init, "commands at each start"),
    Api("io.copy", (Parameter("source", "str", aliases=("src", "host_path")),
                    Parameter("target", "str", "./", ("dest", "envd_path")),
                    Parameter("image", "str", None)), _copy, "files of the project"),
    Api("io.http", (Parameter("url"), Parameter("checksum", "str", None),
                    Parameter("filename", "str", None)), _http, "a file from the web"),
)
