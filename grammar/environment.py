"""`Environment`: what a user asked for, as frozen data. The language's only result.

Nothing here says how to build anything. Every request keeps the `Position` where it was
written, so that a resolver that fails later can still point at the user's own line.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from grammar.position import NOWHERE as NOWHERE
from grammar.position import Position as Position


@dataclass(frozen=True)
class Request:
    """One thing asked for by name (a package, an extension), with where it was asked.

    `hashes` ("sha256:…", sorted): what is locked has one of them; none means any.
    """

    text: str
    position: Position = field(default=NOWHERE, compare=False)
    hashes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Notice:
    """Something suspicious that changes nothing: a deprecated name, say."""

    text: str
    position: Position

    def __str__(self) -> str:
        return f"{self.position}: warning: {self.text}"


@dataclass(frozen=True)
class Base:
    """The bottom layer: a distribution bootstrapped from its packages, or a registry image.

    `os` is a name such as "debian12"; `image` (an OCI reference) replaces it when given.
    `language` is "python3" (or "python3.11", "python"), "r", "julia", … or "" for none.
    """

    os: str = "debian12"
    language: str = ""
    image: str | None = None
    dev: bool = False
    position: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Cuda:
    """A CUDA toolkit ("12.9") and optionally cuDNN ("9"), from NVIDIA's wheels ("pypi") or apt
    repository ("apt"); "auto" is the first of these that has them."""

    version: str
    cudnn: str | None = None
    components: tuple[str, ...] = ()
    source: str = "auto"  # | "pypi" | "apt"
    position: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Toolchain:
    """A language or tool asked for by `install.NAME`.

    `name` is one of "python", "conda", "uv", "pixi", "r", "julia", "rust", "go", "nodejs" and
    "codex"; `version` is "" for the one that the source calls current; `options` are sorted pairs
    such as ("use_mamba", "true").
    """

    name: str
    version: str = ""
    options: tuple[tuple[str, str], ...] = ()
    position: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class PythonInput:
    """A file of the project's that says which Python packages: `path` is as it was written,
    relative to `directory` (absolute, and no part of what was asked for).

    `kind` is "pyproject" (pyproject.toml), "uv.lock", "pylock" (PEP 751) or "wheel" (a local one).
    `extras` and `groups` are the optional dependencies and dependency groups (PEP 735) wanted.
    """

    kind: str
    path: str
    position: Position = field(default=NOWHERE, compare=False)
    directory: str = field(default="", compare=False)
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class PythonOption:
    """An option of a requirements file: "index-url", "extra-index-url", "find-links" (a URL or an
    absolute path), "trusted-host", "only-binary", "no-index", "pre" or "require-hashes". `directory`
    is the project's (absolute, and no part of what was asked for)."""

    name: str
    value: str = ""
    position: Position = field(default=NOWHERE, compare=False)
    directory: str = field(default="", compare=False)


@dataclass(frozen=True)
class Include:
    """A git repository whose *.envd files were evaluated. `ref` is a branch, tag or commit, or
    "" for the remote's own default; `commit` is the one that was evaluated."""

    git: str
    ref: str = ""
    position: Position = field(default=NOWHERE, compare=False)
    commit: str = ""


@dataclass(frozen=True)
class Owner:
    """Who owns the environment's home: a fixed uid and gid."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Repo:
    """Where the environment's sources live, for the image's labels."""

    url: str
    description: str = ""


@dataclass(frozen=True)
class PipIndex:
    """Where Python packages come from: the index at `url`, and one more at `extra_url`; with `trust`
    their certificates are not verified."""

    url: str
    extra_url: str | None = None
    trust: bool = False


@dataclass(frozen=True)
class GitConfig:
    """git's settings user.name, user.email and core.editor in the image; "" leaves one unset."""

    name: str = ""
    email: str = ""
    editor: str = ""


@dataclass(frozen=True)
class Jupyter:
    """A Jupyter server on `port` of the container; without a `token` it gets a random one."""

    token: str = ""
    port: int = 8888
    position: Position = field(default=NOWHERE, compare=False)


# A secret's name: a file's, and of no special meaning anywhere (a regular expression).
SECRET_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"


@dataclass(frozen=True)
class Run:
    """Shell commands that run at build time, in order, in one layer; without network, unless
    `network`: then the lock pins what they give. `secrets` are names (SECRET_NAME), sorted: the
    command line says where the values are."""

    commands: tuple[str, ...]
    mount_host: bool = False
    position: Position = field(default=NOWHERE, compare=False)
    network: bool = False
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Copy:
    """A copy of host files (relative to the spec's directory) into the image, less what fits
    `exclude` (patterns as in .dockerignore, relative to the source)."""

    source: str
    target: str
    image: str | None = None
    exclude: tuple[str, ...] = ()  # patterns, relative to the source
    position: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Http:
    """A file downloaded at lock time into the image. `checksum` is "sha256:…" or "" (then the lock
    pins what came); `filename` is "" for the URL's last part."""

    url: str
    checksum: str = ""
    filename: str = ""
    position: Position = field(default=NOWHERE, compare=False)


Step = Run | Copy | Http


@dataclass(frozen=True)
class Expose:
    """A port of the container, `envd_port`, at `host_port` of the host (None or 0: a free one) on the
    address `listen_addr` ("": 127.0.0.1). `service` is a name to print beside it."""

    envd_port: int
    host_port: int | None = None
    service: str = ""
    listen_addr: str = ""


@dataclass(frozen=True)
class Mount:
    """A mount when it runs. `managed`: `host_path` names a volume that envd keeps (data.envd)."""

    host_path: str
    envd_path: str
    managed: bool = False


@dataclass(frozen=True)
class Daemon:
    """A long-running command (argv) started with the environment and kept running."""

    argv: tuple[str, ...]


@dataclass(frozen=True)
class Environment:
    """Everything one `build()` asked for. Order is kept where order has meaning (`steps`)."""

    base: Base = Base()
    apt_packages: tuple[Request, ...] = ()
    python_packages: tuple[Request, ...] = ()  # PEP 508 requirements
    conda_packages: tuple[Request, ...] = ()  # conda MatchSpecs
    vscode_extensions: tuple[Request, ...] = ()  # "publisher.name" or "publisher.name@1.2.3"
    cuda: Cuda | None = None
    shell: str = "bash"
    git: GitConfig | None = None
    jupyter: Jupyter | None = None
    steps: tuple[Step, ...] = ()
    apt_source: str | None = None  # sources.list text, or one mirror URL
    apt_key: str | None = None  # absolute path of the key that signs it
    apt_source_position: Position = field(default=NOWHERE, compare=False)
    pip_index: PipIndex | None = None
    conda_channels: tuple[str, ...] = ()
    environ: tuple[tuple[str, str], ...] = ()  # sorted by name
    extra_path: tuple[str, ...] = ()
    expose: tuple[Expose, ...] = ()
    mounts: tuple[Mount, ...] = ()
    commands: tuple[tuple[str, str], ...] = ()  # runtime.command: name -> shell text
    daemons: tuple[Daemon, ...] = ()
    init: tuple[str, ...] = ()  # runtime.init: one script for each call
    entrypoint: tuple[str, ...] = ()
    toolchains: tuple[Toolchain, ...] = ()
    python_inputs: tuple[PythonInput, ...] = ()
    python_constraints: tuple[Request, ...] = ()  # PEP 508, of `-c` files
    python_options: tuple[PythonOption, ...] = ()
    conda_pip: tuple[Request, ...] = ()  # PEP 508: an env_file's `pip:`, for conda's own Python
    r_packages: tuple[Request, ...] = ()
    julia_packages: tuple[Request, ...] = ()
    cran_mirror: str | None = None
    julia_pkg_server: str | None = None
    rstudio_server: Position | None = None  # where it was asked for
    wants: tuple[tuple[str, tuple[Request, ...]], ...] = ()  # of other sections, by their names
    gpu: int | None = None  # how many; None: as many as CUDA wants
    shm_size: int | None = None  # megabytes
    owner: Owner | None = None
    repo: Repo | None = None
    includes: tuple[Include, ...] = ()
    syntax: str = "v1"
    read_files: tuple[str, ...] = ()  # absolute paths of what the evaluation read
    notices: tuple[Notice, ...] = field(default=(), compare=False)

    def wanted(self, section: str) -> tuple[Request, ...]:
        """What was asked of a section that has no field of its own here."""
        return dict(self.wants).get(section, ())
