"""The lock on disk: round trip, order, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine import lock as locks
from engine.errors import UsageError
from engine.lock import (
    Lock,
    LockedBase,
    LockedFile,
    LockedPackage,
    LockedStep,
    dumps,
    loads,
)


def package(kind: str, name: str, version: str = "1.0", **extra: str) -> LockedPackage:
    file = f"{name}-{version}.{'whl' if kind == 'wheel' else kind}"
    return LockedPackage(
        kind, name, version, LockedFile(file, f"http://mirror/{name}", "ab" * 32, 12), extra
    )


def sample() -> Lock:
    return Lock(
        base=LockedBase("debootstrap", "debian12", "bookworm", ("deb http://m bookworm main",),
                        packages=(package("deb", "apt"), package("deb", "bash"))),
        python="3.11",
        requests={"base": ("os=debian12",), "python": ("numpy",)},
        packages={"wheels": (package("wheel", "numpy", "2.0", tags="cp311"),)},
    )


def test_round_trip() -> None:
    assert locks.loads(locks.dumps(sample())) == sample()


def test_text_does_not_depend_on_the_order_of_packages() -> None:
    lock = sample()
    reordered = Lock(
        base=LockedBase(**{**vars(lock.base), "packages": lock.base.packages[::-1]}),
        python=lock.python, requests=lock.requests, packages=lock.packages,
    )
    assert locks.dumps(reordered) == locks.dumps(lock)


def test_layers_of_an_image_keep_their_order() -> None:
    layers = (package("layer", "z"), package("layer", "a"))
    base = LockedBase("image", "", image="r/x:1", digest="sha256:" + "0" * 64, packages=layers)
    assert locks.loads(locks.dumps(Lock(base=base))).base.packages == layers


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version = ", "not valid TOML"),
        ("version = 99", "lock version 99"),
        ("version = 1", "malformed lock"),
    ],
)
def test_refusals_name_the_file(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        locks.loads(text, "some/envd.lock")
    assert "some/envd.lock" in str(caught.value)


@pytest.mark.parametrize("size", ["inf", "-inf", "nan", "1.0", "true", '"1"'])
def test_a_size_is_a_whole_number(size: str) -> None:
    text = locks.dumps(sample())
    line = next(line for line in text.splitlines() if line.startswith("size = "))
    with pytest.raises(UsageError, match="malformed lock"):
        locks.loads(text.replace(line, f"size = {size}"))


def test_write_is_atomic_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "envd.lock"
    locks.write(sample(), path)
    locks.write(sample(), path)
    assert [p.name for p in tmp_path.iterdir()] == ["envd.lock"]
    assert locks.read(path) == sample()
    assert locks.read(tmp_path / "none") is None


def test_steps_are_a_lock_of_another_version() -> None:
    """An envd that knows of none must refuse it; locks without steps are what they were."""
    step = LockedStep("run-12345678", "dev", "ab" * 32, "cd" * 32, "sha256:" + "ef" * 32, 10240)
    plain = Lock(base=LockedBase("debootstrap", "debian12"))
    lock = replace(plain, steps=(step, replace(step, variant="")))
    text = dumps(lock)
    assert "\nversion = 2\n" in text and "\nversion = 1\n" in dumps(plain)
    assert loads(text).steps == (replace(step, variant=""), step)
    assert dumps(loads(text)) == text
    for old, new in (("run-12345678", "../x"), ("ab" * 32, "ab"), ("10240", "-1"), ('"dev"', '"x"')):
        with pytest.raises(UsageError, match="steps"):
            loads(text.replace(old, new))
    with pytest.raises(UsageError, match="newer envd"):
        loads(text.replace("version = 2", "version = 3"))
