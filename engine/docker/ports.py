"""Which ports of the host lead to an environment's services.

With a bridge, a container's ports are published. Without one (an engine started with
--bridge=none, as inside containers) it shares the host's network, and services listen on the
ports chosen here. Ports are always chosen by us: one that the engine chooses changes when the
container is started again, and the ssh config would lie.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

from engine.build.dev import SSH_PORT
from engine.docker.wanted import LOOPBACK, Wanted
from engine.errors import DockerError


@dataclass(frozen=True)
class Port:
    """A service's port in the container and where the host has it."""

    service: str  # "ssh", "jupyter", or what runtime.expose says
    container: int
    listen: str
    host: int

    @property
    def address(self) -> str:
        """The address that a client on this machine connects to."""
        return LOOPBACK if self.listen in ("", "0.0.0.0") else self.listen


def is_free(listen: str, port: int) -> bool:
    """Whether one can listen there. What only root may listen on counts as free."""
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen, port))
        except OSError as error:
            return error.errno == errno.EACCES
    return True


def free(listen: str) -> int:
    """A port that nobody listens on. Raises DockerError when this machine has no such address."""
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((listen, 0))
        except OSError as error:
            raise DockerError(f"cannot listen on '{listen}': {error.strerror}; see --host") from error
        return int(probe.getsockname()[1])


def choose(wanted: Wanted, *, bridged: bool) -> tuple[Port, ...]:
    """Ports for sshd, Jupyter and what is exposed. Raises DockerError when one is taken."""
    taken: set[int] = set()

    def another(listen: str) -> int:
        while (port := free(listen)) in taken:
            pass
        taken.add(port)
        return port

    found = []
    for exposed in wanted.exposed:
        fixed = exposed.host_port if bridged else exposed.port
        if fixed and not is_free(exposed.listen, fixed):
            where = "host_port" if bridged else "envd_port"
            raise DockerError(
                f"port {fixed} of {exposed.listen} ({exposed.service}) is taken; stop what listens "
                f"there, or change {where} in runtime.expose"
            )
        port = fixed or another(exposed.listen)
        taken.add(port)
        found.append(Port(exposed.service, exposed.port, exposed.listen, port))
    if wanted.jupyter:
        # the port that it has in the container, so that one knows it; else any
        keep = wanted.jupyter not in taken and is_free(LOOPBACK, wanted.jupyter)
        port = wanted.jupyter if keep else another(LOOPBACK)
        taken.add(port)
        found.insert(0, Port("jupyter", wanted.jupyter if bridged else port, LOOPBACK, port))
    ssh = another(wanted.host)
    return (Port("ssh", SSH_PORT if bridged else ssh, wanted.host, ssh), *found)
