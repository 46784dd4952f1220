"""The rest of the vocabulary: base, shell, run, git_config, config.*, runtime.*, io.*."""

from __future__ import annotations

import re

from grammar.environment import (
    SECRET_NAME,
    Base,
    Copy,
    Daemon,
    Expose,
    GitConfig,
    Http,
    Include,
    Jupyter,
    Mount,
    Owner,
    PipIndex,
    Position,
    Repo,
    Run,
)
from grammar.errors import Problems, SpecError, suggest
from grammar.starlark.values import Value
from grammar.vocabulary.requirements import literally
from grammar.vocabulary.signature import Api, Given, Parameter, each
from grammar.vocabulary.state import V0_LANGUAGE, DataSource, State

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
    _port(given, "port")
    state.jupyter = Jupyter(str(given["token"]), given["port"] or 8888, given.position)


def _entrypoint(state: State, given: Given) -> None:
    state.entrypoint += tuple(str(a) for a in given["args"])


def _port(given: Given, name: str, least: int = 0) -> None:
    if given[name] is not None and not least <= given[name] <= 65535:
        raise SpecError(f"{name} is from 1 to 65535", given.at(name))


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
    import ipaddress

    problems = Problems()
    with problems:
        _port(given, "envd_port", 1)
    with problems:
        _port(given, "host_port")
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


def _mount(state: State, given: Given) -> None:
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


def _http(state: State, given: Given) -> None:
    if not re.match(r"https?://", given["url"]):
        raise SpecError(f"'{given['url']}' is not an http or https URL", given.at("url"))
    checksum = str(given["checksum"] or "").lower()
    if checksum and not re.fullmatch(r"(sha256:)?[0-9a-f]{64}", checksum):
        raise SpecError("checksum must be 'sha256:' and 64 hex digits", given.at("checksum"))
    if checksum:
        checksum = f"sha256:{checksum.removeprefix('sha256:')}"
    filename = str(given["filename"] or "")
    if "/" in filename or filename in (".", ".."):
        raise SpecError("filename must be a plain name, without '/'", given.at("filename"))
    state.steps.append(Http(str(given["url"]), checksum, filename, given.position))


def _command(state: State, given: Given) -> None:
    state.commands.update({str(k): str(v) for k, v in given["commands"].items()})


def _daemon(state: State, given: Given) -> None:
    state.daemons += [Daemon(tuple(str(w) for w in argv)) for argv in given["commands"]]


def _init(state: State, given: Given) -> None:
    if commands := [str(c) for c in given["commands"]]:
        state.init.append("\n".join(commands))


def _copy(state: State, given: Given) -> None:
    if not given["source"]:
        raise SpecError("io.copy(): 'source' is empty", given.at("source"))
    image = str(given["image"]) if given["image"] else None
    exclude = tuple(str(pattern) for pattern in given["exclude"])
    if exclude and image:
        raise SpecError(
            "io.copy(): 'exclude' is for files of the project, not of an image", given.at("exclude")
        )
    state.steps.append(Copy(str(given["source"]), str(given["target"]), image, exclude, given.position))


_COMMANDS = Parameter("commands", "str|list[str]", about="shell commands, in order")
_MOUNT = (
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
            _COMMANDS,
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
        _MOUNT,
        _mount,
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
        (_COMMANDS,),
        _init,
        "One script of bash (-euo pipefail) for each call, at each start of the container, beside "
        "sshd, Jupyter and daemons, as its user.",
        differs="The scripts of several calls run one after the other, not all at once, and one that "
        "fails is not tried again; what comes after it does not run. The environment is up all "
        "the same, and `envd up` says so.",
    ),
    Api(
        "io.copy",
        (
            Parameter(
                "source",
                "str",
                aliases=("host_path",),
                about="in the project, or in the image",
                deprecated=("src",),
            ),
            Parameter("target", "str", "./", ("envd_path",), "in the container", (), ("dest",)),
            Parameter("image", "str", None, about="an OCI image to copy from"),
            Parameter(
                "exclude",
                "str|list[str]",
                (),
                about="what not to copy: patterns as in .dockerignore, relative to the source",
            ),
        ),
        _copy,
        "Files of the project, or of an image. What is copied to a directory goes into it under its "
        'name, as with COPY and cp: a file, and a directory too. Of "." it is the contents.',
        differs="Copies and commands happen in the order in which they are written, not all copies "
        'first. "~" is the home (there, a directory of that name). A source that is a link '
        "is followed. Directories that are there keep their owner and mode, also below a "
        "copied directory, and links to directories are followed there too (there, an "
        "error); an image's files keep their owners. What .envdignore or .dockerignore "
        "names is not copied, nor are .git, .venv, .env, "
        "__pycache__ and envd.lock, unless they are the source itself or an ignore file "
        'takes them back ("!.env"); exclude is new.',
    ),
    Api(
        "io.http",
        (
            Parameter("url", about="http or https"),
            Parameter("checksum", "str", None, about='"sha256:…" [pinned by the lock]'),
            Parameter("filename", "str", None, about="its name [the URL's]"),
        ),
        _http,
        "A file from the web, at ~/extra_source.",
        differs="Of digests only sha256.",
    ),
    Api("io.mount", _MOUNT, _mount, "The old name of `runtime.mount`.", instead="runtime.mount"),
)
