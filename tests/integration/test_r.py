"""R and its packages: from Debian and a CRAN-like repository to `library(x)` in an image."""

from __future__ import annotations

import sqlite3
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.core.derivation import Fetch
from engine.errors import FetchError
from engine.net.fetch import fetch
from store import Store
from tests.integration import cran, web
from tests.integration.envd import Envd

SPEC = """
def build():
    base(os="debian12")
    install.r_lang(version="4.2")
    config.cran_mirror("{url}")
    install.r_packages({names})
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[web.Web]:
    directory = tmp_path_factory.mktemp("cran")
    cran.make(directory)
    with web.serve(directory) as served:
        yield served


def test_packages_are_built_from_source_each_on_its_own(
    shared_store: Path, tmp_path: Path, repository: web.Web
) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec(SPEC.format(url=repository.url, names='["counter"]'))
    envd.run("build", "--no-load")
    envd.spec(SPEC.format(url=repository.url, names='["counter", "greet", "heavy"]'))
    before = len(repository.asked)
    done = envd.run("build", "--no-load", "--progress=json")
    # another run may have built it
    assert done.names("finish") in (["r-greet-2.0.1", "r-headers-1.0", "r-heavy-1.0"], [])
    # what is locked already is not downloaded again
    asked = {p.rpartition("/")[2] for p in repository.asked[before:] if p.endswith("tar.gz")}
    assert asked in ({"greet_2.0.1.tar.gz", "headers_1.0.tar.gz", "heavy_1.0.tar.gz"}, set())
    lock = tomllib.loads((envd.project / "envd.lock").read_text())
    assert [(row["name"], row["version"]) for row in lock["r"]] == [
        ("counter", "0.1-3"),
        ("greet", "2.0.1"),
        ("headers", "1.0"),
        ("heavy", "1.0"),
        ("words", "1.2"),  # 9.0 wants R 99
    ]
    assert "r-base-dev" in {row["name"] for row in lock["apt"]}  # counter holds C

    root = envd.unpacked(tmp_path)
    script = (
        'library(greet); cat(greet(), as.character(words::colours$name), "\\n"); '
        'cat(packageDescription("greet")$Built, "\\n"); new("Word", text = "S4"); '
        'cat("\\n"); library(heavy); cat(tot(1:4), dbl(2), Sum$new(total = 1)$add(2)$total, "\\n"); '
        'd; library(survival); help("word", package = "words")'
    )
    ran = subprocess.run(
        ["chroot", str(root), "Rscript", "-e", script], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[0].split() == ["hello", "10", "2", "red", "blue"]
    assert "2024-01-01 00:00:00 UTC" in lines[1]
    assert [line.strip() for line in lines[2:5]] == ["S4", "10 4 3", "heavy"]
    assert "It does." in ran.stdout
    assert not (root / "var/trace").exists()  # a configure script's

    # built once more, elsewhere in time: the same bytes
    first = envd.run("build", "--no-load").stdout
    with sqlite3.connect(shared_store / "db.sqlite") as database:
        database.execute("DELETE FROM realisation WHERE name LIKE 'r-%'")
    later = Envd(
        shared_store,
        envd.project,
        {"TZ": "Asia/Tokyo", "LC_ALL": "C"},
        ["sh", "-c", 'umask 077; exec "$@"', "-"],
    )
    done = later.run("build", "--no-load", "--progress=json", "-t", "r-again:dev")
    assert len(done.names("finish")) == 5
    assert done.stdout == first


def test_what_does_not_fit_is_named_at_once(shared_store: Path, tmp_path: Path, repository: web.Web) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec(SPEC.format(url=repository.url, names='["word", "old", "lost", "Counter", "MASS"]'))
    done = envd.run("lock", check=False)
    assert done.code == 1
    for text in (
        "build.envd:6:25: error: no R package 'word' in http",
        "did you mean 'words'?",
        "build.envd:6:33: error: no version of words does: old 1.0 needs words >= 5.0",
        "build.envd:6:40: error: no R package 'BiocThing', which lost 1.0 needs in http",
        "build.envd:6:48: error: no R package 'Counter'",
        "did you mean 'counter'?",
    ):
        assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert not (envd.project / "envd.lock").exists()


def test_a_failing_build_tells_what_the_package_wants_of_the_system(
    shared_store: Path, tmp_path: Path, repository: web.Web
) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec(SPEC.format(url=repository.url, names='["broken"]'))
    done = envd.run("build", "--no-load", check=False)
    assert done.code == 1
    assert "configuration failed for package" in done.stderr
    assert "broken needs of the system: libfoo: libfoo-dev (deb)" in done.stderr
    assert "install.apt_packages" in done.stderr


def test_a_file_that_was_archived_is_found(tmp_path: Path, repository: web.Web) -> None:
    contrib = tmp_path / "src/contrib"
    path = cran.add(tmp_path, "moved", "1.0", {"NAMESPACE": ""}, {})
    import hashlib

    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    (contrib / "Archive/moved").mkdir(parents=True)
    path.rename(contrib / "Archive/moved" / path.name)
    store = Store.open(tmp_path / "store")
    with web.serve(tmp_path) as served:
        url = f"{served.url}/src/contrib/{path.name}"
        with pytest.raises(FetchError, match="404"):
            fetch(Fetch(path.name, url, sha256), store, pause=0)
        archive = f"{served.url}/src/contrib/Archive/moved/{path.name}"
        assert fetch(Fetch(path.name, url, sha256, fallback=archive), store, pause=0).exists()
    store.close()
