"""What `envd up` and `envd run` do: build, start an environment and say where it is, attach to it.

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
from typing import NoReturn

import click
import docker

from engine.cli.environment import Attaching
from engine.core.command import tethered
from engine.core.progress import open_sink
from engine.errors import DockerError
from engine.runtime import environments, ssh_config
from engine.runtime import start as starting
from engine.runtime.container import Options, check
from engine.runtime.keys import Keys, keys
from engine.runtime.start import Started, local_engine

# The commands' own, and what they need of the rooms below, in one import.
__all__ = ["Options", "attach_to", "build", "check", "keys", "local_engine", "start"]


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
