"""Plans: what becomes a derivation, on what it depends, and the golden hashes."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from engine.core.derivation import Derivation, Fetch, Input
from engine.core.oci_model import ImageConfig
from engine.ecosystems.images import files
from engine.ecosystems.python import pylock, wheel
from engine.ecosystems.python.interpreter import Interpreter
from engine.ecosystems.python.target import Target
from engine.ecosystems.steps import services
from engine.errors import BuildError, UsageError
from engine.lock.model import Lock, LockedBase
from engine.lock.packages import LockedFile, LockedPackage
from engine.oci.assemble import assemble
from engine.plan import plan as planning
from engine.realise import group
from engine.resolve import locking
from engine.sections import pythons, registry
from grammar.environment import Base, Copy, Cuda, Environment, Jupyter, Position, Request, Run, Toolchain
from store.model import GZIP_LAYER, Object
from tests import rows

GOLDEN = Path(__file__).parents[1] / "golden"


def package(kind: str, name: str, version: str = "1.0", **extra: str) -> LockedPackage:
    url = f"http://example.org/{name}-{version}"
    return rows.package(
        kind, name, version, LockedFile(f"{name}-{version}.{kind}", url, "ab" * 32, 10), **extra
    )


def lock_of(wheels: int = 2) -> Lock:
    return Lock(
        base=LockedBase(
            "debootstrap",
            "debian12",
            "bookworm",
            ("deb http://m bookworm main",),
            packages=(package("deb", "dpkg", essential="yes"),),
        ),
        python="3.11",
        packages={
            "apt": (package("deb", "zsh"),),
            "wheels": tuple(package("wheel", f"w{n:03}") for n in range(wheels)),
            "cuda": (package("wheel", "nvidia-cuda-runtime-cu12"),),
            "vscode": (package("vsix", "ms-python.python"),),
            "conda": (package("conda", "zlib", subdir="linux-64"),),
        },
    )


ENVIRONMENT = Environment(
    base=Base(language="python3"), shell="zsh", cuda=Cuda("12.9"), jupyter=Jupyter(), steps=(Run(("true",)),)
)


def test_golden_hashes(tmp_path: Path) -> None:
    """A change of hash is a deliberate act: it makes every cache in the world useless."""
    layers = planning.plan(ENVIRONMENT, lock_of(), tmp_path / "project").layers
    found = {layer.name: layer.drv_id for layer in layers}
    assert found == json.loads((GOLDEN / "derivations.json").read_text())


def test_wheels_cuda_and_extensions_are_siblings(tmp_path: Path) -> None:
    layers = planning.plan(ENVIRONMENT, lock_of(), tmp_path).layers
    below = {layer.name: [i.derivation.name for i in layer.inputs if i.role == "layer"] for layer in layers}
    assert below["apt"] == ["base-debian12"]
    for name in ("w000-1.0", "nvidia-cuda-runtime-cu12-1.0", "conda", "ms-python.python-1.0", "services"):
        assert below[name] == []
    assert below["shell-zsh"] == ["base-debian12", "apt"]
    assert len(below["run-" + next(n for n in below if n.startswith("run-"))[4:]]) == len(layers) - 1


def test_where_a_file_comes_from_changes_no_hash() -> None:
    here = wheel.derivation(package("wheel", "six"), Interpreter("3.11"))
    moved = package("wheel", "six")
    moved = replace(moved, file=replace(moved.file, url="http://elsewhere/six"))
    assert wheel.derivation(moved, Interpreter("3.11")).drv_id == here.drv_id
    assert wheel.derivation(moved, Interpreter("3.12")).drv_id != here.drv_id


def test_build_keys_see_outputs_not_derivations() -> None:
    fetch = Fetch("a", "http://a", "00" * 32)
    lower = [Derivation("k", "lower", v, (Input("file", fetch),)) for v in (1, 2)]
    upper = [Derivation("k", "upper", 1, (Input("layer", d),)) for d in lower]
    assert upper[0].drv_id != upper[1].drv_id
    keys = {u.build_key({d.drv_id: "same"}) for u, d in zip(upper, lower, strict=True)}
    assert len(keys) == 1


def test_many_wheels_are_grouped_and_one_change_moves_one_group(tmp_path: Path) -> None:
    many = lock_of(150)
    before = planning.plan(ENVIRONMENT, many, tmp_path).layers
    assert len(before) < 80
    wheels = list(many["wheels"])
    wheels[70] = package("wheel", "w070", "2.0")
    after = planning.plan(ENVIRONMENT, many.with_rows("wheels", wheels), tmp_path).layers
    names = {x.drv_id for x in before} ^ {x.drv_id for x in after}
    changed = [x.name for x in (*before, *after) if x.drv_id in names and x.kind == group.KIND]
    assert len(changed) == 2 and changed[0] == changed[1]


def test_services_command_lines() -> None:
    made = services.derivation(ENVIRONMENT, "/")
    assert made is not None
    assert "\nexec jupyter lab " in made.parameters["services"]["jupyter"]
    assert services.derivation(Environment(), "/") is None


def test_daemons_may_redirect_and_name_files_of_the_home(tmp_path: Path) -> None:
    plain = ["sh", "-c", "echo 'a b' >x", "~x", ">=1", ""]
    assert services.command_line(plain) == plain
    words = ["sh", "-c", "echo out; echo err >&2; cat", "<", "~/in", ">>out 1.log", "2>&1"]
    (tmp_path / "in").write_text("in\n")
    for _ in range(2):
        subprocess.run(
            services.command_line(words), cwd=tmp_path, check=True, env={**os.environ, "HOME": str(tmp_path)}
        )
    assert (tmp_path / "out 1.log").read_text() == "out\nerr\nin\n" * 2


def test_locks_say_what_does_not_fit() -> None:
    requests = registry.requests_of(Environment(apt_packages=(Request("git"),)))
    lock = replace(lock_of(), requests={**requests, "apt": ("curl",)})
    assert locking.misfits(lock, requests) == {"apt": "+git -curl"}


def test_uv_is_asked_for_a_platform_that_it_knows() -> None:
    """debian13 has glibc 2.41."""
    assert Target("3.13", "2.41").platform == "x86_64-manylinux_2_40"
    assert Target("3.11", "2.36").platform == "x86_64-manylinux_2_36"


def test_the_best_wheel_for_the_target() -> None:
    target = Target("3.11", "2.28")

    def best(*names: str) -> str:
        wheels = [{"url": f"http://e/{n}", "hashes": {"sha256": "ab" * 32}} for n in names]
        document = {
            "lock-version": "1.0",
            "created-by": "test",
            "packages": [{"name": "x", "version": "1.0", "wheels": wheels}],
        }
        return pylock.choose(document, target)[0].file.name

    modern = "x-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"
    newer = "x-1.0-cp311-cp311-manylinux_2_34_x86_64.whl"
    old = "x-1.0-cp311-cp311-manylinux2014_x86_64.whl"
    pure = "x-1.0-py3-none-any.whl"
    assert best(pure, newer, old, modern) == modern
    assert best(newer, pure) == pure
    assert best("x-1.0-cp38-abi3-manylinux2014_x86_64.whl", pure).startswith("x-1.0-cp38-abi3")
    with pytest.raises(Exception, match="does not fit Python"):
        best(newer, "x-1.0-cp311-cp311-macosx_11_0_arm64.whl")


def test_copies_stay_inside_the_project(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "secret").write_text("x")
    at = Position("b", 3, 1)
    for source in ("../secret", "nothing"):
        with pytest.raises(UsageError, match=r"b:3:1"):
            files.derivation(Copy(source, "/x", position=at), tmp_path / "p")
    (tmp_path / "p/f").write_text("x")
    assert files.derivation(Copy("f", "/d/"), tmp_path / "p").parameters["target"] == "/d/f"


def layer(number: int) -> Object:
    digest = f"sha256:{number:064x}"
    return Object(f"{number:064x}", f"l{number}", digest, digest, 10, 20, GZIP_LAYER)


def test_images_are_deterministic_and_not_too_deep() -> None:
    config = ImageConfig(env=(("A", "1"),), cmd=("sh",))
    first, second = (assemble([layer(1), layer(2)], config) for _ in range(2))
    assert first == second
    assert json.loads(first.config)["rootfs"]["diff_ids"] == [layer(1).diff_id, layer(2).diff_id]
    with pytest.raises(BuildError, match="128 layers"):
        assemble([layer(n) for n in range(128)], config)


def test_where_python_packages_go() -> None:
    both = Environment(
        base=Base(language="python3"),
        python_packages=(Request("six"),),
        conda_packages=(Request("zlib"),),
        conda_pip=(Request("toolz"),),
    )
    system, inside = pythons.wanted(both), pythons.wanted_in_conda(both)
    assert [r.text for r in system.requests] == ["six", "pip"]
    assert [r.text for r in inside.requests] == ["toolz"]
    # conda's Python is the only one, or the one asked for
    for only in (replace(both, base=Base()), replace(both, toolchains=(Toolchain("conda"),))):
        assert not pythons.wanted(only)
        assert {"six", "toolz"} <= {r.text for r in pythons.wanted_in_conda(only).requests}


def test_wheels_for_conda_lie_in_its_prefix_and_logins_in_no_derivation(tmp_path: Path) -> None:
    python = package("conda", "python", "3.12.1")
    channel = "https://ann:pw@host/channel"
    python = replace(python, file=replace(python.file, url="https://host/channel/python.conda"))
    lock = lock_of().with_rows("conda", [python]).with_rows("conda_wheels", [package("wheel", "six")])
    plans = [
        planning.plan(replace(ENVIRONMENT, conda_channels=(url,)), lock, tmp_path).layers
        for url in (channel, "https://host/channel")
    ]
    (prefix,) = (x for x in plans[0] if x.name == "conda")
    wheel = prefix.inputs[0].derivation
    assert isinstance(wheel, Fetch) and wheel.url == "https://ann:pw@host/channel/python.conda"
    (six,) = (x for x in plans[0] if x.name == "six-1.0")
    assert six.parameters == {"python": "3.12", "prefix": "/opt/conda"}
    assert [x.drv_id for x in plans[0]] == [x.drv_id for x in plans[1]]
    assert "pw" not in json.dumps(dict(prefix.parameters))
