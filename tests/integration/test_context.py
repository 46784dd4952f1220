"""Contexts with a real engine behind a unix socket, TCP, TLS and ssh, and docker's own contexts."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from store import Store
from tests.integration import servers
from tests.integration.envd import Envd, docker
from tests.integration.tiny import tiny_image


@pytest.fixture
def envd(tmp_path: Path, docker_engine: str, monkeypatch: pytest.MonkeyPatch) -> Envd:
    """The command with settings of its own and no DOCKER_HOST."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "project").mkdir()
    return Envd(
        tmp_path / "store",
        tmp_path / "project",
        {"XDG_CONFIG_HOME": str(tmp_path / "settings"), "DOCKER_CONFIG": str(tmp_path / "docker")},
    )


def engine_of(envd: Envd, *arguments: str) -> str | None:
    """The version of the engine that answers under a context."""
    row = json.loads(envd.run("context", "inspect", "-f", "json", *arguments).stdout)
    return None if row["engine"] is None else str(row["engine"])


def test_contexts_are_kept_and_chosen(envd: Envd, docker_engine: str) -> None:
    def names() -> dict[str, bool]:
        rows = json.loads(envd.run("context", "ls", "-f", "json").stdout)
        return {row["name"]: row["current"] for row in rows}

    assert names() == {"default": True}
    assert envd.run("context", "create", "dev", "--host", docker_engine).stdout == "dev"
    assert names() == {"default": True, "dev": False}
    assert engine_of(envd, "dev") is not None
    envd.run("context", "create", "--name", "off", "--host", "unix:///nonexistent", "--use")
    assert names()["off"]
    assert engine_of(envd) is None
    envd.run("context", "use", "--name", "dev")
    assert names() == {"default": False, "dev": True, "off": False}
    assert engine_of(envd) is not None
    # DOCKER_HOST wins over the chosen context, --context over DOCKER_HOST.
    over = Envd(envd.store, envd.project, {**envd.environment, "DOCKER_HOST": "unix:///nonexistent"})
    assert engine_of(over) is None
    found = over.run("--context", "dev", "context", "inspect", "-f", "json").stdout
    assert json.loads(found)["engine"] is not None
    used = envd.run("context", "rm", "dev", check=False)
    assert (used.code, "in use" in used.stderr) == (2, True)
    envd.run("context", "rm", "--force", "dev")
    assert names() == {"default": True, "off": False}
    for bad, says in (
        (["create", "off", "--host", docker_engine], "already"),
        (["create", "a b", "--host", docker_engine], "not a valid context name"),
        (["create", "x", "--host", "ftp://x"], "not a valid Docker host"),
        (["use", "of"], "did you mean 'off'?"),
        (["rm", "default"], "docker's own"),
        (["use"], "give the context's name"),
    ):
        done = envd.run("context", *bad, check=False)
        assert (done.code, says in done.stderr) == (2, True), done.stderr
    file = Path(envd.environment["XDG_CONFIG_HOME"]) / "envd/contexts.toml"
    file.write_text("current = ")
    broken = envd.run("context", "ls", check=False)
    assert (broken.code, "not valid TOML" in broken.stderr) == (2, True)
    assert [p.name for p in file.parent.iterdir()] == ["contexts.toml"]


def test_dockers_own_contexts_are_honoured(envd: Envd, docker_engine: str) -> None:
    def docker_context(*arguments: str) -> None:
        subprocess.run(
            ["docker", "context", *arguments],
            check=True,
            capture_output=True,
            env={**os.environ, **envd.environment},
        )

    docker_context("create", "theirs", "--docker", f"host={docker_engine}")
    assert engine_of(envd, "theirs") is not None
    docker_context("use", "theirs")
    rows = json.loads(envd.run("context", "ls", "-f", "json").stdout)
    assert [(r["name"], r["source"], r["current"]) for r in rows] == [
        ("default", "docker", False),
        ("theirs", "docker", True),
    ]
    assert engine_of(envd) is not None
    other = Envd(envd.store, envd.project, {**envd.environment, "DOCKER_CONTEXT": "default"})
    row = json.loads(other.run("context", "inspect", "-f", "json").stdout)
    assert row["host"] == "unix:///var/run/docker.sock"
    gone = envd.run("--context", "nope", "context", "inspect", check=False)
    assert (gone.code, "no context 'nope'" in gone.stderr) == (2, True)


def test_an_engine_behind_tcp_and_tls(envd: Envd, docker_engine: str, tmp_path: Path) -> None:
    with relay(docker_engine, None) as port:
        envd.run("context", "create", "tcp", "--host", f"tcp://127.0.0.1:{port}")
        assert engine_of(envd, "tcp") is not None
    assert engine_of(envd, "tcp") is None
    certificate, key = make_certificate(tmp_path)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificate))
    server.load_cert_chain(certificate, key)
    server.verify_mode = ssl.CERT_REQUIRED
    with relay(docker_engine, server) as port:
        host = f"tcp://127.0.0.1:{port}"
        files = ["--ca", certificate, "--cert", certificate, "--key", key]
        envd.run("context", "create", "tls", "--host", host, *map(str, files), "--use")
        assert engine_of(envd) is not None
        loads_an_image(envd, docker_engine)
        envd.run("context", "create", "no-key", "--host", host, "--ca", str(certificate))
        assert engine_of(envd, "no-key") is None


def loads_an_image(envd: Envd, engine: str) -> None:
    """Load an image with the context that is in force, and find it in the engine."""
    name = f"cli-context-{os.getpid()}:x"
    store = Store.open(envd.store)
    try:
        tiny_image(store, name)
    finally:
        store.close()
    try:
        image = envd.run("images", "load", name).stdout
        assert docker("inspect", "-f", "{{.Id}}", name, host=engine) == image
        rows = json.loads(envd.run("images", "-f", "json").stdout)
        assert [row["docker"] for row in rows if row["name"] == name] == [True]
    finally:
        docker("rmi", "-f", name, host=engine, check=False)


@contextlib.contextmanager
def relay(engine: str, tls: ssl.SSLContext | None) -> Iterator[int]:
    """A TCP port (in TLS when asked) before a real engine's unix socket."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def serve(client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            wrapped = tls.wrap_socket(client, server_side=True) if tls else client
            with wrapped, socket.socket(socket.AF_UNIX) as upstream:
                upstream.connect(engine.removeprefix("unix://"))
                up = threading.Thread(target=pump, args=(wrapped, upstream), daemon=True)
                up.start()
                pump(upstream, wrapped)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "envd-tests")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = directory / "cert.pem", directory / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate, secret


def test_an_engine_behind_ssh(envd: Envd, docker_engine: str, tmp_path: Path) -> None:
    with servers.ssh(tmp_path, f"SetEnv DOCKER_HOST={docker_engine}") as port:
        # ssh(1) takes host, port and key from its configuration, as for any user.
        settings = tmp_path / "home/.ssh"
        settings.mkdir(parents=True)
        (settings / "config").write_text(
            f"Host engine\n HostName 127.0.0.1\n Port {port}\n IdentityFile {tmp_path}/key\n"
            "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\n"
        )
        program = tmp_path / "bin/ssh"
        program.parent.mkdir()
        # OpenSSH finds its configuration through the password database, not HOME.
        program.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {settings}/config "$@"\n')
        program.chmod(0o755)
        path = {"PATH": f"{program.parent}:{os.environ['PATH']}"}
        remote = Envd(envd.store, envd.project, {**envd.environment, **path})
        remote.run("context", "create", "far", "--host", "ssh://root@engine", "--use")
        assert engine_of(remote) is not None
        loads_an_image(remote, docker_engine)
