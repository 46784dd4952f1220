"""Servers that integration tests share. One of each for the whole run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import archive, gallery, nvidia, servers, web
from tests.integration.specs import Specs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[str]:
    """The DOCKER_HOST of a real engine."""
    with _failing_clearly(), servers.docker_engine() as host:
        yield host


@pytest.fixture(scope="session")
def registry_server() -> Iterator[servers.RegistryServer]:
    """A real registry without authentication, with its access log."""
    with _failing_clearly(), servers.registry() as server:
        yield server


@pytest.fixture(scope="session")
def registry(registry_server: servers.RegistryServer) -> str:
    """That registry's "127.0.0.1:PORT"."""
    return registry_server.address


@pytest.fixture(scope="session")
def registry_auth() -> Iterator[servers.RegistryServer]:
    """A real registry that wants `servers.USER` and `servers.PASSWORD`."""
    with _failing_clearly(), servers.registry(auth=True) as server:
        yield server


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for the whole run, so that bases are bootstrapped once.

    ENVD_TEST_STORE names one to keep between runs, for whoever runs one test again and again.
    """
    if given := os.environ.get("ENVD_TEST_STORE"):
        return Path(given)
    if os.environ.get("PYTEST_XDIST_WORKER"):  # the workers' directories lie in the run's own
        return tmp_path_factory.getbasetemp().parent / "store"
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def editor_tools(tmp_path_factory: pytest.TempPathFactory) -> gallery.Tools:
    """A real vsce and a real code-server."""
    return gallery.install_tools(tmp_path_factory.mktemp("npm") / "tools")


@pytest.fixture(scope="session")
def extensions(tmp_path_factory: pytest.TempPathFactory, editor_tools: gallery.Tools) -> Iterator[str]:
    """The URL of a gallery with two versions of ms-python.python, which depends on acme.helper."""
    directory = tmp_path_factory.mktemp("gallery")
    files = [
        gallery.make_vsix(editor_tools, directory, "ms-python", "python", version, ["acme.helper"])
        for version in ("2024.1.0", "2024.2.0")
    ]
    files.append(gallery.make_vsix(editor_tools, directory, "acme", "helper", "1.0.0"))
    with gallery.serve(files) as url:
        yield url


@pytest.fixture(scope="module")
def specs(shared_store: Path, tmp_path_factory: pytest.TempPathFactory, docker_engine: str) -> Specs:
    """Where specs are built and run, see `tests.integration.specs`."""
    return Specs(shared_store, tmp_path_factory.mktemp("specs"), docker_engine)


@pytest.fixture(scope="session")
def cuda_releases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nvidia.Nvidia]:
    """An apt repository as NVIDIA's, with CUDA 11.2 to 13.0 side by side."""
    directory = tmp_path_factory.mktemp("nvidia")
    signer = archive.make_signer(tmp_path_factory.mktemp("keys") / "gpg")
    nvidia.make(directory, signer)
    with web.serve(directory) as server:
        yield nvidia.Nvidia(server.url, signer)


@pytest.fixture
def ordinary_user() -> Iterator[str]:
    """A fresh ordinary user with a range of subordinate ids."""
    name = f"envdtest{os.getpid() % 10000}"
    subprocess.run(["useradd", "-m", name], check=True)
    subprocess.run(
        ["usermod", "--add-subuids", "500000-565535", "--add-subgids", "500000-565535", name], check=True
    )
    try:
        yield name
    finally:
        subprocess.run(["pkill", "-9", "-u", name], check=False)
        subprocess.run(["userdel", "-r", name], check=False, capture_output=True)


@pytest.fixture
def readable_copy() -> Iterator[Path]:
    """envd and its dependencies where any user may read them."""
    directory = Path(tempfile.mkdtemp(prefix="envd-copy-", dir="/var/tmp"))
    directory.chmod(0o755)
    packages = next(p for p in sys.path if p.endswith("site-packages"))
    for source in (packages, *(str(ROOT / name) for name in ("envd", "grammar", "store", "engine"))):
        subprocess.run(["cp", "-r", "--no-preserve=mode,ownership", source, str(directory)], check=True)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


class _failing_clearly:  # noqa: N801  (used as a statement)
    """A server that cannot be run fails the tests; it never skips them."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, servers.ServerError):
            pytest.fail(str(error), pytrace=False)
