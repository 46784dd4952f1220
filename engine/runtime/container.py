"""What a development environment's container should be: from its image's label and the command
line. Pure: neither an engine nor the network is asked.

`Wanted.facts` is kept on the container, so that a later `envd up` can tell what has changed.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.errors import DockerException
from docker.utils import parse_bytes

from engine.ecosystems.inside import HOME, LABEL, RSTUDIO_PORT
from engine.errors import DockerError, UsageError
from engine.runtime import labels

LOOPBACK = "127.0.0.1"
SHM_SIZE = 2048  # megabytes: PyTorch's data loaders pass batches in shared memory
# Docker's own rule for a container's name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Options:
    """What the command line says. `gpus` is "", "all", a count, or "device=0,1"; `memory` as
    Docker writes it ("512m", "2Gb"); `shm_size` in megabytes; `cpus` how many cores."""

    project: Path
    name: str
    volumes: tuple[str, ...] = ()
    environ: tuple[str, ...] = ()
    gpus: str = ""
    no_gpu: bool = False
    shm_size: int | None = None
    cpus: float | None = None
    cpu_set: str = ""
    memory: str = ""
    host: str = LOOPBACK  # where sshd listens
    allow_mounts: tuple[str, ...] = ()  # beyond the project and the home
    from_spec: bool = True  # the image was just built from the project's spec
    forward_agent: bool = False


@dataclass(frozen=True)
class Mount:
    """A bind of a host's directory or file, or a volume (`source` is its name then)."""

    kind: str  # "bind" | "volume"
    source: str
    target: str
    read_only: bool = False

    @property
    def not_mounted(self) -> str:
        """What is said where the image asks for it, and does not get it."""
        return (
            f"the image asks for {self.source} of this machine at {self.target}: not mounted; "
            f"give -v {self.source}:{self.target} if you want it"
        )


@dataclass(frozen=True)
class Exposed:
    """A port that the spec exposes. `host_port` 0: any that is free."""

    service: str
    port: int
    host_port: int
    listen: str


@dataclass(frozen=True)
class Wanted:
    """A container to be. `user` is its uid and gid, None when the image fixes them; `gpus` as in
    `Options`, "" for none; `jupyter` is its port (0: no Jupyter), `rstudio` whether
    it has an RStudio server; `left_out` are mounts that the image asks for and does not get."""

    name: str
    image: str
    project: str
    workdir: str
    mounts: tuple[Mount, ...]
    environ: tuple[str, ...]
    user: tuple[int, int] | None
    gpus: str
    gpus_asked: bool  # on the command line, not by the spec alone
    shm_size: int
    cpus: float
    cpu_set: str
    memory: int
    host: str
    jupyter: int
    rstudio: bool
    exposed: tuple[Exposed, ...]
    forward_agent: bool = False
    left_out: tuple[Mount, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """What distinguishes it from another, JSON-ready, by the names that people know."""
        return {
            "project": self.project,
            "image": self.image,
            "mounts": [[m.kind, m.source, m.target, m.read_only] for m in self.mounts],
            "environment variables": list(self.environ),
            "user": list(self.user or ()),
            "gpus": self.gpus,
            "shared memory": self.shm_size,
            "cpus": self.cpus,
            "cpu set": self.cpu_set,
            "memory": self.memory,
            "host": self.host,
            "ports": [[e.service, e.port, e.host_port, e.listen] for e in self.exposed],
        }

    @property
    def owned(self) -> tuple[str, ...]:
        """Directories in the container that are to belong to the user though Docker makes them:
        those between the home and what is mounted below it, and volumes."""
        found: dict[str, None] = {}
        for mount in self.mounts:
            above = posixpath.dirname(mount.target)
            while above.startswith(f"{HOME}/"):
                found[above] = None
                above = posixpath.dirname(above)
            if mount.kind == "volume" and not mount.read_only:
                found[mount.target] = None
        inside = {m.target for m in self.mounts if m.kind == "bind"}
        return tuple(sorted(d for d in found if not any(_within(d, i) for i in inside)))


def _within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory}/")


def differences(had: Mapping[str, Any], wants: Mapping[str, Any]) -> list[str]:
    """Names of the facts that differ, in the order of `wants`."""
    return [name for name in wants if had.get(name) != wants[name]]


def runtime_of(given: Mapping[str, str], image: str) -> dict[str, Any]:
    """The facts that a development image carries. Raises UsageError when it is none."""
    text = given.get(LABEL)
    if text is None:
        raise UsageError(
            "not a development image",
            subject=image,
            advice="make one with `envd up`, `envd build --dev` or base(dev=True)",
        )
    try:
        return labels.checked(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"its label {LABEL} is not one that envd makes ({error})",
            subject=image,
            advice="do not trust this image",
        ) from error


def wanted(
    image: str,
    runtime: Mapping[str, Any],
    options: Options,
    user: tuple[int, int],
    read: Mapping[str, str] = os.environ,
) -> Wanted:
    """The container of `image` (its ID) for `options`; `user` are the caller's uid and gid, and
    `read` is where `-e NAME` finds its value. Raises UsageError."""
    if not _NAME.fullmatch(options.name):
        raise UsageError(
            f"'{options.name}' is not a valid environment name: use two or more letters, digits, '_', "
            "'.' or '-'",
            advice="give one with --name",
        )
    if options.cpus is not None and options.cpu_set:
        raise UsageError("--cpus and --cpu-set cannot be used together")
    workdir = f"{HOME}/{options.project.name or options.name}"
    mounts = [Mount("bind", str(options.project), workdir)]
    declared = [_declared(m, options.project, workdir) for m in runtime.get("mounts", ())]
    left_out = tuple(m for m in declared if not _may_be_mounted(m, options))
    mounts += [m for m in declared if m not in left_out]
    mounts += [_volume(text, workdir) for text in options.volumes]
    targets = [m.target for m in mounts]
    if twice := next((t for t in targets if targets.count(t) > 1), None):
        raise UsageError(f"two mounts have the target {twice}")
    port, _ = runtime.get("jupyter") or (0, "")
    return Wanted(
        name=options.name,
        image=image,
        project=str(options.project),
        workdir=workdir,
        mounts=tuple(mounts),
        environ=tuple(_variable(text, read) for text in options.environ),
        user=None if runtime.get("owner") else user,
        gpus=_gpus(options, runtime),
        gpus_asked=bool(options.gpus),
        shm_size=options.shm_size or runtime.get("shm_size") or SHM_SIZE,
        cpus=options.cpus or 0.0,
        cpu_set=_cpu_set(options.cpu_set),
        memory=_bytes(options.memory),
        host=options.host,
        jupyter=port,
        rstudio=any((r[0], r[2]) == (RSTUDIO_PORT, "rstudio") for r in runtime.get("expose", ())),
        exposed=tuple(
            Exposed(service or f"port {envd_port}", envd_port, host_port or 0, listen or LOOPBACK)
            for envd_port, host_port, service, listen in runtime.get("expose", ())
        ),
        forward_agent=options.forward_agent,
        left_out=left_out,
    )


def check(options: Options) -> None:
    """Raise UsageError for options that no image could be started with."""
    wanted("", {}, options, (0, 0))


def _target(text: str, workdir: str) -> str:
    path = HOME + text[1:] if text == "~" or text.startswith("~/") else text
    return posixpath.normpath(posixpath.join(workdir, path))


def _declared(row: Sequence[Any], project: Path, workdir: str) -> Mount:
    source, target, managed = row
    if managed:
        return Mount("volume", f"envd-data-{source}", _target(target, workdir))
    path = os.path.normpath(project / Path(source).expanduser())
    return Mount("bind", path, _target(target, workdir))


def _may_be_mounted(mount: Mount, options: Options) -> bool:
    """Whether what a spec or an image asks for may be mounted: the host's files are not theirs.

    An image may have named volumes only. Raises UsageError for a spec's that leads out of the project
    and of the home, until it is allowed by name.
    """
    if mount.kind != "bind":
        return True
    real = os.path.realpath(mount.source)
    allowed = [os.path.realpath(Path(p).expanduser()) for p in options.allow_mounts]
    if any(_within(real, place) for place in allowed):
        return True
    if not options.from_spec:
        return False
    if any(_within(real, os.path.realpath(place)) for place in (options.project, Path.home())):
        return True
    raise UsageError(
        f"runtime.mount: {mount.source} is outside of the project and of your home; if you want it "
        f"at {mount.target}, run this again with --allow-mount {mount.source}"
    )


def _volume(text: str, workdir: str) -> Mount:
    """`-v SOURCE:TARGET[:ro]`; a source without a slash names a volume, as for Docker."""
    source, colon, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    if not (source and colon and target) or mode not in ("", "ro", "rw"):
        raise UsageError(f"-v {text}: write SOURCE:TARGET or SOURCE:TARGET:ro")
    if "/" not in source and not source.startswith((".", "~")):
        return Mount("volume", source, _target(target, workdir), mode == "ro")
    path = Path(source).expanduser().absolute()
    if not path.exists():
        raise UsageError(f"-v {text}: no such file or directory: {path}")
    return Mount("bind", os.path.normpath(path), _target(target, workdir), mode == "ro")


def _variable(text: str, read: Mapping[str, str]) -> str:
    name, equals, _ = text.partition("=")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise UsageError(f"-e {text}: write NAME=VALUE, or NAME to pass on your own")
    if equals:
        return text
    if name not in read:
        raise UsageError(f"-e {text}: you have no variable {name}", advice=f"write {name}=VALUE")
    return f"{name}={read[name]}"


def _gpus(options: Options, runtime: Mapping[str, Any]) -> str:
    if options.no_gpu:
        if options.gpus:
            raise UsageError("--gpus and --no-gpu cannot be used together")
        return ""
    if options.gpus:
        text = options.gpus.strip("'\"").removeprefix("count=")
        if not re.fullmatch(r"all|\d+|device=[\w:.-]+(,[\w:.-]+)*", text):
            raise UsageError(f"--gpus {options.gpus}: write a count, all, or device=0,1")
        return "" if text == "0" else text
    count = runtime.get("gpu")
    if count is None:
        return "all" if runtime.get("cuda") else ""
    return str(count) if count else ""


def _cpu_set(text: str) -> str:
    if text and not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        raise UsageError(f"--cpu-set {text}: write core numbers, such as 0-3 or 1,3")
    return text


def _bytes(text: str) -> int:
    if not text:
        return 0
    try:
        return int(parse_bytes(text))
    except (DockerException, ValueError):
        raise UsageError(f"--memory {text}: write a size, such as 512m or 2g") from None


def device_requests(gpus: str) -> list[dict[str, Any]] | None:
    """The engine's DeviceRequests for `gpus` (Docker Engine API, ContainerCreate)."""
    if not gpus:
        return None
    request: dict[str, Any] = {"Driver": "", "Capabilities": [["gpu"]], "Options": {}}
    if gpus.startswith("device="):
        return [{**request, "Count": 0, "DeviceIDs": gpus.removeprefix("device=").split(",")}]
    return [{**request, "Count": -1 if gpus == "all" else int(gpus), "DeviceIDs": None}]


def make_sources(mounts: Sequence[Mount]) -> None:
    """Make the directories of the host that are mounted, or mounted over, and not there yet: as the
    caller's, where the engine would make them as root's. Raises DockerError."""
    for mount in mounts:
        source = Path(mount.source)
        is_file = mount.kind == "bind" and source.is_file()
        places = [source] if mount.kind == "bind" else []
        for outer in mounts:
            if outer is not mount and outer.kind == "bind" and _within(mount.target, outer.target):
                places.append(Path(outer.source) / posixpath.relpath(mount.target, outer.target))
        for place in places:
            try:
                if place.exists():
                    continue
                if is_file:
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.touch()
                else:
                    place.mkdir(parents=True)
            except OSError as error:
                raise DockerError(f"cannot make {place} to mount it: {error.strerror}") from error
