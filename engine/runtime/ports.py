"""Which ports of the host lead to an environment's services.

With a bridge, a container's ports are published. Without one (an engine started with
--bridge=none, as inside containers) it shares the host's network, and services listen on the
ports chosen here. Ports are always chosen by us: one that the engine chooses changes when the
container is started again, and the ssh config would lie.
"""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType

from engine.ecosystems.inside import SSH_PORT
from engine.errors import DockerError
from engine.runtime.container import LOOPBACK, Wanted


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


class Claims:
    """Ports that this process means to have listened on: no other envd chooses them meanwhile.

    Between choosing a port and listening there, seconds pass. An abstract socket (unix(7)) named
    after the port is its claim: like ports, those names are one set for each network namespace,
    and they go with the process.
    """

    def __init__(self) -> None:
        self._held = ExitStack()
        self.mine: set[int] = set()

    def __enter__(self) -> Claims:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def claim(self, port: int) -> bool:
        """Whether the port is ours from now on; False when it is claimed already."""
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0envd-port-{port}")
        except OSError:
            claim.close()
            return False
        self._held.enter_context(claim)
        self.mine.add(port)
        return True


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
            raise DockerError(
                f"cannot listen on '{listen}': {error.strerror}", advice="see --host"
            ) from error
        return int(probe.getsockname()[1])


def choose(wanted: Wanted, claims: Claims, *, bridged: bool) -> tuple[Port, ...]:
    """Ports for sshd, Jupyter and what is exposed, all of them claimed. Raises DockerError when
    one is taken."""

    def another(listen: str) -> int:
        while not claims.claim(port := free(listen)):
            pass
        return port

    found = []
    for exposed in wanted.exposed:
        fixed = exposed.host_port if bridged else exposed.port
        # ours already when the spec has one port at several addresses
        if fixed and not (is_free(exposed.listen, fixed) and (fixed in claims.mine or claims.claim(fixed))):
            where = "host_port" if bridged else "envd_port"
            raise DockerError(
                f"port {fixed} of {exposed.listen} ({exposed.service}) is taken",
                advice=f"stop what listens there, or change {where} in runtime.expose",
            )
        port = fixed or another(exposed.listen)
        found.append(Port(exposed.service, exposed.port, exposed.listen, port))
    if wanted.jupyter:
        # the port that it has in the container, so that one knows it; else any
        keep = is_free(LOOPBACK, wanted.jupyter) and claims.claim(wanted.jupyter)
        port = wanted.jupyter if keep else another(LOOPBACK)
        found.insert(0, Port("jupyter", wanted.jupyter if bridged else port, LOOPBACK, port))
    ssh = another(wanted.host)
    return (Port("ssh", SSH_PORT if bridged else ssh, wanted.host, ssh), *found)
