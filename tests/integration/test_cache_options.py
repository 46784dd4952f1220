"""`--export-cache` and `--import-cache`: a directory or a registry for one run."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.integration import machines, servers
from tests.integration.envd import Envd
from tests.integration.machines import checkout, reader, writer
from tests.integration.test_cache import BUILD, started, warnings


@dataclass(frozen=True)
class Team:
    """A machine with a key, and how others are made; nothing is shared by their settings."""

    first: Envd
    spec: str
    team: machines.Team
    registry: servers.RegistryServer

    def another(self, tmp_path: Path, name: str, **variables: str) -> Envd:
        """A fresh machine that trusts the first one's key."""
        machine = reader(self.team, tmp_path / f"store-{name}", tmp_path / name / "project")
        checkout(machine, self.spec, self.first.project / "envd.lock")
        return replace(machine, environment={**machine.environment, "ENVD_SUBSTITUTERS": "", **variables})


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    with servers.registry() as registry:
        base = machines.push_base(registry, tmp_path)
        made = machines.team(tmp_path, "")
        first = writer(made, tmp_path / "store-a", tmp_path / "a/project")
        first = replace(first, environment={**first.environment, "ENVD_SUBSTITUTERS": "", "ENVD_PUBLISH": ""})
        spec = machines.SPEC.format(image=base, salt=uuid.uuid4())
        checkout(first, spec)
        yield Team(first, spec, made, registry)


def test_a_directory(team: Team, tmp_path: Path) -> None:
    share = tmp_path / "share"
    done = team.first.run(*BUILD, "--export-cache", f"type=local,dest={share},mode=max")
    assert [e["name"] for e in done.events if e["kind"] == "publish"] == [f"dir:{share}"]
    assert not warnings(done)
    take = ("--import-cache", f"type=local,src={share}")
    # Who trusts the key takes it: nothing is built, nothing fetched, and the bytes come when wanted.
    second = team.another(tmp_path, "b")
    taken = second.run(*BUILD, *take, "--offline")
    assert (taken.stdout, started(taken), warnings(taken)) == (done.stdout, [], [])
    assert taken.names("substituted")
    written = second.run("build", "-o", f"oci-dir:{tmp_path}/layout", *take, "--progress=json")
    assert (written.stdout, started(written)) == (done.stdout, [])
    # Who does not, builds, and is told whose key it is and what to do.
    third = team.another(tmp_path, "c", ENVD_TRUSTED_KEYS="")
    own = third.run(*BUILD, *take)
    assert own.stdout == done.stdout and len(started(own)) >= 3
    (said,) = warnings(own)
    assert "signed by team-1" in said and "envd key trust" in said
    # Or says that it does not matter.
    fourth = team.another(tmp_path, "d", ENVD_TRUSTED_KEYS="")
    taken = fourth.run(*BUILD, f"{take[0]}={take[1]},trust=unsigned")
    assert (taken.stdout, started(taken), warnings(taken)) == (done.stdout, [], [])


def test_without_a_key_a_directory_is_written_unsigned(team: Team, tmp_path: Path) -> None:
    share = tmp_path / "share"
    nobody = replace(team.first, environment={**team.first.environment, "ENVD_SIGNING_KEY": ""})
    done = nobody.run(*BUILD, "--export-cache", f"type=local,dest={share}")
    (said,) = warnings(done)
    assert "envd key generate" in said and "trust=unsigned" in said
    take = f"type=local,src={share}"
    second = team.another(tmp_path, "b")
    own = second.run(*BUILD, "--import-cache", take)
    (said,) = warnings(own)
    assert started(own) and "nobody has signed them" in said and "trust=unsigned" in said
    third = team.another(tmp_path, "c")
    taken = third.run(*BUILD, "--import-cache", f"{take},trust=unsigned")
    assert (taken.stdout, started(taken), warnings(taken)) == (done.stdout, [], [])
    # A registry is for everybody: without a key nothing is put there.
    refused = nobody.run(
        "build", "--no-load", "--export-cache", f"{team.registry.address}/team/cache", check=False
    )
    assert refused.code == 2 and "there is no key to sign with" in refused.stderr


def test_a_registry_and_a_tag_of_its_own(team: Team, tmp_path: Path) -> None:
    reference = f"{team.registry.address}/team/cache:nightly"
    done = team.first.run(*BUILD, "--export-cache", f"type=registry,ref={reference}")
    tags = team.registry.data / "docker/registry/v2/repositories/team/cache/_manifests/tags"
    assert {p.name.partition("-")[0] for p in tags.iterdir()} == {"nightly", "plan"}
    second = team.another(tmp_path, "b")
    # Another plan, whose layers are found under the tag as far as they are the same.
    second.spec(team.spec.replace("cat /srv/one", "cat /srv/one /srv/one"))
    taken = second.run(*BUILD, "--import-cache", reference)
    assert len(started(taken)) == 1 and taken.names("substituted")
    assert taken.stdout != done.stdout
    alone = team.another(tmp_path, "c").run(*BUILD, "--import-cache", reference, "--offline", check=False)
    assert any("is not asked" in e.get("text", "") for e in alone.events), alone.stderr
    assert (alone.code, "`envd bundle load`" in alone.stderr) == (1, True)
    refused = second.run("build", "--no-load", "--offline", "--export-cache", reference, check=False)
    assert (refused.code, "offline" in refused.stderr) == (2, True), refused.stderr


def test_a_directory_that_is_not_there_or_broken_costs_a_warning(team: Team, tmp_path: Path) -> None:
    done = team.first.run(*BUILD)
    share = tmp_path / "share"
    for name in ("nothing", "broken", "pipe", "wrong"):
        if name == "broken":
            share.mkdir()
            (share / "index.json").write_text("{")
        elif name == "pipe":
            (share / "index.json").unlink()
            os.mkfifo(share / "index.json")
        elif name == "wrong":
            (share / "index.json").unlink()
            team.first.run("build", "--no-load", "--export-cache", f"type=local,dest={share}")
            for blob in (share / "blobs/sha256").iterdir():
                if b'"artifactType"' not in blob.read_bytes()[:4096] and blob.stat().st_size > 2000:
                    blob.write_bytes(b"!" + blob.read_bytes()[1:])
        machine = team.another(tmp_path, name)
        taken = machine.run(
            "build", "-o", f"oci-dir:{tmp_path}/{name}-layout", "--progress=json",
            "--import-cache", f"type=local,src={share}",
        )  # fmt: skip
        assert taken.stdout == done.stdout
        (said,) = warnings(taken)
        assert f"dir:{share}" in said, said
        assert json.loads((tmp_path / f"{name}-layout/index.json").read_text())["manifests"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--export-cache", "type=inline"], "type=inline is not supported"),
        (["--import-cache", "type=local,dest=x"], "write src="),
        (["--import-cache", "cache"], "not a place for a cache"),
    ],
)
def test_wrong_options_are_refused_at_once(tmp_path: Path, options: list[str], says: str) -> None:
    machine = Envd(tmp_path / "store", tmp_path / "project")
    machine.spec("def build():\n    base()\n")
    for command in ("build", "up"):
        refused = machine.run(command, *options, check=False)
        assert (refused.code, says in refused.stderr) == (2, True), refused.stderr
        assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "store").exists()
