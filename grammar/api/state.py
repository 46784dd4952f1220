"""What calls of the vocabulary have asked for so far: mutable, of one evaluation, then frozen."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from grammar.environment import (
    Base,
    Cuda,
    Daemon,
    Environment,
    Expose,
    GitConfig,
    Include,
    Jupyter,
    Mount,
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


@dataclass
class State:
    """The requests of one evaluation. `directory` is what relative paths mean."""

    directory: Path
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
    pip_index: PipIndex | None = None
    conda_channels: list[str] = field(default_factory=list)
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
    gpu: int | None = None
    shm_size: int | None = None
    owner: Owner | None = None
    repo: Repo | None = None
    includes: list[Include] = field(default_factory=list)
    syntax: str = "v1"
    read_files: list[str] = field(default_factory=list)
    once: dict[str, Position] = field(default_factory=dict)

    def only_once(self, name: str, position: Position) -> None:
        """Raise SpecError when `name` was called before."""
        if name in self.once:
            raise SpecError(
                f"{name}() was called before, at line {self.once[name].line}", position
            )
        self.once[name] = position

    def freeze(self) -> Environment:
        """The Environment."""
        return Environment(
            base=self.base or Base(),
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
            pip_index=self.pip_index,
            conda_channels=tuple(dict.fromkeys(self.conda_channels)),
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
            gpu=self.gpu,
            shm_size=self.shm_size,
            owner=self.owner,
            repo=self.repo,
            includes=tuple(self.includes),
            syntax=self.syntax,
            read_files=tuple(self.read_files),
        )
