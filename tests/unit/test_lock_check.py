"""Locks that pin nothing for what was asked, and what is said of builds that lack something."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.lock.model import Lock, LockedBase
from engine.lock.packages import LockedFile, LockedPackage
from engine.realise import hints
from engine.sections import debian, registry
from tests import rows


def package(kind: str, name: str, **extra: str) -> LockedPackage:
    return rows.package(kind, name, "1.0", LockedFile(f"{name}.x", "file:x", "0" * 64), **extra)


BASE = LockedBase("debootstrap", "debian12", packages=(package("deb", "mawk"),))
LOCK = Lock(
    BASE,
    requests={
        "base": ("os=debian12",),
        "apt": ("awk", "python3", "jq=1.6-2"),
        "cuda": ("version=12.9",),
        "python": ("Django>=4", "tomli; python_version < '3'", "index=https://a.example/simple"),
        "conda": ("channel=conda-forge", "conda-forge::gdal>=3"),
        "tools": ("go=1.22",),
        "vscode": ("ms-python.python@1.0",),
        "r": ("MASS", "ggplot2", "version=4.2"),
    },
    packages={
        "apt": (package("deb", "python3"), package("deb", "jq")),
        "cuda": (package("wheel", "nvidia-cuda"),),
        "wheels": (package("wheel", "django"),),
        "conda": (package("conda", "gdal"),),
        "r": (package("r-source", "ggplot2"),),
        "tools": (package("tool", "go", request="go=1.22"),),
        "vscode": (package("vsix", "MS-Python.python"),),
    },
)


def test_a_whole_lock_lacks_nothing() -> None:
    assert registry.unpinned(LOCK, ["python3"]) == {}
    provided = debian.satisfied_elsewhere(LOCK)
    assert provided == ("awk",)
    assert registry.unpinned(replace(LOCK, provided=provided), ["python3"]) == {}


@pytest.mark.parametrize(
    ("section", "field", "lost"),
    [
        ("python", "wheels", ("Django>=4",)),
        ("conda", "conda", ("conda-forge::gdal>=3",)),
        ("tools", "tools", ("go=1.22",)),
        ("vscode", "vscode", ("ms-python.python@1.0",)),
        ("r", "r", ("ggplot2",)),
        ("cuda", "cuda", ("version=12.9",)),
        ("apt", "apt", ("python3",)),
    ],
)
def test_a_section_without_its_packages_is_found(section: str, field: str, lost: tuple[str, ...]) -> None:
    bare = LOCK.with_rows(field, ())
    assert registry.unpinned(bare, ["python3"]) == {section: lost}


def test_a_lock_that_says_what_is_provided_may_lack_no_deb() -> None:
    bare = replace(LOCK.with_rows("apt", ()), provided=("awk",))
    assert registry.unpinned(bare, ["python3"]) == {"apt": ("python3", "jq=1.6-2")}


def test_an_image_has_what_its_facts_say() -> None:
    requests = {"apt": ("python3", "s6", "zsh")}
    facts = {"python": "3.11", "shells": "bash zsh"}
    layer = (package("layer", "x", diff_id="sha256:0", media_type="x"),)
    lock = Lock(LockedBase("image", "debian12", packages=layer, facts=facts), requests=requests)
    assert registry.unpinned(lock, requests["apt"]) == {}
    bare = replace(lock, base=replace(lock.base, facts={}))
    assert registry.unpinned(bare, requests["apt"]) == {"apt": ("python3", "zsh")}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "error: [Errno 2] No such file or directory: 'x86_64-linux-gnu-gcc'",
            '; it lacks gcc: add install.apt_packages(["gcc", "python3-dev"])',
        ),
        (
            "error: command 'x86_64-linux-gnu-g++' failed: No such file or directory",
            '; it lacks g++: add install.apt_packages(["g++", "python3-dev"])',
        ),
        (
            "a.c:1:10: fatal error: Python.h: No such file or directory",
            '; it lacks headers: add install.apt_packages(["python3-dev"])',
        ),
        (
            "x.c:3:10: fatal error: openssl/ssl.h: No such file or directory",
            '; it lacks headers: add install.apt_packages(["libssl-dev"])',
        ),
        (
            "Error: pg_config executable not found.",
            '; it lacks pg_config: add install.apt_packages(["libpq-dev"])',
        ),
        ("error: can't find Rust compiler", "; it lacks cargo: add install.rust()"),
        (
            "x.c:3:10: fatal error: own.h: No such file or directory",
            "; it lacks own.h: add the package that has it with install.apt_packages",
        ),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'README.md'", ""),
    ],
)
def test_what_a_failed_build_lacked(line: str, said: str) -> None:
    assert hints.advice(["before", line], headers_of_python=True) == said
