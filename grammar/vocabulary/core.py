"""The rest of what stands alone: base, shell, run, git_config, include."""

from __future__ import annotations

import re

from grammar.environment import SECRET_NAME, Base, GitConfig, Include, Position, Run
from grammar.errors import Problems, SpecError
from grammar.nearest import suggest
from grammar.starlark.values import Value
from grammar.vocabulary.signature import Api, Given, Parameter
from grammar.vocabulary.state import V0_LANGUAGE, State

NO_INCLUDES = "include() is not evaluated here"

SYSTEMS = ("debian11", "debian12", "debian13", "ubuntu20.04", "ubuntu22.04", "ubuntu24.04")

SHELLS = ("bash", "zsh", "fish")

LANGUAGES = ("python", "python3", "r", "julia")

_LANGUAGE = re.compile(r"(python|r|julia)(\d+(\.\d+)*)?")

# An OCI reference, roughly: its registry, repository, tag and digest.
_IMAGE = re.compile(r"[a-z0-9][\w.:/-]*(@sha256:[0-9a-f]{64})?")


def _base(state: State, given: Given) -> None:
    language, system = str(given["language"]), str(given["os"])
    image = str(given["image"]) if given["image"] else None
    problems = Problems()
    with problems:
        if image is None and system not in SYSTEMS:
            raise SpecError(f"base has no os '{system}'{_system_hint(system)}", given.at("os"))
    with problems:
        if image is not None and ("//" in image or not _IMAGE.fullmatch(image)):
            raise SpecError(f"'{image}' is not a valid image reference", given.at("image"))
    with problems:
        _language(language, given.at("language"))
    problems.check()
    if state.syntax == "v0" and "language" not in given.places and image is None:
        language = V0_LANGUAGE
    dev = given["dev"] if "dev" in given.places else state.syntax == "v0"
    state.only_once("base", given.position, (system, language, image, dev))
    state.base = Base(system, language, image, dev, given.position)


def _system_hint(system: str) -> str:
    family = re.match(r"[a-z]*", system.lower())
    known = [x for x in SYSTEMS if family and family[0] and x.startswith(family[0])]
    plain = re.sub(r"[^a-z0-9.]", "", system.lower())
    if plain in SYSTEMS:
        also = f' (an image is written base(image="{system}"))' if ":" in system else ""
        return f"; did you mean '{plain}'?{also}"
    if "/" in system or ":" in system:
        return f'; an image is written base(image="{system}")'
    if known:
        return f"; known: {', '.join(known)}"
    return suggest(system, SYSTEMS) or f"; known: {', '.join(SYSTEMS)}"


def _language(language: str, position: Position) -> None:
    match = _LANGUAGE.fullmatch(language)
    if language and match is None:
        name = language.rstrip("0123456789.")
        hint = suggest(name, LANGUAGES) or f"; known: {', '.join(LANGUAGES)}"
        if _LANGUAGE.fullmatch(plain := re.sub(r"[\s-]", "", language.lower())):
            hint = f"; did you mean '{plain}'?"
        raise SpecError(f"base has no language '{language}'{hint}", position)
    if match and match[1] == "python" and match[2] and match[2].split(".")[0] != "3":
        raise SpecError(f"'{language}': Python is 3, such as \"python3.11\"", position)


def _shell(state: State, given: Given) -> None:
    name = str(given["name"])
    if name not in SHELLS:
        hint = suggest(name, SHELLS) or f"; known: {', '.join(SHELLS)}"
        raise SpecError(f"no shell '{name}'{hint}", given.at("name"))
    state.shell = name


def _run(state: State, given: Given) -> None:
    commands = tuple(str(c) for c in given["commands"])
    for name in given["secrets"]:
        if not re.fullmatch(SECRET_NAME, name):
            raise SpecError(
                f"'{name}' is not a valid name of a secret: letters, digits, '_', '.' and '-', at most "
                "64; its value is given with `envd build --secret NAME=env:VARIABLE`",
                given.where("secrets", name),
            )
    if commands:
        secrets = tuple(sorted({str(name) for name in given["secrets"]}))
        state.steps.append(Run(commands, given["mount_host"], given.position, given["network"], secrets))


def _git(state: State, given: Given) -> None:
    for name in ("name", "email", "editor"):
        if "\n" in given[name]:
            raise SpecError(f"git_config(): a line break in '{name}'", given.at(name))
    state.git = GitConfig(str(given["name"]), str(given["email"]), str(given["editor"]))


# What git takes as a URL (git-fetch(1), "GIT URLS"), without remote helpers such as "ext::…".
_GIT_URL = re.compile(
    r"(https?|ssh|git)://[^/\s-][^\s]*|file:///[^\s]+|[A-Za-z0-9_.][\w.-]*@[\w.-]+:(?!:)[^\s-][^\s]*"
)

_GIT_REF = re.compile(r"[A-Za-z0-9_][\w./+@-]*")


def _include(state: State, given: Given) -> Value:
    url, ref = str(given["git"]), str(given["ref"] or "")
    if not _GIT_URL.fullmatch(url):
        raise SpecError(
            f"'{url}' is not the URL of a git repository; write https://HOST/PATH, "
            "ssh://USER@HOST/PATH, "
            "USER@HOST:PATH or file:///PATH",
            given.at("git"),
        )
    if ref and (not _GIT_REF.fullmatch(ref) or ".." in ref or "@{" in ref):
        raise SpecError(f"'{ref}' is not a valid branch, tag or commit", given.at("ref"))
    if state.include is None:
        raise SpecError(NO_INCLUDES, given.position)
    return state.include(Include(url, ref, given.at("git")))


COMMANDS = Parameter("commands", "str|list[str]", about="shell commands, in order")


APIS = (
    Api(
        "base",
        (
            Parameter("os", "str", "debian12", about="the distribution", choices=SYSTEMS),
            Parameter(
                "language",
                "str",
                "",
                about='"python", "r" or "julia", with a version ("python3.11") or without',
                choices=LANGUAGES,
            ),
            Parameter("image", "str", None, about="an OCI image, instead of os"),
            Parameter(
                "dev", "bool", False, about="what a development environment needs: sshd, git, sudo, an editor"
            ),
        ),
        _base,
        "The bottom layer: a Debian or Ubuntu, or an image of a registry.",
        differs="Without arguments it is debian12, not an Ubuntu image; the parameters are those of "
        "v0 and v1 together, so an image is always given by name.",
    ),
    Api(
        "shell",
        (Parameter("name", "str", "bash", about="the shell", choices=SHELLS),),
        _shell,
        "The login shell.",
    ),
    Api(
        "run",
        (
            COMMANDS,
            Parameter("mount_host", "bool", False, about="mount the project, read-only, and run in it"),
            Parameter(
                "network", "bool", False, about="let them reach the network; the lock pins what they give"
            ),
            Parameter(
                "secrets",
                "list[str]",
                (),
                about="names of secrets: each a file /run/secrets/NAME while they run; values "
                "come from `--secret NAME=env:VARIABLE` or `=file:PATH`",
            ),
        ),
        _run,
        "Shell commands at build time: one script of bash (-euo pipefail), in one layer, in "
        "/home/envd/PROJECT, without network.",
        differs="There is no network: fetch with io.http, or write network=True, which is new; the lock "
        "pins what such a step gives. secrets is new. It runs as root, in development "
        "environments too, and in the order written, not after all else; the directory "
        "/home/envd/PROJECT stays only when something is put into it. In an image without "
        "bash it is sh's. Takes one string too.",
    ),
    Api(
        "git_config",
        (
            Parameter("name", "str", "", about="user.name"),
            Parameter("email", "str", "", about="user.email"),
            Parameter("editor", "str", "", about="core.editor"),
        ),
        _git,
        "git's settings.",
    ),
    Api(
        "include",
        (
            Parameter("git", about="the URL of a git repository"),
            Parameter("ref", "str", "", about="a branch, tag or commit [the remote's own default]"),
        ),
        _include,
        "The functions of another repository's *.envd files, as a module.",
        differs="The lock pins the commit; ref is new.",
    ),
)
