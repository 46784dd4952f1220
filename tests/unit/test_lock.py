"""The lock on disk: round trip, order, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import UsageError
from engine.lock import model as locks
from engine.lock import packages as lock_packages
from engine.lock.model import Lock, LockedBase, LockedStep, dumps, loads
from engine.lock.packages import LockedFile, LockedPackage
from tests import rows

GOLDEN = Path(__file__).parents[1] / "golden"


def package(kind: str, name: str, version: str = "1.0", **extra: str) -> LockedPackage:
    file = f"{name}-{version}.{'whl' if kind == 'wheel' else kind}"
    return rows.package(
        kind, name, version, LockedFile(file, f"http://mirror/{name}", "ab" * 32, 12), **extra
    )


def sample() -> Lock:
    return Lock(
        base=LockedBase(
            "debootstrap",
            "debian12",
            "bookworm",
            ("deb http://m bookworm main",),
            packages=(package("deb", "apt"), package("deb", "bash")),
        ),
        python="3.11",
        requests={"base": ("os=debian12",), "python": ("numpy",)},
        packages={
            "apt": (package("deb", "less", arch="amd64"),),
            "wheels": (package("wheel", "numpy", "2.0"),),
        },
    )


def test_round_trip() -> None:
    assert locks.loads(locks.dumps(sample())) == sample()


def test_text_does_not_depend_on_the_order_of_packages() -> None:
    lock = sample()
    reordered = Lock(
        base=LockedBase(**{**vars(lock.base), "packages": lock.base.packages[::-1]}),
        python=lock.python,
        requests=lock.requests,
        packages=lock.packages,
    )
    assert locks.dumps(reordered) == locks.dumps(lock)


def test_layers_of_an_image_keep_their_order() -> None:
    layers = tuple(
        package(
            "layer",
            name,
            diff_id=f"sha256:{'0' * 64}",
            media_type="application/vnd.oci.image.layer.v1.tar+gzip",
        )
        for name in "za"
    )
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


@pytest.mark.parametrize("version", [1, 2])
def test_a_lock_of_an_older_envd_is_read_and_written_as_it_was(version: int) -> None:
    """tests/golden has what envd wrote before its rows had types: every kind, every field."""
    path = GOLDEN / f"lock-{version}.toml"
    lock = locks.loads(path.read_text("utf-8"))
    assert locks.dumps(lock) == path.read_text("utf-8")
    if version == 1:
        kinds = {p.kind for p in locks.all_packages(lock)}
        assert kinds | {"config"} == lock_packages.OWN
    else:
        assert [(step.name, step.variant) for step in lock.steps] == [("run-1", ""), ("run-1", "dev")]


@pytest.mark.parametrize(
    ("had", "given", "says"),
    [
        ('kind = "vsix"', 'kind = "vsiy"', "[[vscode]] a.b: kind 'vsiy' is not one that this envd knows"),
        ("target = ", "tarket = ", "[[vscode]] a.b: 'tarket' is not the name of a field of a vsix"),
        (
            'essential = "yes"',
            'essential = "on"',
            "[[base.package]] dpkg: essential 'on' is not a valid essential of a deb",
        ),
        (
            'position = "011"',
            'position = "x"',
            "[[images]] layer-2: position 'x' is not a valid position of a layer",
        ),
        ('uuid = "', 'deps2 = "', "[[julia]] Example: 'deps2' is not the name of a field"),
        ('tree = "eeee', '# "eeee', "[[julia]] Example: it has no tree, which a julia-package has"),
        ("version = 1\n", "version = 3\n", "lock version 3 is not one that this envd reads (1 or 2)"),
        ("version = 1\n", "version = true\n", "lock version True is not one that this envd reads"),
    ],
)
def test_a_row_that_is_none_is_named(had: str, given: str, says: str) -> None:
    text = (GOLDEN / "lock-1.toml").read_text("utf-8")
    assert had in text
    with pytest.raises(UsageError) as caught:
        locks.loads(text.replace(had, given, 1))
    assert says in str(caught.value)


def test_version_1_has_no_steps() -> None:
    text = (GOLDEN / "lock-2.toml").read_text("utf-8").replace("version = 2", "version = 1", 1)
    with pytest.raises(UsageError, match="a lock of version 1 has no steps"):
        locks.loads(text)


def test_a_row_of_another_kind_is_refused_where_one_is_wanted() -> None:
    lock = sample().with_rows("vscode", sample()["wheels"])
    with pytest.raises(UsageError, match=r"\[\[vscode\]\] numpy: a wheel does not belong there"):
        lock.rows("vscode", lock_packages.Vsix)
