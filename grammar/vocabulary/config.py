"""`config.*`: where packages come from, Jupyter, and what the container is given."""

from __future__ import annotations

import re

from grammar.environment import Jupyter, Owner, PipIndex, Repo
from grammar.errors import Problems, SpecError
from grammar.vocabulary.requirements import literally
from grammar.vocabulary.signature import Api, Given, Parameter
from grammar.vocabulary.state import State


def _apt_source(state: State, given: Given) -> None:
    text = str(given["source"] or "").strip()
    if given["source"] is not None and not text:
        raise SpecError("config.apt_source(): 'source' is empty", given.at("source"))
    lines = [] if re.fullmatch(r"https?://\S+", text) else text.splitlines()
    for entry in map(str.strip, lines):
        if entry and not re.match(r"#|(deb|deb-src)\s+(\[[^]]*\]\s+)?\S+:/\S*\s+\S+", entry):
            raise SpecError(
                f"'{entry}' is not a valid line of sources.list: write 'deb URL SUITE COMPONENT…'",
                given.at("source"),
            )
    state.apt_source = str(given["source"]) if text else None
    state.apt_source_position = given.position
    if given["key"] is not None:
        path = state.file(str(given["key"]), given.at("key"))
        if not text:
            raise SpecError("config.apt_source(): a key without a source", given.at("key"))
        if not path.is_file():
            raise SpecError(f"no such file: {path}", given.at("key"))
        state.apt_key = str(path.resolve())
        state.read_files.append(state.apt_key)


def _pip_index(state: State, given: Given) -> None:
    for name in ("url", "extra_url"):
        if (given[name] or name == "url") and not re.match(r"(https?|file)://", given[name]):
            raise SpecError(f"'{given[name]}' is not a valid URL", given.at(name))
        literally(str(given[name]), given.at(name))
    extra = str(given["extra_url"]) or None
    state.pip_index = PipIndex(str(given["url"]), extra, given["trust"])


def _jupyter(state: State, given: Given) -> None:
    port(given, "port")
    state.jupyter = Jupyter(str(given["token"]), given["port"] or 8888, given.position)


def _entrypoint(state: State, given: Given) -> None:
    state.entrypoint += tuple(str(a) for a in given["args"])


def port(given: Given, name: str, least: int = 0) -> None:
    if given[name] is not None and not least <= given[name] <= 65535:
        raise SpecError(f"{name} is from 1 to 65535", given.at(name))


def _gpu(state: State, given: Given) -> None:
    if not 0 <= given["count"] <= 1024:
        raise SpecError("count is how many GPUs: from 0 to 1024", given.at("count"))
    state.gpu = given["count"]


def _shm_size(state: State, given: Given) -> None:
    if not 1 <= given["size"] <= 1 << 24:
        raise SpecError("size is in megabytes: from 1 to 16777216", given.at("size"))
    state.shm_size = given["size"]


def _repo(state: State, given: Given) -> None:
    state.repo = Repo(str(given["url"]), str(given["description"]))


def _owner(state: State, given: Given) -> None:
    problems = Problems()
    for name in ("uid", "gid"):
        with problems:
            if not 0 <= given[name] <= 65535:
                raise SpecError(f"{name} is from 0 to 65535", given.at(name))
    problems.check()
    state.owner = Owner(given["uid"], given["gid"])


APIS = (
    Api(
        "config.apt_source",
        (
            Parameter("source", "str", None, about="lines of sources.list, or one archive's URL"),
            Parameter("key", "str", None, about="a file of the project's: the key that signs it"),
        ),
        _apt_source,
        "Where Debian packages are.",
        differs="key is new.",
    ),
    Api(
        "config.pip_index",
        (
            Parameter("url", about="the index"),
            Parameter("extra_url", "str", "", about="one more, treated equally"),
            Parameter("trust", "bool", False, about="do not verify its certificate"),
        ),
        _pip_index,
        "Where Python packages are.",
        differs="Variables of the machine are not replaced in a URL: logins are kept in ~/.netrc or in "
        "uv's or pip's own configuration.",
    ),
    Api(
        "config.jupyter",
        (
            Parameter(
                "token", "str", "", about="what a browser must show [a random one]", deprecated=("password",)
            ),
            Parameter("port", "int", 8888, about="its port in the container"),
        ),
        _jupyter,
        "A Jupyter server that starts with the container.",
        differs="Without a token there is a random one, which `envd up` prints; in an image that is run "
        "otherwise it is in the container's log.",
    ),
    Api(
        "config.entrypoint",
        (Parameter("args", "list[str]", about="program and arguments"),),
        _entrypoint,
        "The image's entry point.",
    ),
    Api(
        "config.gpu",
        (Parameter("count", "int", 1, about="how many"),),
        _gpu,
        "How many GPUs the environment needs.",
    ),
    Api(
        "config.shm_size",
        (Parameter("size", "int", about="in megabytes"),),
        _shm_size,
        "The size of shared memory.",
    ),
    Api(
        "config.repo",
        (
            Parameter("url", about="the repository"),
            Parameter("description", "str", "", about="what it holds"),
        ),
        _repo,
        "Where the environment's sources are, for the image's labels.",
    ),
    Api(
        "config.owner",
        (Parameter("uid", "int", about="0 to 65535"), Parameter("gid", "int", about="0 to 65535")),
        _owner,
        "A fixed uid and gid of the environment's user.",
    ),
)
