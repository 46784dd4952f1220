"""Real servers for tests: a Docker engine and Docker's own registry, each with its own data.

Also from a shell: `python -m tests.integration.servers COMMAND…` runs COMMAND with both, and
with DOCKER_HOST and ENVD_TEST_REGISTRY naming them.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 60.0  # seconds that a server may take to answer; a hang, not a speed, is what fails

USER, PASSWORD = "tester", "secret"
# bcrypt of PASSWORD: the only kind of hash that the registry reads.
_HTPASSWD = f"{USER}:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"

_REGISTRY_CONFIG = """\
version: 0.1
log:
  level: info
storage:
  filesystem:
    rootdirectory: {directory}/data
  delete:
    enabled: {delete}
http:
  addr: {address}
{tls}{auth}"""

_REGISTRY_AUTH = """\
auth:
  htpasswd:
    realm: envd-tests
    path: {directory}/htpasswd
"""


class ServerError(Exception):
    """A server cannot be run here; the text says what to install or do."""


@dataclass(frozen=True)
class RegistryServer:
    """A running registry: its address ("127.0.0.1:PORT"), log and storage."""

    address: str
    log: Path
    data: Path

    def requests(self) -> list[tuple[str, str, int]]:
        """(method, path with query, status) of every request so far, from its access log."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            # Apache's combined format: HOST - - [TIME] "METHOD PATH PROTOCOL" STATUS SIZE …
            _, quote, rest = line.partition('] "')
            if not quote or not re.match(r"[0-9.]+ - ", line):
                continue
            request, _, tail = rest.partition('" ')
            method, path, _ = request.split(" ")
            found.append((method, path, int(tail.split()[0])))
        return found


def program(name: str, package: str) -> str:
    """The path of a program. Raises ServerError naming the Debian package that has it."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise ServerError(f"{name} is not installed: apt-get install {package}")
    return found


@contextlib.contextmanager
def docker_engine(data: Path | None = None) -> Iterator[str]:
    """A Docker engine; gives its DOCKER_HOST. `data` is where it keeps what it has [its own
    directory, which goes with it].

    ENVD_TEST_DOCKER_HOST names one that runs already. An ordinary user cannot start one, so
    for him it is the one that DOCKER_HOST (or the default socket) names.
    """
    if data is None and (given := os.environ.get("ENVD_TEST_DOCKER_HOST")):
        yield given
        return
    if os.getuid() != 0:
        host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        if not _engine_answers(host):
            raise ServerError(
                f"no Docker engine answers at {host}: start one, or name one with "
                "ENVD_TEST_DOCKER_HOST (only root can start one here)"
            )
        yield host
        return
    dockerd = program("dockerd", "docker.io")
    program("containerd", "containerd")
    # A short path: a unix socket's may have 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="envd-engine-", dir="/tmp"))
    host = f"unix://{directory}/sock"
    command = [
        dockerd, "--iptables=false", "--bridge=none", "--ip-forward=false",
        "--data-root", str(data or directory / "data"), "--exec-root", f"{directory}/exec",
        "--pidfile", f"{directory}/pid", "--host", host,
    ]  # fmt: skip
    environment = {} if _root_is_mount_point() else {"DOCKER_RAMDISK": "true"}
    try:
        with _serving(command, directory / "log", environment) as process:
            _wait(lambda: _engine_answers(host), process, directory / "log", "dockerd")
            yield host
    finally:
        _unmount_below(directory)
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def registry(
    *,
    auth: bool = False,
    settings: str = "",
    delete: bool = True,
    host: str = "127.0.0.1",
    certificate: Path | None = None,
) -> Iterator[RegistryServer]:
    """A registry of its own; with `auth` it wants USER and PASSWORD, without `delete` nothing can be
    removed from it. `settings` are more lines of its configuration. With a `certificate` (whose key lies
    beside it as ".key") it speaks TLS."""
    serve = program("docker-registry", "docker-registry")
    directory = Path(tempfile.mkdtemp(prefix="envd-registry-"))
    try:
        (directory / "htpasswd").write_text(_HTPASSWD)
        address = f"{host}:{free_port()}"
        tls = f"  tls:\n    certificate: {certificate}\n    key: {certificate}.key\n" if certificate else ""
        text = _REGISTRY_CONFIG.format(
            directory=directory,
            address=address,
            tls=tls,
            delete=str(delete).lower(),
            auth=(_REGISTRY_AUTH.format(directory=directory) if auth else "") + settings,
        )
        (directory / "config.yml").write_text(text)
        server = RegistryServer(address, directory / "log", directory / "data")
        command = [serve, "serve", f"{directory}/config.yml"]
        # Telemetry's exporter would wait for a collector that is not there.
        environment = {"OTEL_TRACES_EXPORTER": "none"}
        with _serving(command, server.log, environment) as process:
            # One that speaks TLS answers a plain request, too: with 400.
            _wait(lambda: _http_answers(f"http://{address}/v2/"), process, server.log, "docker-registry")
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _serving(
    command: Sequence[str], log: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            # The server goes when we are killed: nobody else would stop it then.
            [program("setpriv", "util-linux"), "--pdeathsig", "TERM", *command],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            env={**os.environ, **environment}, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()  # dockerd stops its containers and its containerd itself
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        # What is left of its session: a containerd whose dockerd did not end in order.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(answers: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, name: str) -> None:
    end = time.monotonic() + PATIENCE
    while not answers():
        if process.poll() is not None or time.monotonic() > end:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise ServerError(f"{name} did not start:\n{tail}")
        time.sleep(0.05)


def _engine_answers(host: str) -> bool:
    scheme, _, address = host.partition("://")
    try:
        if scheme == "unix":
            connection = http.client.HTTPConnection("localhost", timeout=5)
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(5)
            connection.sock.connect(address)
        else:
            connection = http.client.HTTPConnection(address, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", "/_ping")
            return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def _http_answers(url: str) -> bool:
    return status(url) != 0  # 401, too: it is there


@contextlib.contextmanager
def ssh(directory: Path, *settings: str) -> Iterator[int]:
    """A real sshd for this user, who has the key directory/key; gives its port. `settings` are more
    lines of its sshd_config."""
    sshd = program("sshd", "openssh-server")
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
    port = free_port()
    own = (
        "ListenAddress 127.0.0.1",
        f"Port {port}",
        f"HostKey {directory}/host",
        f"AuthorizedKeysFile {directory}/key.pub",
        "PermitRootLogin yes",
        "StrictModes no",
        "PidFile none",
        "UsePAM no",
    )
    (directory / "sshd_config").write_text("".join(f"{line}\n" for line in (*own, *settings)))
    Path("/run/sshd").mkdir(exist_ok=True)
    with (directory / "sshd.log").open("wb") as log:
        process = subprocess.Popen(
            [sshd, "-D", "-e", "-f", directory / "sshd_config"], stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, (directory / "sshd.log").read_text()
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


def status(url: str) -> int:
    """The status of an HTTP server's answer; 0 when none answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _root_is_mount_point() -> bool:
    """Whether "/" is a mount point: in a chroot it is none, and runc cannot pivot_root away."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == "/" for line in lines)


def _unmount_below(directory: Path) -> None:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4] for line in lines]
    for point in sorted((p for p in points if p.startswith(f"{directory}/")), reverse=True):
        subprocess.run(["umount", "-l", point], check=False, capture_output=True)


def main(command: Sequence[str]) -> int:
    """Run `command` with an engine and a registry; its exit status."""
    with docker_engine() as host, registry() as server:
        environment = {**os.environ, "DOCKER_HOST": host, "ENVD_TEST_REGISTRY": server.address}
        return subprocess.run(list(command), env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["sh"]))
