"""`--offline`: what is here is enough, and what is not is said, all of it and at once."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration import machines, servers, web
from tests.integration.envd import Envd

ALONE = ("unshare", "--net", "--")  # a network of nothing but a loopback that is down
BUILD = ("build", "--no-load")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Envd]:
    """A machine with a project upon a small image of a registry; ENVD_OFFLINE is not set."""
    with servers.registry() as registry:
        base = machines.push_base(registry, tmp_path)
        made = Envd(tmp_path / "store", tmp_path / "project", {"HOME": str(tmp_path)})
        machines.checkout(made, machines.SPEC.format(image=base, salt=uuid.uuid4()))
        yield made


def _offline(of: Envd) -> Envd:
    return replace(of, prefix=ALONE, environment={**of.environment, "ENVD_OFFLINE": "1"})


def test_what_is_here_is_enough(machine: Envd) -> None:
    image = machine.run(*BUILD).stdout
    alone = replace(machine, prefix=ALONE)
    # With the layers; and with the files that they were made of alone.
    assert alone.run(*BUILD, "--offline").stdout == image
    assert "up to date" in alone.run(*BUILD, "--offline").stderr
    rebuilt = alone.run(*BUILD, "--offline", "--force", "--progress=json")
    assert rebuilt.stdout == image and len(rebuilt.names("start")) >= 3
    changed = replace(machine, prefix=ALONE)
    changed.spec((machine.project / "build.envd").read_text().replace("echo one", "echo two"))
    assert changed.run(*BUILD, "--offline").stdout != image
    assert _offline(changed).run("lock").code == 0


def test_what_is_missing_is_said(machine: Envd, tmp_path: Path) -> None:
    lacks = _offline(machine).run(*BUILD, check=False)
    assert (lacks.code, "nothing can be resolved offline" in lacks.stderr) == (2, True), lacks.stderr
    assert not (machine.project / "envd.lock").exists()
    machine.run("lock")
    empty = replace(_offline(machine), store=tmp_path / "empty")
    lacks = empty.run(*BUILD, check=False)
    assert lacks.code == 1 and "Traceback" not in lacks.stderr
    (line,) = [line for line in lacks.stderr.splitlines() if "error" in line]
    assert "nothing may be fetched offline" in line and "envd bundle load" in line and "1 file of it" in line
    # Another base would have to be resolved.
    other = (machine.project / "build.envd").read_text().replace("small/base:1", "small/base:2")
    machine.spec(other)
    lacks = _offline(machine).run(*BUILD, check=False)
    assert lacks.code == 2 and "does not fit" in lacks.stderr and "envd lock" in lacks.stderr


def test_a_step_that_needs_the_network_is_said(machine: Envd, tmp_path: Path) -> None:
    spec = (machine.project / "build.envd").read_text()
    machine.spec(spec + '    run(["echo x >/srv/net"], network=True)\n')
    image = machine.run(*BUILD).stdout
    # Its result is here: that is enough.
    assert _offline(machine).run(*BUILD, "-t", "another:name").stdout == image
    forced = _offline(machine).run(*BUILD, "--force", check=False)
    assert forced.code == 1 and "may use the network" in forced.stderr, forced.stderr
    updated = _offline(machine).run("lock", "--update-step", "all", check=False)
    assert updated.code == 2 and "offline" in updated.stderr


def test_nothing_else_reaches_out(machine: Envd, tmp_path: Path) -> None:
    machine.run("lock")
    with web.serve(tmp_path) as server:
        (tmp_path / "x").write_text("x")
        spec = (machine.project / "build.envd").read_text()
        cases: list[tuple[list[str], int, str]] = [
            (["push", "127.0.0.1:1/x:y"], 1, "must not be asked offline"),
            (["pull", "127.0.0.1:1/x:y"], 1, "must not be asked offline"),
            (["build", "-o", "type=image,name=127.0.0.1:1/x:y,push=true"], 2, "nothing is pushed offline"),
            (["lock", "--update"], 2, "nothing can be resolved"),
        ]
        for command, code, says in cases:
            done = _offline(replace(machine, prefix=())).run(*command, check=False)
            assert (done.code, says in done.stderr) == (code, True), (command, done.stderr)
        machine.spec(f'h = include("{server.url}/repo")\n{spec}')
        done = _offline(replace(machine, prefix=())).run("lock", check=False)
        assert done.code == 1 and "must not be asked offline" in done.stderr, done.stderr
        assert server.asked == []


def test_the_setting_is_read_strictly(machine: Envd) -> None:
    wrong = replace(machine, environment={**machine.environment, "ENVD_OFFLINE": "perhaps"})
    done = wrong.run(*BUILD, check=False)
    assert (done.code, "neither 1 nor 0" in done.stderr) == (2, True), done.stderr
    for text in ("0", ""):
        online = replace(machine, environment={**machine.environment, "ENVD_OFFLINE": text})
        assert online.run("lock").code == 0


def test_a_loopback_that_is_down_is_what_it_says() -> None:
    said = subprocess.run([*ALONE, "ip", "-j", "link"], capture_output=True, text=True, check=True).stdout
    assert [(row["ifname"], "UP" in row["flags"]) for row in json.loads(said)] == [("lo", False)]
