"""What commands do with running environments: find one, start one and say where it is, attach to it.

It brings docker-py along: commands import it when they run.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
import docker

from engine.cli.environment import Attaching, default_name, directory_of
from engine.core.command import tethered
from engine.core.progress import open_sink
from engine.docker.client import connect
from engine.errors import DockerError, UsageError
from engine.runtime import environments, ssh_config
from engine.runtime import execute as executing
from engine.runtime import start as starting
from engine.runtime.container import Options, check
from engine.runtime.environments import Found
from engine.runtime.keys import Keys, keys
from engine.runtime.start import Started, local_engine

# The commands' own, and what they need of the rooms below, in one import.
__all__ = [
    "Options",
    "attach_to",
    "build",
    "check",
    "chosen",
    "connect",
    "environments",
    "executing",
    "keys",
    "local_engine",
    "ports",
    "row",
    "ssh_config",
    "start",
    "which",
    "which_or_none",
]


def build(command: Sequence[str]) -> int:
    """Run the build, a command; its exit status. What ends us ends it, once, and it cleans up."""
    # In a session of its own, else it would get the terminal's Ctrl-C as well as ours.
    with subprocess.Popen(tethered(command), stdout=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            return process.wait()
        except KeyboardInterrupt as stop:
            process.send_signal(getattr(stop, "number", signal.SIGINT))
            process.wait()
            raise


def start(image: str, options: Options, pair: Keys, attach: Attaching, *, progress: str) -> None:
    """Start an environment, say where it is, and attach to it unless it is to be left alone."""
    client = local_engine()
    with open_sink(progress) as emit:
        started = starting.start(
            client, image, options, pair, emit, force=attach.force, timeout=attach.timeout
        )
    _tell(client, started)
    if not attach.detach:
        attach_to(started.found.name)


def _tell(client: docker.APIClient, started: Started) -> None:
    found = started.found
    how = "is up already" if started.reused else "is up"
    rows = [("ssh", f"ssh {ssh_config.host(found.name)}")]
    servers = {"jupyter": environments.jupyter(client, found), "rstudio": environments.rstudio(client, found)}
    rows += [(name, text) for name, text in servers.items() if text]
    rows += [
        (p.service, f"{p.address}:{p.host}")
        for p in found.ports
        if p.service != "ssh" and not servers.get(p.service)
    ]
    rows.append(("project", found.labels[environments.WORKDIR]))
    width = max(len(name) for name, _ in rows)
    click.echo(f"{found.name} {how}")
    for name, text in rows:
        click.echo(f"  {name:<{width}}  {text}")


def attach_to(name: str) -> NoReturn:
    """Become an ssh client in the environment."""
    command = ["ssh", "-t" if sys.stdin.isatty() else "-T"]
    if Path.home() != Path(pwd.getpwuid(os.getuid()).pw_dir):
        # ssh does not look at HOME
        command += ["-F", str(ssh_config.path())]
    sys.stdout.flush()
    try:
        os.execvp("ssh", [*command, ssh_config.host(name)])
    except FileNotFoundError:
        raise DockerError(
            f"{name} is up, but there is no ssh to attach with",
            advice=f"install openssh-client, or run commands with `envd exec --name {name}`",
        ) from None


def chosen(path: str | None, name: str | None) -> tuple[docker.APIClient, Found]:
    """A client of the engine, and the environment as `which` has it."""
    client = connect()
    return client, which(client, path, name)


def which(client: docker.APIClient, path: str | None, name: str | None) -> Found:
    """The environment called `name`, else the one of the project in `path`.

    Raises UsageError when both are given, DockerError when there is none.
    """
    found = which_or_none(client, path, name)
    if found is not None:
        return found
    if name:
        return environments.get(client, name)
    raise DockerError(
        f"no environment of {directory_of(path)}", advice="make one with `envd up`, or name one with --name"
    )


def which_or_none(client: docker.APIClient, path: str | None, name: str | None) -> Found | None:
    """The environment called `name`, else the one of the project in `path`; None when there is none.

    Raises UsageError when both are given.
    """
    if name and path:
        raise UsageError("--name and --path cannot be used together")
    if name:
        return environments.find(client, name)
    directory = directory_of(path)
    return environments.of_project(client, directory, default_name(directory))


def row(client: docker.APIClient, found: Found) -> dict[str, Any]:
    """An environment as the listing's JSON has it."""
    runtime = found.runtime
    return {
        "name": found.name,
        "endpoint": environments.jupyter(client, found) or None,
        "ssh_target": ssh_config.host(found.name),
        "image": found.labels[environments.TAG],
        "gpu": bool(found.facts.get("gpus")),
        "cuda": runtime.get("cuda"),
        "cudnn": runtime.get("cudnn"),
        "status": found.status,
        "project": found.labels[environments.PROJECT],
        "ports": ports(found),
    }


def ports(found: Found) -> list[dict[str, Any]]:
    """Its published ports as JSON has them."""
    return [
        {
            "name": p.service,
            "container_port": p.container,
            "protocol": "tcp",
            "host_ip": p.listen,
            "host_port": p.host,
        }
        for p in found.ports
    ]
