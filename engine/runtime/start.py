"""Starting a development environment: its container is made, waited for, and entered in the ssh
config; or nothing is left of it."""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import socket
import tarfile
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from docker.errors import ImageNotFound

from engine.core.events import Event, Sink
from engine.docker import probe
from engine.docker.client import connect
from engine.ecosystems.inside import (
    AUTHORIZED_KEYS,
    ENTRY,
    HOST_KEY,
    INIT_LOG,
    INIT_STATE,
    JUPYTER_TOKEN,
    RSTUDIO_PASSWORD,
)
from engine.errors import DockerError
from engine.runtime import environments, ports, ssh_config, watch
from engine.runtime.container import (
    LOOPBACK,
    Options,
    Wanted,
    device_requests,
    differences,
    make_sources,
    runtime_of,
    wanted,
)
from engine.runtime.environments import Found, explained
from engine.runtime.keys import Keys
from engine.runtime.keys import directory as keys_directory
from store import locking

if TYPE_CHECKING:
    import docker

_INIT_PATIENCE = 10  # seconds that `up` waits for runtime.init, which then goes on without it
_PATIENCE = 60  # seconds that the engine may take to stop or remove something
_LONGEST_KEY = 1 << 16  # bytes of an archive with a public key
_KEY = re.compile(rb"[a-z0-9@.-]+ [A-Za-z0-9+/]+=*")


@dataclass(frozen=True)
class Started:
    """A running environment, and whether it ran before."""

    found: Found
    reused: bool


def local_engine() -> docker.APIClient:
    """A client of this machine's engine. Raises DockerError when none answers, or when it is
    another machine's, which has neither the project's directory nor our ports."""
    address = urlsplit(probe.host())
    if address.scheme == "ssh" or (
        address.scheme != "unix" and address.hostname not in ("localhost", LOOPBACK, "::1")
    ):
        raise DockerError(
            f"the Docker engine at {probe.host()} is another machine's: it cannot bind the project's "
            "directory",
            advice="run envd there",
        )
    return connect(_PATIENCE)


def start(
    client: docker.APIClient,
    image: str,
    options: Options,
    keys: Keys,
    emit: Sink,
    *,
    force: bool,
    timeout: float,
) -> Started:
    """Start the environment of `image` (a tag or an ID) as `options` say.

    An unchanged one is used again; one that differs is replaced with `force`. `timeout` is in
    seconds, until sshd answers. Raises UsageError, DockerError.
    """
    row, gpus, bridged = _image(client, image)
    runtime = runtime_of(row["Config"].get("Labels") or {}, image)
    user = (os.getuid(), os.getgid())
    want = _without_missing_gpus(wanted(row["Id"], runtime, options, user), gpus, emit)
    for mount in want.left_out:
        emit(Event("message", want.name, text=mount.not_mounted))
    work = _Work(client, image, keys, timeout, emit, bridged)
    # Who starts the same one at the same time waits, and finds it.
    place = keys_directory() / f"start-{want.name}.lock"
    with locking.locked(place, doing=f"starts the environment {want.name}"):
        return _found_or_made(work, want, force=force)


def _found_or_made(work: _Work, want: Wanted, *, force: bool) -> Started:
    client, emit = work.client, work.emit
    found = environments.find(client, want.name)
    if found is not None:
        different = _differing(found, want)
        if not different:
            return _watched(work, _again(work, found, want))
        if not force:
            raise DockerError(
                f"the environment '{want.name}' already exists, but with different {_and(different)}; "
                "replace it with --force, or give another name with --name"
            )
        emit(Event("message", want.name, text=f"replaced for different {_and(different)}"))
        environments.remove(client, found)
    with ports.Claims() as claims:
        try:
            made = _create(work, want, ports.choose(want, claims, bridged=work.bridged))
        except BaseException:
            if found is not None:
                ssh_config.remove(want.name)
            raise
        return _watched(work, made)


@dataclass(frozen=True)
class _Work:
    """What starting an environment has in hand. `timeout` is in seconds; where the engine is not
    `bridged`, the host's network is shared."""

    client: docker.APIClient
    image: str
    keys: Keys
    timeout: float
    emit: Sink
    bridged: bool


def _image(client: docker.APIClient, image: str) -> tuple[dict[str, Any], bool, bool]:
    """What the engine says of an image, and whether it has GPUs, and a bridge."""
    with explained(f"cannot inspect the image {image}"):
        try:
            row = client.inspect_image(image)  # type: ignore[no-untyped-call]
        except ImageNotFound:
            raise DockerError(f"no image '{image}' in Docker", advice="make one with `envd up`") from None
        gpus = "nvidia" in client.info().get("Runtimes", {})
        bridged = any(n["Driver"] == "bridge" for n in client.networks(names=["bridge"]))
    return row, gpus, bridged


def _differing(found: Found, want: Wanted) -> list[str]:
    """In what an environment differs from the one that is wanted. Raises DockerError when it is another
    project's."""
    if found.facts.get("project") != want.project:
        raise DockerError(
            f"the environment '{want.name}' is of {found.facts.get('project')}",
            advice=f"give another name with --name, or `envd destroy --name {want.name}`",
        )
    return differences(found.facts, want.facts)


def _watched(work: _Work, started: Started) -> Started:
    watch.services(work.client, started.found, work.emit)
    return started


def _and(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _without_missing_gpus(want: Wanted, available: bool, emit: Sink) -> Wanted:
    if not want.gpus or available:
        return want
    reason = "the Docker engine has no nvidia runtime"
    if want.gpus_asked:
        raise DockerError(f"--gpus {want.gpus}: {reason}", advice="install nvidia-container-toolkit")
    emit(
        Event(
            "message",
            want.name,
            text=f"without GPUs: {reason}; install nvidia-container-toolkit, or give --no-gpu",
        )
    )
    return replace(want, gpus="")


def _again(work: _Work, found: Found, want: Wanted) -> Started:
    client, emit = work.client, work.emit
    running = not environments.resume(client, found)
    _authorize(client, found.id, work.keys)
    _wait(client, found.id, found.name, found.ssh, work.timeout, emit)
    _enter(client, found, work.keys, forward_agent=want.forward_agent)
    if found.runtime.get("init"):
        _see_init(client, found.id, found.name, emit, 0 if running else _INIT_PATIENCE)
    return Started(environments.get(client, found.name), running)


def _create(work: _Work, want: Wanted, chosen: tuple[ports.Port, ...]) -> Started:
    client, emit = work.client, work.emit
    make_sources(want.mounts)
    if not work.bridged:
        for exposed in want.exposed:
            if exposed.host_port in (0, exposed.port):
                continue
            emit(
                Event(
                    "message",
                    want.name,
                    text=f"{exposed.service} is at port {exposed.port}, "
                    f"not {exposed.host_port}: without a bridge the host's network is shared",
                )
            )
    identity = ""
    try:
        with explained(f"cannot start {want.name}"):
            body = _config(want, work.image, chosen, bridged=work.bridged)
            made = client.create_container_from_config(body, want.name)  # type: ignore[no-untyped-call]
            identity = str(made["Id"])
            _authorize(client, identity, work.keys)
            _protect(client, identity, want)
            client.start(identity)
        _wait(client, identity, want.name, chosen[0], work.timeout, emit)
        found = environments.get(client, want.name)
        _enter(client, found, work.keys, forward_agent=want.forward_agent)
        if found.runtime.get("init"):
            _see_init(client, identity, want.name, emit, _INIT_PATIENCE)
        with explained(f"cannot start {want.name}"):
            # From now on it comes back with the engine; before, it would hide that it fails.
            client.update_container(
                identity,
                restart_policy={"Name": "unless-stopped"},  # type: ignore[arg-type]
            )
    except BaseException:
        if identity:
            environments.remove(client, Found(identity, want.name, "", {}))
            ssh_config.remove(want.name)
        raise
    return Started(found, False)


def _config(want: Wanted, image: str, chosen: tuple[ports.Port, ...], *, bridged: bool) -> dict[str, Any]:
    """The body of the engine's ContainerCreate."""
    by_service = {p.service: p for p in chosen}
    variables = {"ENVD_WORKDIR": want.workdir, "ENVD_OWN": "\n".join(want.owned)}
    if want.user is not None:
        variables |= {"ENVD_UID": str(want.user[0]), "ENVD_GID": str(want.user[1])}
    if want.jupyter:
        variables["ENVD_JUPYTER_PORT"] = str(by_service["jupyter"].container)
    host: dict[str, Any] = {
        "Mounts": [
            {"Type": m.kind, "Source": m.source, "Target": m.target, "ReadOnly": m.read_only}
            for m in want.mounts
        ],
        "ShmSize": want.shm_size << 20,
    }
    if bridged:
        host["PortBindings"] = {
            f"{p.container}/tcp": [{"HostIp": p.listen, "HostPort": str(p.host)}] for p in chosen
        }
    else:
        host["NetworkMode"] = "host"
        variables |= {
            "ENVD_SSH_LISTEN": chosen[0].listen,
            "ENVD_SSH_PORT": str(chosen[0].container),
            "ENVD_LISTEN": LOOPBACK,
        }
    if want.cpus:
        host["NanoCpus"] = int(want.cpus * 1e9)
    if want.cpu_set:
        host["CpusetCpus"] = want.cpu_set
    if want.memory:
        host["Memory"] = want.memory
    if requests := device_requests(want.gpus):
        host["DeviceRequests"] = requests
    labels = {
        environments.NAME: want.name,
        environments.PROJECT: want.project,
        environments.TAG: image,
        environments.WORKDIR: want.workdir,
        environments.PORTS: json.dumps([[p.service, p.container, p.listen, p.host] for p in chosen]),
        environments.FACTS: json.dumps(want.facts, sort_keys=True),
    }
    config = {
        "Image": want.image,
        # Whatever config.entrypoint says: that is for the image as an application.
        "Entrypoint": [ENTRY],
        "Cmd": [],
        "WorkingDir": want.workdir,
        "Env": [*(f"{k}={v}" for k, v in variables.items()), *want.environ],
        "Labels": labels,
        "HostConfig": host,
    }
    if bridged:
        config["Hostname"] = want.name[:63].strip("-._").replace("_", "-")
        config["ExposedPorts"] = {f"{p.container}/tcp": {} for p in chosen}
    return config


def _authorize(client: docker.APIClient, identity: str, keys: Keys) -> None:
    """Let these keys in. Through the engine: so they are in no environment variable."""
    text = "".join(f"{line}\n" for line in dict.fromkeys(keys.public))
    with explained("cannot write the authorized keys"):
        _put(client, identity, AUTHORIZED_KEYS, text, 0o644)


def _protect(client: docker.APIClient, identity: str, want: Wanted) -> None:
    """Give its servers a random token and password of this container's own, unless the image brings
    one. As a file that is root's: neither labels nor variables are a secret's place."""
    wanted = [
        path for path, there in ((JUPYTER_TOKEN, want.jupyter), (RSTUDIO_PASSWORD, want.rstudio)) if there
    ]
    for path in wanted:
        if environments.text_of(client, identity, path).strip():
            continue
        with explained(f"cannot write {path}; build the image again"):
            _put(client, identity, path, f"{secrets.token_hex(24)}\n", 0o600)


def _put(client: docker.APIClient, identity: str, path: str, text: str, mode: int) -> None:
    directory, _, name = path.rpartition("/")
    content = text.encode()
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(member, io.BytesIO(content))
    client.put_archive(identity, directory, data.getvalue())


def _wait(
    client: docker.APIClient, identity: str, name: str, port: ports.Port, timeout: float, emit: Sink
) -> None:
    """Wait until sshd answers, and show what the container says meanwhile (init scripts, say).

    Raises DockerError with the log's end.
    """
    end = time.monotonic() + timeout
    said = _Said(client, identity, name, emit)
    while not _answers(port):
        with explained("cannot inspect the container"):
            state = client.inspect_container(identity)["State"]
        said.more()
        if not state["Running"]:
            why = f"the container ended with exit status {state['ExitCode']}"
        elif time.monotonic() > end:
            why = f"no ssh server answers after {timeout:g} s (--timeout)"
        else:
            time.sleep(0.1)
            continue
        tail = environments.log_tail(client, identity)
        log = f"; its log:\n{tail}" if tail else ""
        raise DockerError(f"the environment did not start: {why}{log}")


class _Said:
    """What a container says from now on, each line once."""

    def __init__(self, client: docker.APIClient, identity: str, name: str, emit: Sink) -> None:
        self._client, self._identity, self._name, self._emit = client, identity, name, emit
        self._shown, self._since = 0, int(time.time())

    def more(self) -> None:
        """Show what is new."""
        with explained("cannot inspect the container"):
            text: bytes = self._client.logs(self._identity, since=self._since)
        lines = text.decode("utf-8", "replace").splitlines()
        for line in lines[self._shown :]:
            self._emit(Event("log", self._name, text=line))
        self._shown = len(lines)


def _see_init(client: docker.APIClient, identity: str, name: str, emit: Sink, patience: float) -> None:
    """Say how runtime.init goes, or went: it runs beside sshd, and no failure of it ends the
    environment. `patience` is in seconds."""
    end = time.monotonic() + patience
    said = _Said(client, identity, name, emit)
    while (state := environments.text_of(client, identity, INIT_STATE).strip()) in ("", "running"):
        if time.monotonic() >= end:
            emit(
                Event(
                    "message",
                    name,
                    text="runtime.init is still running; what it says is in "
                    f"{INIT_LOG} (`envd exec --name {name} tail -f {INIT_LOG}`)",
                )
            )
            return
        said.more()
        time.sleep(0.1)
    if state == "done":
        return
    tail = "\n".join(environments.text_of(client, identity, INIT_LOG).splitlines()[-20:])
    emit(
        Event(
            "message",
            name,
            text="warning: runtime.init failed with exit status "
            f"{state.rpartition(' ')[2]}; the environment is up without what it does. The end of "
            f"{INIT_LOG}:\n{tail}",
        )
    )


def _answers(port: ports.Port) -> bool:
    # Its greeting, not the connection alone: Docker's proxy listens before sshd does.
    try:
        with socket.create_connection((port.address, port.host), timeout=2) as connection:
            return connection.recv(8).startswith(b"SSH-2.0")
    except OSError:
        return False


def _enter(client: docker.APIClient, found: Found, keys: Keys, *, forward_agent: bool) -> None:
    """Write the ssh config, with the host key that the engine gives us: no first use to trust."""
    key = _host_key(client, found)
    port = found.ssh
    ssh_config.add(ssh_config.Entry(found.name, port.address, port.host, keys.private, key, forward_agent))


def _host_key(client: docker.APIClient, found: Found) -> str:
    """Its public host key, "TYPE BASE64": from a file that the image's own programs may have made."""
    text = b""
    with explained("cannot read the host key"):
        stream, _ = client.get_archive(found.id, f"{HOST_KEY}.pub")
        content = b""
        for chunk in stream:
            content += chunk
            if len(content) > _LONGEST_KEY:
                break
        try:
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                member = archive.next()
                file = archive.extractfile(member) if member is not None and member.isreg() else None
                text = file.read(_LONGEST_KEY) if file is not None else b""
        except tarfile.TarError:
            pass
    match = _KEY.match(text)
    if match is None:
        raise DockerError(
            f"its {HOST_KEY}.pub is not a public key", subject=found.name, advice="do not trust this image"
        )
    return match[0].decode("ascii")
