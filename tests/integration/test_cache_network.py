"""Two machines in network namespaces of their own, and a registry between them that wants TLS and a
password."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration import machines, servers
from tests.integration.envd import Envd


def _ip(*arguments: str) -> None:
    subprocess.run([servers.program("ip", "iproute2"), *arguments], check=True, capture_output=True)


@contextmanager
def _host(name: str, net: str) -> Iterator[tuple[str, ...]]:
    """A network namespace that reaches this machine at NET.1 and nothing else; what runs a command there."""
    namespace, cable = f"envd-{name}-{os.getpid()}", f"e{name}{os.getpid() % 100000}"
    _ip("netns", "add", namespace)
    try:
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("addr", "add", f"{net}.1/24", "dev", cable)
        _ip("link", "set", cable, "up")
        for command in (["addr", "add", f"{net}.2/24", "dev", "eth0"], ["link", "set", "eth0", "up"]):
            _ip("-n", namespace, *command)
        _ip("-n", namespace, "link", "set", "lo", "up")
        yield ("ip", "netns", "exec", namespace)
    finally:
        _ip("netns", "del", namespace)  # its end of the cable goes with it, and so does the other


def _certificate(directory: Path, *addresses: str) -> Path:
    path = directory / "registry.crt"
    names = ",".join(f"IP:{address}" for address in addresses)
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-days", "1", "-subj", "/CN=registry", "-addext", f"subjectAltName={names}"]
    subprocess.run([*argv, "-keyout", f"{path}.key", "-out", str(path)], check=True, capture_output=True)
    return path


def test_what_one_host_publishes_another_one_takes(tmp_path: Path) -> None:
    nets = [f"10.{77 + n}.{os.getpid() % 250}" for n in range(2)]
    certificate = _certificate(tmp_path, *(f"{net}.1" for net in nets))
    with (
        _host("a", nets[0]) as on_a,
        _host("b", nets[1]) as on_b,
        servers.registry(auth=True, host="0.0.0.0", certificate=certificate) as registry,
    ):
        port = registry.address.rpartition(":")[2]
        here = replace(registry, address=f"{nets[0]}.1:{port}")
        base = machines.push_base(here, tmp_path, auth=True)
        team = machines.team(tmp_path, f"{here.address}/team/cache")
        writer = _logged_in(
            machines.writer(team, tmp_path / "store-a", tmp_path / "a/project"), on_a, certificate
        )
        spec = machines.SPEC.format(image=base, salt=uuid.uuid4())
        machines.checkout(writer, spec)
        writer.run("login", here.address, "-u", servers.USER, "-p", servers.PASSWORD)
        image = writer.run("build", "--no-load", "--publish").stdout

        # the other host calls the registry by another address, as from another network
        there = replace(team, place=f"{nets[1]}.1:{port}/team/cache")
        reader = _logged_in(
            machines.reader(there, tmp_path / "store-b", tmp_path / "b/project"), on_b, certificate
        )
        machines.checkout(reader, spec, writer.project / "envd.lock")
        reader.run("login", f"{nets[1]}.1:{port}", "-u", servers.USER, "-p", servers.PASSWORD)
        before = len(registry.requests())
        done = reader.run("build", "-o", f"oci-dir:{tmp_path}/layout", "--progress=json", "--locked")
        assert done.stdout == image
        assert done.names("start") == [] and done.names("substituted"), done.stderr
        assert [p for m, p, _ in registry.requests()[before:] if m not in ("GET", "HEAD")] == []
        unauthorised = [s for _, _, s in registry.requests()[before:] if s == 401]
        assert len(unauthorised) <= 1


def _logged_in(machine: Envd, prefix: tuple[str, ...], certificate: Path) -> Envd:
    """The machine on its host, where the registry's certificate is trusted."""
    return replace(
        machine, prefix=prefix, environment={**machine.environment, "SSL_CERT_FILE": str(certificate)}
    )


@pytest.fixture(autouse=True)
def _as_root() -> None:
    assert os.geteuid() == 0, "network namespaces want root"
