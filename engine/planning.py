"""`Plan`: what a lock means, as a DAG of derivations, and the image's configuration.

Wheels, conda, CUDA and extensions are siblings above the base: none depends on another. Only
`run` and `io.copy` keep the order in which they were written, over everything before them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine import languages
from engine.build import (
    apt,
    base,
    conda,
    cuda,
    dev,
    files,
    firststart,
    group,
    http,
    image,
    image_files,
    julia,
    login,
    placed,
    rpackage,
    run,
    sdist,
    services,
    shell,
    tool,
    toolchains,
    vscode,
    wheel,
)
from engine.build.context import Builder
from engine.build.interpreter import Interpreter
from engine.derivation import Derivation
from engine.errors import UsageError
from engine.image.model import ImageConfig
from engine.lock import Lock, LockedPackage
from engine.origins import Origins
from engine.resolve import cuda as cuda_names
from engine.resolve import web
from engine.selection import Selection, sentence
from engine.urls import redacted
from grammar.environment import Copy, Environment, Run

# Docker's limit is 127; overlayfs and registries like fewer. Beyond this, wheels are grouped.
MAX_SINGLE_WHEELS = 60

# What lies at the bottom, and what is made in an overlay over layers of its own (`engine.build.placed`).
_BOTTOM = frozenset({base.KIND, image.KIND})
_OVERLAYS = frozenset({apt.KIND, dev.KIND, shell.KIND})

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Plan:
    """`layers` from the bottom up, as they are built; `stack` holds the same as they lie upon each
    other, placed (`engine.build.placed`). `config` is the image's; `sources` says of the
    fingerprint of copied files where they lie on this machine, `secrets` are what steps are handed
    (both no part of any hash)."""

    layers: tuple[Derivation, ...]
    config: ImageConfig
    sources: Mapping[str, Selection]
    stack: tuple[Derivation, ...]
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def builders(self) -> dict[str, Builder]:
        """The builder of every kind."""
        return {
            base.KIND: base.build,
            http.KIND: http.build,
            image.KIND: image.build,
            image_files.KIND: image_files.build,
            apt.KIND: apt.build,
            wheel.KIND: wheel.build,
            sdist.KIND: sdist.build,
            group.KIND: group.build,
            run.KIND: run.BuilderOfRuns(self.sources, self.secrets),
            shell.KIND: shell.build,
            login.KIND: login.build,
            services.KIND: services.build,
            conda.KIND: conda.build,
            tool.KIND: tool.build,
            files.KIND: files.BuilderOfFiles(self.sources),
            **cuda.BUILDERS,
            **dev.BUILDERS,
            **vscode.BUILDERS,
            **rpackage.BUILDERS,
            **julia.BUILDERS,
        }


def plan(environment: Environment, lock: Lock, directory: Path) -> Plan:
    """The plan of `environment` as `lock` pins it; `directory` is the project's.

    Raises UsageError when a copied file is not there.
    """
    lock = _located(environment, lock, directory)
    if lock.base.kind == "image":
        layers = image.layers(lock.base.packages)
    else:
        layers = [base.derivation(lock.base)]
    if lock.apt:
        layers.append(apt.derivation(lock.apt, layers))
    system = ground = tuple(layers)
    if environment.cuda is not None and lock.cuda:
        layers += cuda.derivations(lock.cuda, cuda_names.short(environment.cuda.version))
    python = toolchains.interpreter(environment, lock)
    layers += toolchains.derivations(environment, lock)
    condas = [conda.derivation(lock.conda)] if lock.conda else []
    holding = toolchains.holding(python, [*layers, *condas])
    limit = MAX_SINGLE_WHEELS // (2 if lock.wheels and lock.conda_wheels else 1)
    layers += _python(lock.wheels, python, (*system, *holding), limit)
    layers += rpackage.derivations(lock.r, system)
    layers += julia.derivations(lock.julia, environment.julia_packages)
    layers += condas
    if (inside := conda.interpreter(lock.conda)) is not None:
        layers += _python(lock.conda_wheels, inside, (*system, *condas), limit)
    if lock.vscode:
        layers += vscode.derivations(lock.vscode)
    if lock.rstudio:
        layers.append(apt.derivation(lock.rstudio, system, languages.RSTUDIO))
        system = (*system, layers[-1])
    own = "" if python.prefix or lock.base.facts.get("python_command") else lock.python
    developing = dev.wanted(environment)
    if developing:
        layers.append(dev.packages(lock.dev, system))
        system = (*system, layers[-1])
    if lock.base.kind != "image" or developing or own or environment.git \
            or _has_shell(environment, lock):
        layers.append(
            shell.derivation(
                environment.shell, environment.git, own, system,
                home=dev.HOME if developing else "",
            )
        )
    workdir = _workdir(environment, lock, directory)
    started = (
        dev.derivation(environment) if developing else services.derivation(environment, workdir)
    )
    if started is not None:
        layers.append(started)
    config = _config(environment, lock, workdir, supervised=started is not None)
    if shells := _shells(environment, lock):
        layers.append(login.derivation(_for_shells(config, environment), shells, ground, condas,
                                       list(dict(environment.environ))))
    # Files from the web are there before the first step, in whichever order they are written.
    pinned = {p.extra["request"]: p for p in lock.files}
    for wanted in web.files(environment):
        layers.append(http.derivation(pinned[web.text_of(wanted)], wanted.url))
    stack = placed.stacked(layers, _BOTTOM, _OVERLAYS)
    sources: dict[str, Selection] = {}
    home = dev.HOME if developing else "/root"
    for step in environment.steps:
        if isinstance(step, Copy):
            if step.image:
                below = web.layers_of(step.image, lock.images)
                copy = image_files.derivation(step, below, home)
                to = image_files.target_of(step, home)
            else:
                copy = files.derivation(step, directory, home)
                source = files.source_of(step, directory)
                sources[str(copy.parameters["content"])] = files.selection_of(step, directory)
                to = files.target_of(step, source, home)
            layers.append(copy)
            stack.append(placed.derivation(copy, stack, to))
        elif isinstance(step, Run):
            content = run.content_of(directory) if step.mount_host else ""
            if content:
                sources[content] = Selection(str(directory))
            variables = (*config.env, ("HOME", home)) if developing else config.env
            layers.append(
                run.derivation(step, stack, variables, dev.project_directory(directory), content)
            )
            stack.append(layers[-1])
    return Plan(tuple(layers), config, sources, tuple(stack))


def check_copies(environment: Environment, directory: Path) -> None:
    """Raise UsageError for every io.copy of what the project at `directory` does not have, or what
    no image can: known before anything is resolved."""
    problems = []
    for step in environment.steps:
        if isinstance(step, Copy) and not step.image:
            try:
                files.check(step, directory)
            except UsageError as error:
                problems.append(str(error))
    if problems:
        raise UsageError("\n".join(problems))


def left_out(environment: Environment, directory: Path) -> list[tuple[str, str]]:
    """What steps do not take of the project: (which step, a sentence), for those that leave
    something out."""
    found = {}
    for step in environment.steps:
        if isinstance(step, Copy) and not step.image:
            taken = files.selection_of(step, directory)
            found[f"io.copy({step.source!r})"] = sentence(taken.left_out())
        elif isinstance(step, Run) and step.mount_host:
            found["run(mount_host=True)"] = sentence(Selection(str(directory)).left_out())
    return [(step, text) for step, text in found.items() if text]


def _located(environment: Environment, lock: Lock, directory: Path) -> Lock:
    """The lock with its files' URLs as they are on this machine: no part of any hash."""
    from engine.locking import conda_wanted, python_wanted
    from engine.resolve.conda import channel_url
    from engine.resolve.pypi import origins

    lock = languages.located(environment, lock, directory)
    python = origins(python_wanted(environment), directory)
    inside = origins(conda_wanted(environment), directory)
    channels = Origins(directory, [channel_url(c) for c in environment.conda_channels])
    mirrors = [v for k, v in os.environ.items() if k.startswith("ENVD_") and k.endswith("_MIRROR")]
    archives = Origins(
        directory, re.findall(r"https?://\S+", " ".join([environment.apt_source or "", *mirrors]))
    )
    if lock.base.kind != "image":
        lock = replace(lock, base=replace(lock.base, packages=archives.packages(lock.base.packages)))
    return replace(
        lock, apt=archives.packages(lock.apt), dev=archives.packages(lock.dev),
        wheels=python.packages(lock.wheels), cuda=python.packages(lock.cuda),
        conda=channels.packages(lock.conda), conda_wheels=inside.packages(lock.conda_wheels),
        tools=python.packages(lock.tools),
    )


def _python(
    packages: Sequence[LockedPackage], python: Interpreter, below: Sequence[Derivation], limit: int
) -> list[Derivation]:
    """A layer for each package, or for a group of them; `below` is what building one needs."""
    builders = [p for p in packages if p.kind == "build-wheel"]
    single = [
        wheel.derivation(p, python) if p.kind == "wheel"
        else sdist.derivation(p, builders, python, below)
        for p in sorted(packages, key=lambda p: (p.name, p.version))
        if p.kind in ("wheel", "sdist")
    ]
    sizes = {f"{p.name}-{p.version}": p.file.size for p in packages}
    return group.grouped(single, sizes, limit)


def _for_shells(config: ImageConfig, environment: Environment) -> list[tuple[str, str]]:
    """The image's variables, less those that are for its entry point alone."""
    asked = dict(environment.environ)
    return [
        (name, value) for name, value in config.env
        if name in asked or not (name.startswith("ENVD_") or name == "JUPYTER_TOKEN")
    ]


def _shells(environment: Environment, lock: Lock) -> list[str]:
    """The shells that the image has: an image of a registry may be without any."""
    known = {"bash", "fish", "sh", "zsh"}
    packaged = {p.name for p in lock.apt} & known
    own = lock.base.facts.get("shells", "").split() if lock.base.kind == "image" else ["bash", "sh"]
    return sorted(packaged.union(own))


def _has_shell(environment: Environment, lock: Lock) -> bool:
    """Whether the shell that was asked for is there: an image may have none."""
    chosen, having = environment.shell, lock.base.facts.get("shells", "").split()
    return lock.base.kind != "image" or chosen in having or any(p.name == chosen for p in lock.apt)


def _workdir(environment: Environment, lock: Lock, directory: Path) -> str:
    """Where a container starts: in the project, or where an image without it says."""
    if dev.wanted(environment):
        return dev.project_directory(directory)
    return (lock.base.config.workdir if lock.base.config is not None else "") or "/"


def _config(
    environment: Environment, lock: Lock, workdir: str, *, supervised: bool
) -> ImageConfig:
    path = [*environment.extra_path]
    start = lock.base.config or ImageConfig()
    variables = {"LANG": "C.UTF-8", **dict(start.env)}
    if _has_shell(environment, lock):
        variables["SHELL"] = shell.PATHS[environment.shell]
    if lock.python:
        # The image is the environment: pip may install into it (PEP 668 guards a distribution).
        variables["PIP_BREAK_SYSTEM_PACKAGES"] = "1"
    if environment.cuda is not None:
        variables.update(cuda.environment(environment.cuda.version))
        path.append("/usr/local/cuda/bin")
    tool_variables, tool_path = toolchains.variables(environment, lock)
    variables.update(tool_variables)
    variables.update(julia.variables(lock.julia, environment.julia_pkg_server))
    path += tool_path
    if lock.conda:
        variables.update(login.variables())
        path.append("/opt/conda/bin")
    variables["PATH"] = ":".join([*path, variables.get("PATH") or _PATH])
    variables.update(environment.environ)
    if dev.wanted(environment):
        variables.update(dev.variables(environment, workdir))
    ports = [*start.exposed_ports, *(f"{e.envd_port}/tcp" for e in environment.expose)]
    if environment.jupyter is not None:
        ports.append(f"{environment.jupyter.port}/tcp")
    if environment.rstudio_server is not None:
        ports.append(f"{languages.RSTUDIO_PORT}/tcp")
    if dev.wanted(environment):
        ports.append(f"{dev.SSH_PORT}/tcp")
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    # Keys and databases of its packages are made before anything starts.
    first = firststart.ENTRY if firststart.wanted(p.name for p in lock.apt) else ()
    if environment.entrypoint:
        entrypoint, command = (*first, *environment.entrypoint), ()
    elif supervised:
        entrypoint, command = (services.ENTRY,), ()
    elif start.entrypoint or start.cmd:
        entrypoint, command = (*first, *start.entrypoint), start.cmd
    else:
        there = _has_shell(environment, lock)
        entrypoint, command = first, (shell.PATHS[environment.shell],) if there else ()
    return ImageConfig(
        env=tuple(sorted(variables.items())),
        entrypoint=entrypoint,
        cmd=command,
        # what supervises has to be root
        user="" if supervised else start.user,
        workdir=workdir,
        volumes=start.volumes,
        stop_signal="" if supervised else start.stop_signal,
        exposed_ports=tuple(sorted(set(ports))),
        labels=_labels(environment, lock),
    )


def _labels(environment: Environment, lock: Lock) -> tuple[tuple[str, str], ...]:
    import json

    labels = {
        **dict(lock.base.config.labels if lock.base.config is not None else ()),
        "org.opencontainers.image.base.name": lock.base.image or lock.base.os,
        "org.opencontainers.image.base.digest": lock.base.digest,
        "io.envd.python": lock.python,
        "io.envd.packages": json.dumps(sorted(r.text for r in environment.python_packages)),
    }
    if environment.repo is not None:
        labels["org.opencontainers.image.source"] = redacted(environment.repo.url)
        labels["org.opencontainers.image.description"] = environment.repo.description
    if dev.wanted(environment):
        labels[dev.LABEL] = dev.label(environment)
    if environment.commands:
        labels["io.envd.commands"] = json.dumps(dict(environment.commands), sort_keys=True)
    if environment.mounts:
        labels["io.envd.mounts"] = json.dumps(
            [[m.host_path, m.envd_path] for m in environment.mounts]
        )
    if environment.expose:
        labels["io.envd.expose"] = json.dumps(
            [[e.envd_port, e.host_port, e.service, e.listen_addr] for e in environment.expose]
        )
    return tuple(sorted((k, v) for k, v in labels.items() if v))
