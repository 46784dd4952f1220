"""The development variant: what it adds to a lock and a plan, and what it shares with a plain build."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engine.core.oci_model import ImageConfig
from engine.ecosystems.steps import dev
from engine.plan import plan as planning
from engine.resolve import locking
from engine.sections import registry
from grammar.environment import Base, Copy, Environment, Jupyter, Owner, Run
from tests.unit.test_plan import lock_of, package

PLAIN = Environment(
    base=Base(language="python3"), shell="zsh", jupyter=Jupyter("secret", 8889), owner=Owner(1234, 50)
)
DEV = dev.turned_on(PLAIN)
LOCK = lock_of().with_rows("dev", [package("deb", "openssh-server")])


def config_of(environment: Environment, directory: Path) -> ImageConfig:
    return planning.plan(environment, LOCK, directory).config


def test_a_plain_build_ignores_what_up_added_to_the_lock() -> None:
    plain, developing = registry.requests_of(PLAIN), registry.requests_of(DEV)
    assert "dev" not in plain and developing["dev"] == dev.PACKAGES
    assert {k: v for k, v in developing.items() if k != "dev"} == plain
    lock = replace(LOCK, requests=developing)
    assert locking.misfits(lock, plain) == {}
    assert set(locking.misfits(replace(LOCK, requests=plain), developing)) == {"dev"}


def test_language_v0_is_always_a_development_environment() -> None:
    assert dev.wanted(replace(PLAIN, syntax="v0")) and dev.wanted(DEV) and not dev.wanted(PLAIN)


def test_everything_but_shell_and_services_is_shared(tmp_path: Path) -> None:
    plain = {x.drv_id for x in planning.plan(PLAIN, LOCK, tmp_path).layers}
    added = [x.name for x in planning.plan(DEV, LOCK, tmp_path).layers if x.drv_id not in plain]
    assert added == ["dev", "shell-zsh", "dev-services"]


def test_run_is_over_the_development_packages(tmp_path: Path) -> None:
    environment = replace(DEV, steps=(Run(("git --version",)),))
    layer = planning.plan(environment, LOCK, tmp_path).layers[-1]
    assert "dev" in {i.derivation.name for i in layer.inputs}
    assert ["HOME", dev.HOME] in layer.parameters["environment"]


def test_nothing_of_the_caller_is_in_the_image(tmp_path: Path) -> None:
    variables = dict(config_of(dev.turned_on(replace(PLAIN, owner=None)), tmp_path).env)
    assert "ENVD_UID" not in variables
    config = config_of(DEV, tmp_path)
    fixed = dict(config.env)
    assert (fixed["ENVD_UID"], fixed["ENVD_GID"]) == ("1234", "50")
    # the spec's own token is a file that is root's: who reads the configuration does not have it
    assert DEV.jupyter is not None and DEV.jupyter.token == "secret"
    assert "secret" not in repr(config)
    assert dev.LABEL not in dict(config_of(PLAIN, tmp_path).labels)


def test_copies_to_a_tilde_go_to_the_users_home(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    for target, wanted in (
        ("~/b", ["/root/b", "/home/envd/b"]),
        ("~", ["/root/a", "/home/envd/a"]),
        ("b", ["/b", "/b"]),
    ):
        copy = Copy("a", target)
        targets = [
            planning.plan(replace(e, steps=(copy,)), LOCK, tmp_path).layers[-1].parameters["target"]
            for e in (PLAIN, DEV)
        ]
        assert targets == wanted
