"""`runtime.*`: variables, ports, mounts, and commands of the container."""

from __future__ import annotations

import ipaddress
import re

from grammar.environment import Daemon, Expose, Mount, Position
from grammar.errors import Problems, SpecError
from grammar.vocabulary.config import port
from grammar.vocabulary.core import COMMANDS
from grammar.vocabulary.signature import Api, Given, Parameter, each
from grammar.vocabulary.state import DataSource, State


def _environ(state: State, given: Given) -> None:
    problems = Problems()
    for name, value in given["env"].items():
        with problems:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise SpecError(f"'{name}' is not a valid variable name", given.where("env", name))
            state.environ[str(name)] = str(value)
    problems.check()

    def path(text: str, where: Position) -> None:
        if not text or ":" in text:
            raise SpecError(f"'{text}' is not one directory of PATH", where)
        state.extra_path.append(text)

    each(given, "extra_path", path)


def _expose(state: State, given: Given) -> None:
    problems = Problems()
    with problems:
        port(given, "envd_port", 1)
    with problems:
        port(given, "host_port")
    address = str(given["listen_addr"])
    with problems:
        if address:
            try:
                ipaddress.ip_address(address)
            except ValueError:
                raise SpecError(
                    f"'{address}' is not a valid IP address, such as \"127.0.0.1\"", given.at("listen_addr")
                ) from None
    problems.check()
    state.expose.append(
        Expose(given["envd_port"], given["host_port"] or None, str(given["service"]), address)
    )


def mount(state: State, given: Given) -> None:
    source, target = given["host_path"], str(given["envd_path"])
    if not target.startswith(("/", "~")):
        raise SpecError(
            f"'{target}' is not a path in the container: begin it with '/' or '~'", given.at("envd_path")
        )
    if isinstance(source, DataSource):
        state.mounts.append(Mount(source.name, target, True))
    elif source:
        state.mounts.append(Mount(str(source), target))
    else:
        raise SpecError("runtime.mount(): 'host_path' is empty", given.at("host_path"))


def _command(state: State, given: Given) -> None:
    state.commands.update({str(k): str(v) for k, v in given["commands"].items()})


def _daemon(state: State, given: Given) -> None:
    state.daemons += [Daemon(tuple(str(w) for w in argv)) for argv in given["commands"]]


def _init(state: State, given: Given) -> None:
    if commands := [str(c) for c in given["commands"]]:
        state.init.append("\n".join(commands))


MOUNT = (
    Parameter(
        "host_path",
        "str|data",
        about='of the host ("~" is the caller\'s home), or data.envd(...)',
        deprecated=("src",),
    ),
    Parameter("envd_path", about='in the container ("~" is its user\'s home)', deprecated=("dest",)),
)


APIS = (
    Api(
        "runtime.environ",
        (
            Parameter("env", "dict[str]", {}, about="names and values"),
            Parameter("extra_path", "list[str]", (), about="directories before PATH"),
        ),
        _environ,
        "Environment variables of the container.",
    ),
    Api(
        "runtime.expose",
        (
            Parameter("envd_port", "int", about="in the container"),
            Parameter("host_port", "int", None, about="on the host [0: a free one]"),
            Parameter("service", "str", "", about="its name"),
            Parameter("listen_addr", "str", "", about="an IP address of the host [127.0.0.1]"),
        ),
        _expose,
        "A port that the host forwards.",
    ),
    Api(
        "runtime.mount",
        MOUNT,
        mount,
        "A directory of the host, mounted when it runs.",
        differs="One that is outside of the project and of your home is mounted with "
        "`envd up --allow-mount DIR` alone.",
    ),
    Api(
        "runtime.command",
        (Parameter("commands", "dict[str]", {}, about="names and commands"),),
        _command,
        "Named commands, for `envd exec --command NAME`.",
    ),
    Api(
        "runtime.daemon",
        (Parameter("commands", "list[list[str]]", about="argument vectors"),),
        _daemon,
        "Commands that start with the container and are kept running.",
        differs="Words such as `>>file` and `2>&1` are redirections, as its own examples have them; "
        "`~/` is the home; `$NAME`, `${NAME}` and `${NAME:-default}` are variables of the "
        "container, but for the text of `sh -c`, which is left to that shell. Every word stays "
        "one word. What ends is started again, for ever, a second apart; there, three times.",
    ),
    Api(
        "runtime.init",
        (COMMANDS,),
        _init,
        "One script of bash (-euo pipefail) for each call, at each start of the container, beside "
        "sshd, Jupyter and daemons, as its user.",
        differs="The scripts of several calls run one after the other, not all at once, and one that "
        "fails is not tried again; what comes after it does not run. The environment is up all "
        "the same, and `envd up` says so.",
    ),
)
