"""What calls of the vocabulary have asked for so far: mutable, of one evaluation, then frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from grammar.environment import (
    NOWHERE,
    Base,
    Cuda,
    Daemon,
    Environment,
    Expose,
    GitConfig,
    Include,
    Jupyter,
    Mount,
    Notice,
    Owner,
    PipIndex,
    Position,
    PythonInput,
    PythonOption,
    Repo,
    Request,
    Step,
    Toolchain,
)
from grammar.errors import SpecError
from grammar.starlark.values import Module
from grammar.vocabulary.inside import inside


@dataclass(frozen=True)
class DataSource:
    """A volume that envd keeps under a name, for `runtime.mount`."""

    name: str


@dataclass
class CondaChannels:
    """Where conda looks: what `config.conda_channel` and `install.conda_packages` named, and what
    those names mean (conda's documentation, "Using the .condarc configuration file")."""

    names: list[str] = field(default_factory=list)
    defaults: tuple[str, ...] = ()  # default_channels: what "defaults" stands for
    custom: dict[str, str] = field(default_factory=dict)  # custom_channels: name -> URL above it
    alias: str = ""  # channel_alias: the URL above all others

    def resolved(self) -> tuple[str, ...]:
        """The channels in order, as URLs where their names say which."""
        found: list[str] = []
        for name in self.names:
            if name == "defaults" and self.defaults:
                found += [self._url(x) for x in self.defaults]
            else:
                found.append(self._url(name))
        return tuple(dict.fromkeys(found))

    def _url(self, name: str) -> str:
        if "://" in name:
            return name
        first = name.split("/")[0]
        above = self.custom.get(name) or self.custom.get(first) or self.alias
        return f"{above.rstrip('/')}/{name}" if above else name


V0_LANGUAGE = "python3"  # what language v0 takes where base() does not say


@dataclass
class State:
    """The requests of one evaluation. `directory` is what relative paths mean; files of it alone are
    read, and of the directories `allowed`."""

    directory: Path
    allowed: tuple[Path, ...] = ()
    base: Base | None = None
    apt: dict[str, Request] = field(default_factory=dict)
    python: list[Request] = field(default_factory=list)
    conda: list[Request] = field(default_factory=list)
    vscode: dict[str, Request] = field(default_factory=dict)
    cuda: Cuda | None = None
    shell: str = "bash"
    git: GitConfig | None = None
    jupyter: Jupyter | None = None
    steps: list[Step] = field(default_factory=list)
    apt_source: str | None = None
    apt_key: str | None = None
    apt_source_position: Position = NOWHERE
    pip_index: PipIndex | None = None
    conda_channels: CondaChannels = field(default_factory=CondaChannels)
    environ: dict[str, str] = field(default_factory=dict)
    extra_path: list[str] = field(default_factory=list)
    expose: list[Expose] = field(default_factory=list)
    mounts: list[Mount] = field(default_factory=list)
    commands: dict[str, str] = field(default_factory=dict)
    daemons: list[Daemon] = field(default_factory=list)
    init: list[str] = field(default_factory=list)
    entrypoint: tuple[str, ...] = ()
    toolchains: dict[str, Toolchain] = field(default_factory=dict)
    python_inputs: list[PythonInput] = field(default_factory=list)
    python_constraints: list[Request] = field(default_factory=list)
    python_options: list[PythonOption] = field(default_factory=list)
    conda_pip: list[Request] = field(default_factory=list)
    r_packages: dict[str, Request] = field(default_factory=dict)
    julia_packages: dict[str, Request] = field(default_factory=dict)
    cran_mirror: str | None = None
    julia_pkg_server: str | None = None
    rstudio_server: Position | None = None
    wants: dict[str, dict[str, Request]] = field(default_factory=dict)  # by section, by text
    gpu: int | None = None
    shm_size: int | None = None
    owner: Owner | None = None
    repo: Repo | None = None
    includes: list[Include] = field(default_factory=list)
    syntax: str = "v1"
    read_files: list[str] = field(default_factory=list)
    once: dict[str, tuple[Position, object]] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    include: Callable[[Include], Module] | None = None  # how to evaluate a repository

    def file(self, text: str, position: Position) -> Path:
        """The file of the project that `text` names. Raises SpecError for one of elsewhere."""
        return inside(self.directory / text, self.directory, self.allowed, position)

    def only_once(self, name: str, position: Position, values: object = None) -> None:
        """Raise SpecError when `name` was called before, and not with the same `values`: functions
        that a spec shares may each ask for what they need."""
        if name not in self.once:
            self.once[name] = (position, values)
            return
        before, had = self.once[name]
        if values is None or values != had:
            where = f"line {before.line}" if before.file == position.file else str(before)
            raise SpecError(f"{name}() was called before, at {where}, with other arguments", position)

    def want(self, section: str, request: Request) -> None:
        """Ask for something of a section of the lock that has no field of its own here."""
        self.wants.setdefault(section, {}).setdefault(request.text, request)

    def warn(self, text: str, position: Position) -> None:
        """Note something suspicious, once for each place."""
        notice = Notice(text, position)
        if notice not in self.notices:
            self.notices.append(notice)

    def freeze(self) -> Environment:
        """The Environment."""
        return Environment(
            base=self.base or (Base(dev=True, language=V0_LANGUAGE) if self.syntax == "v0" else Base()),
            apt_packages=tuple(self.apt.values()),
            python_packages=tuple(dict.fromkeys(self.python)),
            conda_packages=tuple(dict.fromkeys(self.conda)),
            vscode_extensions=tuple(self.vscode.values()),
            cuda=self.cuda,
            shell=self.shell,
            git=self.git,
            jupyter=self.jupyter,
            steps=tuple(self.steps),
            apt_source=self.apt_source,
            apt_key=self.apt_key,
            apt_source_position=self.apt_source_position,
            pip_index=self.pip_index,
            conda_channels=self.conda_channels.resolved(),
            environ=tuple(sorted(self.environ.items())),
            extra_path=tuple(self.extra_path),
            expose=tuple(self.expose),
            mounts=tuple(self.mounts),
            commands=tuple(sorted(self.commands.items())),
            daemons=tuple(self.daemons),
            init=tuple(self.init),
            entrypoint=self.entrypoint,
            toolchains=tuple(self.toolchains.values()),
            python_inputs=tuple(dict.fromkeys(self.python_inputs)),
            python_constraints=tuple(dict.fromkeys(self.python_constraints)),
            python_options=tuple(dict.fromkeys(self.python_options)),
            conda_pip=tuple(dict.fromkeys(self.conda_pip)),
            r_packages=tuple(self.r_packages.values()),
            julia_packages=tuple(self.julia_packages.values()),
            cran_mirror=self.cran_mirror,
            julia_pkg_server=self.julia_pkg_server,
            rstudio_server=self.rstudio_server,
            wants=tuple(
                (section, tuple(requests.values())) for section, requests in sorted(self.wants.items())
            ),
            gpu=self.gpu,
            shm_size=self.shm_size,
            owner=self.owner,
            repo=self.repo,
            includes=tuple(self.includes),
            syntax=self.syntax,
            read_files=tuple(self.read_files),
            notices=tuple(self.notices),
        )
