"""Whether what starts with an environment stays: an address is told when something answers there,
and what ends as soon as it is started is named, with what it said.

s6 keeps a tally of deaths for each service (s6-svdt(1)): a time, and how it ended.
"""

from __future__ import annotations

import http.client
import re
import time
from typing import TYPE_CHECKING

from engine.core.events import Event, Sink
from engine.ecosystems.inside import JUPYTER_TOKEN
from engine.runtime import environments, ports
from engine.runtime.environments import Found, explained

if TYPE_CHECKING:
    import docker

_SERVICES = "/run/envd/services"
_DEATHS = 2  # in the first seconds: what is restarted once may have waited for another service
_WHILE = 2.5  # seconds; s6 starts a service again after one
_PATIENCE = 60  # seconds that a service with an address has, which a busy machine needs
_SAID = 12  # lines of the log

# NAME, then its deaths, each on a line "TIME exitcode N" or "TIME signal NAME".
_TALLY = f"""
cd {_SERVICES} 2>/dev/null || exit 0
for name in *; do echo "= $name"; s6-svdt "$name" 2>/dev/null || :; done
"""


def services(client: docker.APIClient, found: Found, emit: Sink) -> None:
    """Wait until Jupyter answers, and say of every service that does not stay. Raises DockerError
    when the engine cannot be asked."""
    begin = time.monotonic()
    waited = [p for p in found.ports if p.service == "jupyter"]
    token = environments.text_of(client, found.id, JUPYTER_TOKEN).strip() if waited else ""
    told: set[str] = set()
    while True:
        deaths = _deaths(client, found)
        for name, ends in deaths.items():
            if len(ends) >= _DEATHS and name not in told:
                told.add(name)
                _tell(client, found, name, ends[-1], emit)
        waited = [p for p in waited if p.service not in told and not _is_ours(p, token)]
        passed = time.monotonic() - begin
        # Before the services are there, none is known: that says nothing of those to come.
        if not waited and (deaths.keys() == {"sshd"} or passed >= _WHILE):
            return
        if passed >= _PATIENCE:
            break
        time.sleep(0.3)
    for port in waited:
        emit(
            Event(
                "message",
                found.name,
                text=f"warning: {port.service} does not answer yet at "
                f"{port.address}:{port.host}; `docker logs {found.name}` shows what it says",
            )
        )


def _deaths(client: docker.APIClient, found: Found) -> dict[str, list[str]]:
    """How each service has ended so far."""
    with explained(f"cannot inspect the services of {found.name}"):
        identity = client.exec_create(found.id, ["sh", "-c", _TALLY], user="0")["Id"]
        text = client.exec_start(identity).decode("utf-8", "replace")
    tally: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("= "):
            ends = tally[line[2:]] = []
        elif tally and (match := re.search(r"(exitcode|signal) (\S+)", line)):
            ends.append(f"exit status {match[2]}" if match[1] == "exitcode" else f"signal {match[2]}")
    return tally


def _tell(client: docker.APIClient, found: Found, name: str, end: str, emit: Sink) -> None:
    log = environments.log_tail(client, found.id, _SAID)
    emit(
        Event(
            "message",
            found.name,
            text=f"warning: {name} ends as soon as it is started ({end}), "
            f"and is started again and again; the log's end:\n{log}",
        )
    )


def _is_ours(port: ports.Port, token: str) -> bool:
    """Whether this environment's Jupyter answers, which knows its token: Docker's proxy listens
    before it does, and another program may have taken the port meanwhile."""
    connection = http.client.HTTPConnection(port.address, port.host, timeout=2)
    try:
        connection.request("GET", "/api/status", headers={"Authorization": f"token {token}"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
