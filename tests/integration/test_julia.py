"""Julia and its packages: from releases and a package server to `using X` in an image."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import julia, web
from tests.integration.envd import Envd

# Of one store: what one of them does with the registries that are kept there, another would see.
pytestmark = pytest.mark.xdist_group("julia")

SPEC = """
def build():
    base(os="debian12", language="julia")
    config.julia_pkg_server("{url}")
    install.julia_packages({names})
"""


def forget(store: Path) -> None:
    """Make the next build build packages and environments, whatever was built before."""
    with sqlite3.connect(store / "db.sqlite") as database:
        database.execute("DELETE FROM realisation WHERE name IN ('julia-tree', 'julia-environment')")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, shared_store: Path) -> Iterator[web.Web]:
    """A download site and a package server in one."""
    directory = tmp_path_factory.mktemp("julia")
    julia.release(directory / "site", shared_store)
    julia.server(directory / "site", directory / "work")
    with web.serve(directory / "site") as served:
        yield served


def test_packages_are_used_in_a_real_julia(shared_store: Path, tmp_path: Path, site: web.Web) -> None:
    envd = Envd(shared_store, tmp_path / "p", {"ENVD_JULIA_DOWNLOADS": site.url})
    envd.spec(SPEC.format(url=site.url, names='["Hello"]'))
    root = envd.unpacked(tmp_path)
    lock = tomllib.loads((envd.project / "envd.lock").read_text())
    assert [(row["name"], row["kind"], row["version"][:6]) for row in lock["julia"]] == [
        ("words", "julia-artifact", lock["julia"][0]["version"][:6]),
        ("Hello", "julia-package", "1.1.0"),  # 2.0.0 wants a newer Julia
        ("Words", "julia-package", "0.3.1"),
        ("julia", "tool", "1.5.3"),  # no pre-release
    ]
    assert all(row["url"].startswith(site.url) for row in lock["julia"])
    # as a container would have them
    pairs = json.loads((tmp_path / "bundle/config.json").read_text())["process"]["env"]
    environment = dict(pair.split("=", 1) for pair in pairs) | {"HOME": "/root"}
    assert environment["JULIA_PKG_SERVER"] == site.url

    def run(script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                "bwrap",
                "--bind",
                str(root),
                "/",
                "--proc",
                "/proc",
                "--dev",
                "/dev",
                "--unshare-net",
                "--",
                "julia",
                "-e",
                script,
            ],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    ran = run("using Hello; print(Hello.greet())")
    assert (ran.returncode, ran.stdout) == (0, "hello, world 1.1.0 2020"), ran.stderr
    # Julia's own package manager finds the environment whole, and asks no network
    ran = run(
        'using Pkg; Pkg.activate("/usr/local/share/julia/environments/envd"); '
        "Pkg.instantiate(); Pkg.status(mode=Pkg.PKGMODE_MANIFEST)"
    )
    assert ran.returncode == 0, ran.stderr
    assert "Hello v1.1.0" in ran.stdout and "Words v0.3.1" in ran.stdout
    assert "Downloading" not in ran.stdout + ran.stderr


def test_one_package_more_is_one_layer_more_and_two_builds_are_the_same(
    shared_store: Path, tmp_path: Path, site: web.Web
) -> None:
    envd = Envd(shared_store, tmp_path / "p", {"ENVD_JULIA_DOWNLOADS": site.url})
    envd.spec(SPEC.format(url=site.url, names='["Words@0.2"]'))
    envd.run("lock")
    forget(shared_store)
    first = envd.run("build", "--no-load", "--progress=json")
    assert {"Words.jl-0.2.0", "julia-environment"} <= set(first.names("finish"))
    before = len(site.asked)
    envd.spec(SPEC.format(url=site.url, names='["Words@0.2", "Dates"]'))
    second = envd.run("build", "--no-load", "--progress=json")
    assert second.names("finish") == ["julia-environment"]
    # of what the lock has, nothing is asked for again
    assert site.asked[before:] == ["/registries"]
    forget(shared_store)
    again = envd.run("build", "--no-load", "--progress=json", "-t", "julia-again:dev")
    assert {"Words.jl-0.2.0", "julia-environment"} <= set(again.names("finish"))
    assert again.stdout == second.stdout


def test_what_does_not_fit_is_named_with_its_place(shared_store: Path, tmp_path: Path, site: web.Web) -> None:
    envd = Envd(shared_store, tmp_path / "p", {"ENVD_JULIA_DOWNLOADS": site.url})
    envd.spec(SPEC.format(url=site.url, names='["Words@0.2"]'))
    envd.run("lock")
    before = (envd.project / "envd.lock").read_text()
    for names, says in (
        (
            '["Helo", "Wrods"]',
            (
                "build.envd:5:29: error: no Julia package 'Helo'",
                "'Hello'",
                "build.envd:5:37: error: no Julia package 'Wrods'",
                "'Words'",
            ),
        ),
        ('["Future2"]', ("no version of Future2 is for Julia 1.5.3", "install.julia(version=")),
    ):
        envd.spec(SPEC.format(url=site.url, names=names))
        done = envd.run("lock", check=False)
        assert done.code == 1
        for text in says:
            assert text in done.stderr
        assert "Traceback" not in done.stderr
    envd.spec('def build():\n    base(os="debian12", language="julia")\n    install.julia(version="1.4")\n')
    done = envd.run("lock", check=False)
    assert done.code == 1
    assert "Julia's releases has no version 1.4" in done.stderr and "1.5.3" in done.stderr
    assert (envd.project / "envd.lock").read_text() == before


def test_several_read_the_registries_at_once(
    shared_store: Path, tmp_path: Path, site: web.Web, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """They share one store, and one of them has another server's registry of the same name."""
    other = tmp_path_factory.mktemp("julia-other")
    julia.release(other / "site", shared_store)
    julia.server(other / "site", other / "work")
    with web.serve(other / "site") as second:
        environment = {"ENVD_JULIA_DOWNLOADS": site.url}
        machines = [Envd(shared_store, tmp_path / str(n), environment) for n in range(4)]
        for round_ in range(3):
            for kept in (shared_store / "cache/julia").glob("registry-*"):
                kept.unlink()
            running = []
            for n, envd in enumerate(machines):
                envd.spec(SPEC.format(url=(site if n % 2 else second).url, names='["Hello"]'))
                (envd.project / "envd.lock").unlink(missing_ok=True)
                running.append(envd.start("lock"))
            for process in running:
                _, said = process.communicate()
                assert process.returncode == 0, (round_, said)
