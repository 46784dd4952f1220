"""`Plan`: what a lock means, as a DAG of derivations, and the image's configuration.

Wheels, conda, CUDA and extensions are siblings above the base: none depends on another. Only
`run` and `io.copy` keep the order in which they were written, over everything before them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.core.command import PATH
from engine.core.derivation import Derivation
from engine.core.oci_model import LABEL, PYTHON_LABEL, ImageConfig
from engine.core.urls import redacted
from engine.ecosystems import languages
from engine.ecosystems.debian import first_start as firststart
from engine.ecosystems.debian import install as apt
from engine.ecosystems.images import files, image_files, web
from engine.ecosystems.steps import dev, login, run, services, shell
from engine.errors import UsageError, together
from engine.lock.model import Lock
from engine.lock.packages import Layer
from engine.realise import placed
from engine.realise.context import Builder
from engine.realise.selection import Selection, sentence
from engine.sections import base, pythons, registry
from engine.sections.section import Draft
from grammar.environment import Copy, Environment, Run, Step

# What is made in an overlay over layers of its own (`engine.realise.placed`).
_OVERLAYS = frozenset({apt.KIND, dev.KIND, shell.KIND})


@dataclass(frozen=True)
class Plan:
    """`layers` from the bottom up, as they are built; `stack` holds the same as they lie upon each
    other, placed (`engine.realise.placed`). `config` is the image's; `sources` says of the
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
            **registry.builders(),
            shell.KIND: shell.build,
            services.KIND: services.build,
            login.KIND: login.build,
            run.KIND: run.BuilderOfRuns(self.sources, self.secrets),
            files.KIND: files.BuilderOfFiles(self.sources),
        }


def plan(environment: Environment, lock: Lock, directory: Path) -> Plan:
    """The plan of `environment` as `lock` pins it; `directory` is the project's.

    Raises UsageError when a copied file is not there.
    """
    lock = registry.located(environment, lock, directory)
    below = base.derivations(lock)
    draft, made = Draft(environment, lock, directory, below, below), {}
    for section in registry.sections():
        if not section.is_topmost:
            made[section.name] = tuple(section.derivations(draft))
            draft = _with(draft, made[section.name], is_system=section.is_system)
    draft = _with(draft, _shell(draft))
    workdir = _workdir(environment, lock, directory)
    developing = dev.wanted(environment)
    started = dev.derivation(environment) if developing else services.derivation(environment, workdir)
    if started is not None:
        draft = _with(draft, [started])
    config = _config(environment, lock, workdir, supervised=started is not None)
    if shells := _shells(environment, lock):
        ground = (*below, *made["apt"])
        draft = _with(
            draft,
            [
                login.derivation(
                    _for_shells(config, environment),
                    shells,
                    ground,
                    made["conda"],
                    list(dict(environment.environ)),
                )
            ],
        )
    for section in registry.sections():
        if section.is_topmost:
            draft = _with(draft, section.derivations(draft))
    steps = _Steps(draft, config)
    for step in environment.steps:
        steps.add(step)
    return Plan(tuple(steps.layers), config, steps.sources, tuple(steps.stack))


def _with(draft: Draft, layers: Sequence[Derivation], *, is_system: bool = False) -> Draft:
    """The draft with `layers` on top."""
    return replace(
        draft, layers=(*draft.layers, *layers), system=(*draft.system, *layers) if is_system else draft.system
    )


def _shell(draft: Draft) -> list[Derivation]:
    """The layer of the shell's and git's settings; an image without that shell needs none."""
    environment, lock = draft.environment, draft.lock
    python = pythons.interpreter(environment, lock)
    own = "" if python.prefix or lock.base.facts.get("python_command") else lock.python
    developing = dev.wanted(environment)
    if lock.base.kind == "image" and not (
        developing or own or environment.git or _has_shell(environment, lock)
    ):
        return []
    return [
        shell.derivation(
            environment.shell, environment.git, own, draft.system, home=dev.HOME if developing else ""
        )
    ]


class _Steps:
    """What the spec's steps add, in their order, to the layers of a draft."""

    def __init__(self, draft: Draft, config: ImageConfig) -> None:
        self.layers = list(draft.layers)
        self.stack = placed.stacked(self.layers, base.KINDS, _OVERLAYS)
        self.sources: dict[str, Selection] = {}
        self._directory, self._images = draft.directory, draft.lock.rows("images", Layer)
        developing = dev.wanted(draft.environment)
        self._home = dev.HOME if developing else "/root"
        self._variables = (*config.env, ("HOME", dev.HOME)) if developing else config.env

    def add(self, step: Step) -> None:
        """Add what a step makes; a file of the web is a section's."""
        if isinstance(step, Copy):
            self._copy(step)
        elif isinstance(step, Run):
            self._run(step)

    def _copy(self, step: Copy) -> None:
        if step.image:
            below = web.layers_of(step.image, self._images)
            copy = image_files.derivation(step, below, self._home)
            to = image_files.target_of(step, self._home)
        else:
            copy = files.derivation(step, self._directory, self._home)
            source = files.source_of(step, self._directory)
            taken = files.selection_of(step, self._directory)
            self.sources[str(copy.parameters["content"])] = taken
            to = files.target_of(step, source, self._home)
        self.layers.append(copy)
        self.stack.append(placed.derivation(copy, self.stack, to))

    def _run(self, step: Run) -> None:
        content = run.content_of(self._directory) if step.mount_host else ""
        if content:
            self.sources[content] = Selection(str(self._directory))
        place = dev.project_directory(self._directory)
        made = run.derivation(step, self.stack, self._variables, place, content)
        self.layers.append(made)
        self.stack.append(made)


def check_copies(environment: Environment, directory: Path) -> None:
    """Raise UsageError for every io.copy of what the project at `directory` does not have, or what
    no image can: known before anything is resolved."""
    problems = []
    for step in environment.steps:
        if isinstance(step, Copy) and not step.image:
            try:
                files.check(step, directory)
            except UsageError as error:
                problems.append(error)
    if problems:
        raise together(problems)


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


def _for_shells(config: ImageConfig, environment: Environment) -> list[tuple[str, str]]:
    """The image's variables, less those that are for its entry point alone."""
    asked = dict(environment.environ)
    return [
        (name, value)
        for name, value in config.env
        if name in asked or not (name.startswith("ENVD_") or name == "JUPYTER_TOKEN")
    ]


def _shells(environment: Environment, lock: Lock) -> list[str]:
    """The shells that the image has: an image of a registry may be without any."""
    known = {"bash", "fish", "sh", "zsh"}
    packaged = {p.name for p in lock["apt"]} & known
    own = lock.base.facts.get("shells", "").split() if lock.base.kind == "image" else ["bash", "sh"]
    return sorted(packaged.union(own))


def _has_shell(environment: Environment, lock: Lock) -> bool:
    """Whether the shell that was asked for is there: an image may have none."""
    chosen, having = environment.shell, lock.base.facts.get("shells", "").split()
    return lock.base.kind != "image" or chosen in having or any(p.name == chosen for p in lock["apt"])


def _workdir(environment: Environment, lock: Lock, directory: Path) -> str:
    """Where a container starts: in the project, or where an image without it says."""
    if dev.wanted(environment):
        return dev.project_directory(directory)
    return (lock.base.config.workdir if lock.base.config is not None else "") or "/"


def _config(environment: Environment, lock: Lock, workdir: str, *, supervised: bool) -> ImageConfig:
    start = lock.base.config or ImageConfig()
    entrypoint, command = _entry(environment, lock, start, supervised=supervised)
    return ImageConfig(
        env=tuple(sorted(_variables(environment, lock, workdir).items())),
        entrypoint=entrypoint,
        cmd=command,
        # what supervises has to be root
        user="" if supervised else start.user,
        workdir=workdir,
        volumes=start.volumes,
        stop_signal="" if supervised else start.stop_signal,
        exposed_ports=tuple(sorted({*start.exposed_ports, *_ports(environment)})),
        labels=_labels(environment, lock),
    )


def _variables(environment: Environment, lock: Lock, workdir: str) -> dict[str, str]:
    start = lock.base.config or ImageConfig()
    path = [*environment.extra_path]
    found = {"LANG": "C.UTF-8", **dict(start.env)}
    if _has_shell(environment, lock):
        found["SHELL"] = shell.PATHS[environment.shell]
    for section in registry.sections():
        added = section.variables(environment, lock)
        found.update(added.values)
        path += added.path
    found["PATH"] = ":".join([*path, found.get("PATH") or PATH])
    found.update(environment.environ)
    if dev.wanted(environment):
        found.update(dev.variables(environment, workdir))
    return found


def _ports(environment: Environment) -> list[str]:
    ports = [e.envd_port for e in environment.expose]
    if environment.jupyter is not None:
        ports.append(environment.jupyter.port)
    if environment.rstudio_server is not None:
        ports.append(languages.RSTUDIO_PORT)
    if dev.wanted(environment):
        ports.append(dev.SSH_PORT)
    return [f"{port}/tcp" for port in ports]


def _entry(
    environment: Environment, lock: Lock, start: ImageConfig, *, supervised: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What starts a container: its entry point, and the command that it gets."""
    # Keys and databases of its packages are made before anything starts.
    first = firststart.ENTRY if firststart.wanted(p.name for p in lock["apt"]) else ()
    if environment.entrypoint:
        return (*first, *environment.entrypoint), ()
    if supervised:
        return (services.ENTRY,), ()
    if start.entrypoint or start.cmd:
        return (*first, *start.entrypoint), start.cmd
    return first, (shell.PATHS[environment.shell],) if _has_shell(environment, lock) else ()


def _labels(environment: Environment, lock: Lock) -> tuple[tuple[str, str], ...]:
    labels = {
        **dict(lock.base.config.labels if lock.base.config is not None else ()),
        "org.opencontainers.image.base.name": lock.base.image or lock.base.os,
        "org.opencontainers.image.base.digest": lock.base.digest,
        PYTHON_LABEL: lock.python,
        LABEL: json.dumps(sorted(r.text for r in environment.python_packages)),
    }
    if environment.repo is not None:
        labels["org.opencontainers.image.source"] = redacted(environment.repo.url)
        labels["org.opencontainers.image.description"] = environment.repo.description
    if dev.wanted(environment):
        labels[dev.LABEL] = dev.label(environment)
    if environment.commands:
        labels["io.envd.commands"] = json.dumps(dict(environment.commands), sort_keys=True)
    if environment.mounts:
        labels["io.envd.mounts"] = json.dumps([[m.host_path, m.envd_path] for m in environment.mounts])
    if environment.expose:
        labels["io.envd.expose"] = json.dumps(
            [[e.envd_port, e.host_port, e.service, e.listen_addr] for e in environment.expose]
        )
    return tuple(sorted((k, v) for k, v in labels.items() if v))
